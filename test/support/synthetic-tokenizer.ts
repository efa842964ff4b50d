/**
 * Tokenizer metadata of any size in the two kinds that GGUF files carry, made from a small text.
 *
 * "llama" is SentencePiece BPE (pieces with scores, byte tokens), "gemma" the same with Gemma's marks and runs of spaces,
 * "gpt2" is byte-level BPE (tokens and merges). All learn their first merges from the text, so that plain English takes several characters per token; the rest of the
 * vocabulary is filled with random merges of what is there.
 */
import { bool, f32s, type GgufValue, i32s, string, strings, u32 } from "./gguf-writer.ts";
import { createRandom } from "./random.ts";

export interface SyntheticTokenizerOptions {
  kind: "llama" | "gpt2" | "gemma";
  vocab: number;
  /** Value of `tokenizer.ggml.pre`, for gpt2. Default "gpt-2". */
  pre?: string;
  /** Value of `tokenizer.chat_template`. Default: none. */
  chatTemplate?: string;
  seed: number;
}

const TEXT = `
  Once upon a time there was a little boat that lived by the river. Every morning the boat would wake up and look at the
  water, and every evening it would come back home. One day a small girl came to the river with her dog. She said hello,
  and the boat was very happy. They went down the river together, past the old mill and the tall trees, until they saw
  the sea. The dog ran along the sand and the girl laughed. When the sun went down they were tired, so the boat took
  them home again. The girl thanked her friend and promised to come back tomorrow. What a good day it had been.`;

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;
const LONGEST_PIECE = 12;

export function syntheticTokenizer(options: SyntheticTokenizerOptions): Record<string, GgufValue> {
  const kinds = { llama: sentencePieces, gpt2: byteLevel, gemma: gemmaPieces };
  const metadata = kinds[options.kind](options);
  if (options.chatTemplate !== undefined) metadata["tokenizer.chat_template"] = string(options.chatTemplate);
  return metadata;
}

function sentencePieces(options: SyntheticTokenizerOptions): Record<string, GgufValue> {
  const marks = [
    { text: "<unk>", type: UNKNOWN },
    { text: "<s>", type: CONTROL },
    { text: "</s>", type: CONTROL },
  ];
  return {
    ...piecesAfter(marks, options),
    "tokenizer.ggml.bos_token_id": u32(1),
    "tokenizer.ggml.eos_token_id": u32(2),
    "tokenizer.ggml.unknown_token_id": u32(0),
    "tokenizer.ggml.add_bos_token": bool(true),
    "tokenizer.ggml.add_eos_token": bool(false),
  };
}

/** Marks in Gemma's order; newlines and spaces in a row are tokens, whatever stands around them. */
function gemmaPieces(options: SyntheticTokenizerOptions): Record<string, GgufValue> {
  const controls = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"];
  const runs = (text: string, from: number) =>
    Array.from({ length: 8 - from }, (_, i) => ({ text: text.repeat(from + i), type: USER_DEFINED }));
  const marks = [
    ...controls.map((text) => ({ text, type: text === "<unk>" ? UNKNOWN : CONTROL })),
    ...runs("\n", 1),
    ...runs(" ", 2),
  ];
  return {
    ...piecesAfter(marks, options),
    "tokenizer.ggml.bos_token_id": u32(2),
    "tokenizer.ggml.eos_token_id": u32(1),
    "tokenizer.ggml.unknown_token_id": u32(3),
    "tokenizer.ggml.padding_token_id": u32(0),
    "tokenizer.ggml.add_bos_token": bool(true),
    "tokenizer.ggml.add_eos_token": bool(false),
    "tokenizer.ggml.add_space_prefix": bool(false),
  };
}

interface Mark {
  readonly text: string;
  readonly type: number;
}

/** SentencePiece tokens: the marks, a token for each byte, then learnt pieces and single characters. */
function piecesAfter(
  marks: readonly Mark[],
  { vocab, seed }: SyntheticTokenizerOptions,
): Record<string, GgufValue> {
  const bytes = Array.from({ length: 256 }, (_, byte) => ({ text: `<0x${hex(byte)}>`, type: BYTE }));
  const special = [...marks, ...bytes];
  const alphabet = [
    "▁",
    ...Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)),
    "é",
    "日",
  ];
  const merges = learnMerges(words("▁"), alphabet, vocab - special.length, "▁", seed);
  const pieces = merges.map(([left, right]) => left + right);
  return {
    "tokenizer.ggml.model": string("llama"),
    "tokenizer.ggml.tokens": strings([...special.map(({ text }) => text), ...pieces, ...alphabet]),
    // The earlier the merge, the higher the score; single characters, which nothing merges into, come last.
    "tokenizer.ggml.scores": f32s([
      ...special.map(() => 0),
      ...[...pieces, ...alphabet].map((_, rank) => -rank),
    ]),
    "tokenizer.ggml.token_type": i32s([
      ...special.map(({ type }) => type),
      ...[...pieces, ...alphabet].map(() => NORMAL),
    ]),
  };
}

function byteLevel({ vocab, pre = "gpt-2", seed }: SyntheticTokenizerOptions): Record<string, GgufValue> {
  const special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
  const alphabet = byteCharacters();
  const space = alphabet[32];
  const merges = learnMerges(words(space), alphabet, vocab - special.length, space, seed);
  const tokens = [...alphabet, ...merges.map(([left, right]) => left + right)];
  return {
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string(pre),
    "tokenizer.ggml.tokens": strings([...special, ...tokens]),
    "tokenizer.ggml.token_type": i32s([...special.map(() => CONTROL), ...tokens.map(() => NORMAL)]),
    "tokenizer.ggml.merges": strings(merges.map(([left, right]) => `${left} ${right}`)),
    "tokenizer.ggml.bos_token_id": u32(0),
    "tokenizer.ggml.eos_token_id": u32(0),
    "tokenizer.ggml.add_bos_token": bool(false),
  };
}

/** The text's words as characters, each word with the space before it. */
function words(space: string): string[][] {
  return TEXT.trim()
    .split(/\s+/)
    .map((word) => [space, ...word]);
}

type Merge = readonly [left: string, right: string];

/** `size` - `alphabet.length` merges, in order, no two giving the same token: learnt ones, then random ones. */
function learnMerges(
  corpus: string[][],
  alphabet: readonly string[],
  size: number,
  space: string,
  seed: number,
): Merge[] {
  if (size < alphabet.length) {
    throw new RangeError(`"vocab" must have room for ${alphabet.length - size} more tokens`);
  }
  const tokens = [...alphabet];
  const known = new Set(tokens);
  const merges: Merge[] = [];
  const add = (left: string, right: string): void => {
    merges.push([left, right]);
    tokens.push(left + right);
    known.add(left + right);
  };
  for (let pair = mostFrequentPair(corpus, known); pair && tokens.length < size; ) {
    add(...pair);
    for (const word of corpus) applyMerge(word, pair);
    pair = mostFrequentPair(corpus, known);
  }
  const random = createRandom(seed);
  while (tokens.length < size) {
    const left = tokens[random.below(tokens.length)];
    const right = tokens[random.below(tokens.length)];
    const joined = left + right;
    if (joined.length <= LONGEST_PIECE && !right.startsWith(space) && !known.has(joined)) add(left, right);
  }
  return merges;
}

/** The pair that comes most often, at least twice, and whose join is not known; the first found wins ties. */
function mostFrequentPair(corpus: readonly string[][], known: ReadonlySet<string>): Merge | undefined {
  const counts = new Map<string, { pair: Merge; count: number }>();
  for (const word of corpus) {
    for (let index = 1; index < word.length; index++) {
      const pair: Merge = [word[index - 1], word[index]];
      const entry = counts.get(pair.join(" "));
      if (entry) entry.count++;
      else if (!known.has(pair.join(""))) counts.set(pair.join(" "), { pair, count: 1 });
    }
  }
  let best = { pair: undefined as Merge | undefined, count: 1 };
  for (const entry of counts.values()) if (entry.count > best.count) best = entry;
  return best.pair;
}

function applyMerge(word: string[], [left, right]: Merge): void {
  for (let index = word.length - 1; index > 0; index--) {
    if (word[index - 1] === left && word[index] === right) word.splice(index - 1, 2, left + right);
  }
}

/** GPT-2's character for each byte: printable Latin-1 stands for itself, the rest is moved to U+0100 and up. */
function byteCharacters(): string[] {
  let moved = 0x100;
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : moved++));
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}
