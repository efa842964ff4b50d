/** Small vocabularies, trained without any cutting into words: their tokens hold spaces, digits and letters mixed. */
import { f32, i32 } from "./tokenizer-gguf.mjs";

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;

/** @param {{text: string, control: boolean}[]} special */
export function trainByteLevel(texts, count, special) {
  const alphabet = byteAlphabet();
  const words = texts.map((text) => Array.from(Buffer.from(text), (byte) => alphabet[byte]));
  const merges = train(words, count);
  const tokens = distinct([...alphabet, ...merges.map(([a, b]) => a + b)], special);
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": [...tokens, ...special.map(({ text }) => text)],
    "tokenizer.ggml.token_type": types(
      tokens.map(() => NORMAL),
      special,
    ),
    "tokenizer.ggml.merges": merges.map((pair) => pair.join(" ")),
    "tokenizer.ggml.bos_token_id": tokens.length,
    "tokenizer.ggml.eos_token_id": tokens.length + 1,
  };
}

/**
 * Scores fall by one every other merge, so that equal scores occur.
 *
 * @param marks What the vocabulary begins with: the unknown token and control tokens.
 */
export function trainSentencePiece(texts, count, special, marks = ["<unk>", "<s>", "</s>"]) {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = texts.map((text) => Array.from(text.toWellFormed().replaceAll(" ", "▁")));
  const merges = train(words, count);
  const characters = [...new Set(words.flat())].filter((_, index) => index % 4 !== 3);
  const head = [...marks, ...bytes];
  const taken = [...special, ...head.map((text) => ({ text }))];
  // llama.cpp reads a token's spelling only up to a NUL.
  const spellings = [...merges.map(([a, b]) => a + b), ...characters].filter((text) => !text.includes("\0"));
  const pieces = distinct(spellings, taken);
  const scores = [...head.map(() => 0), ...pieces.map((_, index) => -(index >> 1)), ...special.map(() => 0)];
  const headTypes = [
    ...marks.map((text) => (text === "<unk>" ? UNKNOWN : CONTROL)),
    ...bytes.map(() => BYTE),
  ];
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": [...head, ...pieces, ...special.map(({ text }) => text)],
    "tokenizer.ggml.token_type": types([...headTypes, ...pieces.map(() => NORMAL)], special),
    "tokenizer.ggml.scores": f32.from(scores),
    "tokenizer.ggml.add_eos_token": true,
  };
}

/** No spelling twice: llama.cpp refuses such a file. */
function distinct(spellings, taken) {
  const others = new Set(taken.map(({ text }) => text));
  return [...new Set(spellings)].filter((spelling) => !others.has(spelling));
}

function types(normal, special) {
  return i32.from([...normal, ...special.map(({ control }) => (control ? CONTROL : USER_DEFINED))]);
}

/** Most frequent pair first, the lexically smallest of equals; stops when no pair occurs twice. */
function train(words, count) {
  const merges = [];
  while (merges.length < count) {
    const counts = new Map();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best, times] = [...counts].reduce((a, b) =>
      b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a,
    );
    if (times < 2) break;
    const [left, right] = best.split(" ");
    merges.push([left, right]);
    for (const word of words) join(word, left, right);
  }
  return merges;
}

function join(word, left, right) {
  let end = 0;
  for (let i = 0; i < word.length; i++) {
    const isPair = word[i] === left && word[i + 1] === right;
    word[end++] = isPair ? left + right : word[i];
    if (isPair) i++;
  }
  word.length = end;
}

function byteAlphabet() {
  let other = 0x100;
  const isPrintable = (byte) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : other++));
}
