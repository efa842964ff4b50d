/** Vocabularies to try grammars on: every byte, some words, and tokens that no text may hold. */
import type { GrammarTarget } from "../../src/decoding/constrain/grammar.ts";
import type { Random } from "./random.ts";

const WORDS = [
  ...['{"', '":', '": "', '",', '", "', '"}', '"}}', "[]", "{}", '["', '"a"', '":{"', "]}", "],", ', "'],
  ...[
    "true",
    "null",
    "fal",
    "se,",
    "12",
    "00",
    ".5",
    "e-",
    "-",
    " ",
    "\n  ",
    "  ",
    "\t",
    "2024-",
    "T1",
    "@x.",
  ],
  ...[
    "the",
    "hello",
    " world",
    "a b",
    "é",
    "日本",
    "\u{1f600}",
    "\\u00",
    '\\"',
    "\\n",
    "name",
    "kind",
    "yes",
  ],
  // Longer than 16 bytes.
  ...[
    "aaaaaaaaaaaaaaaaaaaa",
    '": "a rather long token',
    "\n                    ",
    "日本語日本語日本語",
    "00000000000000000",
  ],
];

/** Half a character, and a character with what follows it. */
const PARTS = [[0xe6, 0x97], [0xa5, 0x22], [0xf0, 0x9f], [0xc3], [0x22, 0xc3]];

/** `end` is the end token; the token before it spells nothing; the vocabulary of the rows is larger. */
export function spelledVocabulary(): GrammarTarget & { readonly end: number } {
  const encoder = new TextEncoder();
  const spellings = [
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...WORDS.map((word) => encoder.encode(word)),
    ...PARTS.map((part) => Uint8Array.from(part)),
    new Uint8Array(),
    encoder.encode("</s>"),
  ];
  const end = spellings.length - 1;
  const tokenizer = {
    vocab: spellings.length,
    endTokens: new Set([end]),
    bytes: (token: number) => spellings[token].slice(),
  };
  return { vocab: spellings.length + 7, tokenizer, end };
}

export function allowedBy(mask: Uint32Array, vocab: number): number[] {
  return Array.from({ length: vocab }, (_, token) => token).filter(
    (token) => ((mask[token >>> 5] >>> (token & 31)) & 1) === 1,
  );
}

/** One of the tokens; often one that closes something, or texts would seldom end. */
export function anyOf(
  tokens: readonly number[],
  target: GrammarTarget & { end: number },
  random: Random,
): number {
  const closing = tokens.filter(
    (token) =>
      token === target.end || (random.below(3) > 0 && /["}\]]/.test(latin(target.tokenizer.bytes(token)))),
  );
  const from = closing.length > 0 && random.below(2) === 0 ? closing : tokens;
  return from[random.below(from.length)];
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
