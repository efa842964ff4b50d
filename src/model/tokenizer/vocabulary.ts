/**
 * The vocabulary of a GGUF: what every tokenizer reads from `tokenizer.ggml.*`, checked.
 *
 * Metadata is not trusted: lengths agree, ids are in range, no two tokens are spelled alike. Which tokens end a
 * text follows llama.cpp: files say too little about it, so well-known spellings count as well.
 */
import type { Metadata } from "../../format/gguf.ts";
import { metadataBoolean, metadataNumber, metadataNumbers, metadataStrings } from "../../format/metadata.ts";

/** Values of `tokenizer.ggml.token_type`. */
export const TokenType = {
  undefined: 0,
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

export interface Vocabulary {
  /** Spelling of each token, in the alphabet of its tokenizer. */
  readonly texts: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  /** A `TokenType` each. */
  readonly types: Uint8Array;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly endTokens: ReadonlySet<number>;
}

/** Whether BOS and EOS go around a text. */
export interface AddedTokens {
  readonly bos: boolean;
  readonly eos: boolean;
}

const SPELLINGS_OF_END = [
  ...[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
  ],
  ...["<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<eos>"],
  ...["<end_of_utterance>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["],
];

/** Marks of fill-in-the-middle: the metadata key's middle, whether the mark also ends a text, its spellings. */
const FILL_IN_THE_MIDDLE: readonly (readonly [string, boolean, readonly string[]])[] = [
  [
    "fim_pre",
    false,
    ["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"],
  ],
  ["fim_suf", false, ["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"]],
  ["fim_mid", false, ["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"]],
  ["fim_pad", true, ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]],
  ["fim_rep", true, ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]],
  ["fim_sep", true, ["<|file_sep|>"]],
];

/**
 * @param defaults Ids the tokenizer has where the file names none.
 * @throws {RangeError | TypeError} Naming the key that is missing, of another length, out of range or repeated.
 */
export function readVocabulary(
  metadata: Metadata,
  defaults: { bos: number | null; eos: number | null },
): Vocabulary {
  const texts = metadataStrings(metadata, "tokenizer.ggml.tokens").map((text, id) => text || `[EMPTY_${id}]`);
  if (texts.length === 0) {
    throw new RangeError('Metadata "tokenizer.ggml.tokens" must hold at least one token, got none');
  }
  const ids = indexTexts(texts);
  const length = texts.length;
  const types = Uint8Array.from(
    metadataNumbers(metadata, "tokenizer.ggml.token_type", {
      integer: true,
      min: 0,
      max: 6,
      length,
      default: null,
    }) ?? new Uint8Array(length).fill(TokenType.normal),
  );
  const tokenId = (name: string, fallback: number | null = null): number | null =>
    metadataNumber(metadata, `tokenizer.ggml.${name}_token_id`, {
      integer: true,
      min: 0,
      max: length - 1,
      default: fallback !== null && fallback < length ? fallback : null,
    });
  const bos = tokenId("bos", defaults.bos);
  const eos = tokenId("eos", defaults.eos);

  const endTokens = new Set([eos, tokenId("eot"), tokenId("eom")].filter((id) => id !== null));
  for (const [name, ends, spellings] of FILL_IN_THE_MIDDLE) {
    const spelled = () => spellings.map((text) => ids.get(text)).find((id) => id !== undefined);
    const named = tokenId(name);
    const id = named ?? spelled();
    if (id === undefined) continue;
    if (named === null) types[id] = TokenType.control;
    if (ends) endTokens.add(id);
  }
  for (const text of SPELLINGS_OF_END) {
    const id = ids.get(text);
    if (id === undefined) continue;
    endTokens.add(id);
    // Converters often leave these marks as plain text, and then a user's text could end a turn.
    types[id] = TokenType.control;
  }
  return { texts, ids, types, bos, eos, endTokens };
}

/** @throws {RangeError} If the file asks for a token that it does not name. */
export function readAddedTokens(metadata: Metadata, { bos, eos }: Vocabulary, addBos: boolean): AddedTokens {
  const asked = (name: string, id: number | null, fallback: boolean): boolean => {
    const key = `tokenizer.ggml.add_${name}_token`;
    const add = metadataBoolean(metadata, key, { default: fallback && id !== null });
    if (add && id === null) {
      throw new RangeError(`Metadata "${key}" is true, file has no "tokenizer.ggml.${name}_token_id"`);
    }
    return add;
  };
  return { bos: asked("bos", bos, addBos), eos: asked("eos", eos, false) };
}

function indexTexts(texts: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  texts.forEach((text, id) => {
    const other = ids.get(text);
    if (other !== undefined) {
      const spelling = JSON.stringify(text.slice(0, 40));
      throw new RangeError(`Metadata "tokenizer.ggml.tokens" has ${spelling} twice, as ${other} and ${id}`);
    }
    ids.set(text, id);
  });
  return ids;
}
