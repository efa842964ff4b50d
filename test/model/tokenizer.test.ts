import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import type { MetadataValue } from "../../src/format/gguf.ts";
import { createTokenizer, MAX_TEXT, type Tokenizer } from "../../src/model/tokenizer.ts";

type Entries = Record<string, MetadataValue>;

const ALPHABET = byteAlphabet();

/** 256 bytes, "he", "hel", "lo", "hello", " h", then the specials. */
const byteLevel: Entries = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "gpt-2",
  "tokenizer.ggml.tokens": [
    ...ALPHABET,
    "he",
    "hel",
    "lo",
    "hello",
    "Ġh",
    "<|end_of_text|>",
    "<|im_end|>",
    "@user",
  ],
  "tokenizer.ggml.token_type": [...ALPHABET.map(() => 1), 1, 1, 1, 1, 1, 3, 1, 4],
  "tokenizer.ggml.merges": ["h e", "he l", "l o", "hel lo", "Ġ h"],
  "tokenizer.ggml.bos_token_id": 261,
  "tokenizer.ggml.eos_token_id": 261,
};
const HELLO = 259;
const END_OF_TEXT = 261;
const IM_END = 262;
const USER = 263;

const BYTE_TOKENS = Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`);

const sentencePiece: Entries = {
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...BYTE_TOKENS, "▁", "a", "b", "ab", "▁a", "ba", "@user"],
  "tokenizer.ggml.token_type": [2, 3, 3, ...BYTE_TOKENS.map(() => 6), 1, 1, 1, 1, 1, 1, 4],
  "tokenizer.ggml.scores": [0, 0, 0, ...BYTE_TOKENS.map(() => 0), -5, -6, -7, -1, -2, -1, 0],
};
const [SPACE, A, B, AB, SPACE_A, BA, SP_USER] = [259, 260, 261, 262, 263, 264, 265];

describe("byte-level BPE", () => {
  const tokenizer = create(byteLevel);

  it("merges in the order of the merges, within a word", () => {
    expect(tokenizer.encode("hello hehel")).toEqual([HELLO, 32, 256, 257]);
    expect(tokenizer.encode(" hi")).toEqual([260, 105]);
  });

  it("takes a whole word where the pre-tokenizer ignores merges", () => {
    const tokens = [...(byteLevel["tokenizer.ggml.tokens"] as string[]), "hex"];
    const types = [...(byteLevel["tokenizer.ggml.token_type"] as number[]), 1];
    const entries = { ...byteLevel, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types };
    expect(create(entries).encode("hex", { special: false })).toEqual([256, 120]);
    const whole = create({ ...entries, "tokenizer.ggml.pre": "llama-bpe" });
    expect(whole.encode("hex", { special: false })).toEqual([264]);
  });

  it("adds BOS only where the file or its pre-tokenizer asks for it", () => {
    expect(tokenizer.encode("h")).toEqual([104]);
    expect(create({ ...byteLevel, "tokenizer.ggml.pre": "llama-bpe" }).encode("h")).toEqual([
      END_OF_TEXT,
      104,
    ]);
    const both = { ...byteLevel, "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_eos_token": true };
    expect(create(both).encode("h")).toEqual([END_OF_TEXT, 104, END_OF_TEXT]);
    expect(create(both).encode("")).toEqual([END_OF_TEXT, END_OF_TEXT]);
    expect(create(both).encode("h", { special: false })).toEqual([104]);
  });

  it("recognises user-defined tokens always, control tokens on demand", () => {
    expect(tokenizer.encode("@user")).toEqual([USER]);
    expect(tokenizer.encode("h<|im_end|>")).not.toContain(IM_END);
    expect(tokenizer.encode("h<|im_end|>", { parseSpecial: true })).toEqual([104, IM_END]);
  });

  it("ends at eos and at well-known spellings, which become control tokens", () => {
    expect([...tokenizer.endTokens].sort()).toEqual([END_OF_TEXT, IM_END]);
    expect(tokenizer.decode([104, IM_END])).toBe("h");
    expect(tokenizer.bytes(IM_END)).toEqual(new Uint8Array());
  });

  it("has no BOS or EOS that the file does not name", () => {
    const { "tokenizer.ggml.bos_token_id": _bos, "tokenizer.ggml.eos_token_id": _eos, ...rest } = byteLevel;
    const nameless = create({ ...rest, "tokenizer.ggml.pre": "llama-bpe" });
    expect([nameless.bos, nameless.eos]).toEqual([null, null]);
    expect(nameless.encode("h")).toEqual([104]);
  });

  it("leaves out a byte that no token stands for", () => {
    const tokens = (byteLevel["tokenizer.ggml.tokens"] as string[]).map((text, id) =>
      id === 104 ? "H?" : text,
    );
    expect(create({ ...byteLevel, "tokenizer.ggml.tokens": tokens }).encode("hi")).toEqual([105]);
  });

  it("merges a long word like a short one", () => {
    const word = "hellohelheloh";
    const tokens = tokenizer.encode(word);
    expect(tokenizer.encode(word.repeat(50))).toEqual(Array.from({ length: 50 }, () => tokens).flat());
  });

  it("keeps a byte order mark and NUL", () => {
    expect(tokenizer.decode(tokenizer.encode("\ufeffa\0"))).toBe("\ufeffa\0");
  });

  it("gives back every text, a lone surrogate as U+FFFD", () => {
    const pres = ["default", "llama-bpe", "qwen2", "tekken", "deepseek-v3", "bloom", "deepseek-coder"];
    const tokenizers = pres.map((pre) => create({ ...byteLevel, "tokenizer.ggml.pre": pre }));
    fc.assert(
      fc.property(anyText(), fc.nat(pres.length - 1), (text, index) => {
        const chosen = tokenizers[index];
        expect(chosen.decode(chosen.encode(text, { special: false }))).toBe(wellFormed(text));
      }),
      { numRuns: 500 },
    );
  });

  it("takes long runs of anything", () => {
    for (const run of ["a", " ", "\n", "é", "😀", "1", "~", "'", "\u3000", " \t"]) {
      const text = run.repeat(100_000 / run.length);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });
});

describe("SentencePiece", () => {
  const tokenizer = create(sentencePiece);

  it("merges by score, the leftmost of equals first", () => {
    expect(tokenizer.encode("aba", { special: false })).toEqual([SPACE, AB, A]);
    expect(tokenizer.encode("bab", { special: false })).toEqual([SPACE, BA, B]);
    expect(tokenizer.encode("a a", { special: false })).toEqual([SPACE_A, SPACE_A]);
  });

  it("spells what is no token in bytes, or with the unknown token where there are none", () => {
    expect(tokenizer.encode("é", { special: false })).toEqual([SPACE, 3 + 0xc3, 3 + 0xa9]);
    const tokens = (sentencePiece["tokenizer.ggml.tokens"] as string[]).map((text) =>
      text.replace("0x", "byte "),
    );
    const types = tokens.map(() => 1);
    const noBytes = { ...sentencePiece, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types };
    expect(create(noBytes).encode("é", { special: false })).toEqual([SPACE, 0]);
  });

  it("puts a space before a text and after a special token, unless the file says no", () => {
    expect(tokenizer.encode("a@usera")).toEqual([1, SPACE_A, SP_USER, SPACE_A]);
    expect(tokenizer.encode("")).toEqual([1]);
    const bare = create({ ...sentencePiece, "tokenizer.ggml.add_space_prefix": false });
    expect(bare.encode("a@usera")).toEqual([1, A, SP_USER, A]);
  });

  it("keeps the space of a continuation", () => {
    expect(tokenizer.decode([1, SPACE_A, SPACE_A])).toBe(" a a");
    expect(tokenizer.decode([SPACE_A])).toBe(" a");
  });

  it("gives back every text with one space before it", () => {
    fc.assert(
      fc.property(anyText(), (text) => {
        // "▁" is how it spells a space, so that one character does not come back; a space is put after "@user" too.
        const plain = text.replaceAll("▁", "_").replaceAll("@user", "@");
        expect(tokenizer.decode(tokenizer.encode(plain))).toBe(plain === "" ? "" : wellFormed(` ${plain}`));
      }),
      { numRuns: 500 },
    );
  });

  it("takes long runs of anything", () => {
    for (const run of ["a", " ", "ab", "é", "😀"]) {
      const text = run.repeat(100_000 / run.length);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(` ${text}`);
    }
  });
});

describe("stream", () => {
  const tokenizers: Tokenizer[] = [create(byteLevel), create(sentencePiece)];

  it("holds back half a character", () => {
    const stream = tokenizers[0].stream();
    expect([0xf0, 0x9f, 0x98, 0x80, 104].map((token) => stream.push(token))).toEqual(["", "", "", "😀", "h"]);
    expect(stream.end()).toBe("");
  });

  it("ends an incomplete character as U+FFFD", () => {
    const stream = tokenizers[0].stream();
    expect(stream.push(0xf0) + stream.push(0x9f)).toBe("");
    expect(stream.end()).toBe("\ufffd");
  });

  it("is the decoding of the bytes, for any tokens", () => {
    fc.assert(
      fc.property(fc.nat(1), fc.array(fc.nat(263), { maxLength: 60 }), (which, tokens) => {
        const tokenizer = tokenizers[which];
        const stream = tokenizer.stream();
        const pushed = tokens.map((token) => stream.push(token));
        const bytes = Uint8Array.from(tokens.flatMap((token) => [...tokenizer.bytes(token)]));
        const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(pushed.join("") + stream.end()).toBe(text);
        expect(tokenizer.decode(tokens)).toBe(text);
        for (const piece of pushed) expect(piece).toBe(wellFormed(piece));
      }),
      { numRuns: 500 },
    );
  });

  it("gives a copy of a token's bytes", () => {
    tokenizers[0].bytes(HELLO).fill(0);
    expect(tokenizers[0].decode([HELLO])).toBe("hello");
  });
});

describe("bad input", () => {
  const tokenizer = create(byteLevel);

  it("refuses tokens that are none", () => {
    for (const token of [-1, 264, 1.5, Number.NaN]) {
      const expected = new RangeError(`Token must be an integer from 0 to 263, got ${token}`);
      expect(() => tokenizer.bytes(token)).toThrow(expected);
      expect(() => tokenizer.decode([token])).toThrow(expected);
      expect(() => tokenizer.stream().push(token)).toThrow(expected);
    }
  });

  it("refuses a text that is none or too long", () => {
    expect(() => tokenizer.encode(5 as unknown as string)).toThrow(
      new TypeError('"text" must be a string, got number'),
    );
    const message = '"text" must have at most 1,048,576 UTF-16 units, got 1,048,577';
    expect(() => tokenizer.encode(" ".repeat(MAX_TEXT + 1))).toThrow(new RangeError(message));
  });

  it("names a tokenizer or pre-tokenizer it does not know", () => {
    expect(() => create({ ...byteLevel, "tokenizer.ggml.model": "bert" })).toThrow(
      new UnsupportedError('Unknown tokenizer "bert" in "tokenizer.ggml.model"'),
    );
    expect(() => create({ ...byteLevel, "tokenizer.ggml.pre": "klingon" })).toThrow(
      new UnsupportedError('Unknown pre-tokenizer "klingon" in "tokenizer.ggml.pre"'),
    );
  });

  const repeated = (byteLevel["tokenizer.ggml.tokens"] as string[]).with(7, "he");
  it.each<[string, Entries, string]>([
    [
      "no tokens",
      { "tokenizer.ggml.tokens": [] },
      '"tokenizer.ggml.tokens" must hold at least one token, got none',
    ],
    [
      "a spelling twice",
      { "tokenizer.ggml.tokens": repeated },
      '"tokenizer.ggml.tokens" has "he" twice, as 7 and 256',
    ],
    [
      "types of another length",
      { "tokenizer.ggml.token_type": [1, 1] },
      '"tokenizer.ggml.token_type" must be an array',
    ],
    [
      "an id out of range",
      { "tokenizer.ggml.eos_token_id": 264 },
      '"tokenizer.ggml.eos_token_id" must be an integer',
    ],
    [
      "a merge of one",
      { "tokenizer.ggml.merges": ["he"] },
      'merges[0]" must be two spellings with one space between',
    ],
    ["a merge of three", { "tokenizer.ggml.merges": ["h e", "h e l"] }, 'merges[1]" must be two spellings'],
    ["a merge with nothing", { "tokenizer.ggml.merges": ["h "] }, 'merges[0]" must be two spellings'],
    [
      "a flag that is none",
      { "tokenizer.ggml.add_bos_token": 1 },
      '"tokenizer.ggml.add_bos_token" must be a boolean',
    ],
  ])("refuses %s", (_, entries, message) => {
    expect(() => create({ ...byteLevel, ...entries })).toThrow(message);
  });

  it.each<[string, Entries, string]>([
    [
      "scores of another length",
      { "tokenizer.ggml.scores": [0] },
      '"tokenizer.ggml.scores" must be an array of 266',
    ],
    [
      "a score that is none",
      { "tokenizer.ggml.scores": scores(Number.NaN) },
      '"tokenizer.ggml.scores[0]" must be',
    ],
    [
      "a byte that is none",
      { "tokenizer.ggml.token_type": types(6) },
      "Byte token 0 must be spelled like <0x0A>",
    ],
  ])("refuses %s", (_, entries, message) => {
    expect(() => create({ ...sentencePiece, ...entries })).toThrow(message);
  });

  it("refuses to add a token that the file does not name", () => {
    const { "tokenizer.ggml.bos_token_id": _, ...rest } = byteLevel;
    expect(() => create({ ...rest, "tokenizer.ggml.add_bos_token": true })).toThrow(
      'Metadata "tokenizer.ggml.add_bos_token" is true, file has no "tokenizer.ggml.bos_token_id"',
    );
  });

  it("answers any metadata with a tokenizer that works or an error of ours", () => {
    const keys = [
      ...new Set([...Object.keys(byteLevel), ...Object.keys(sentencePiece)]),
      "tokenizer.ggml.eot_token_id",
    ];
    const value: fc.Arbitrary<MetadataValue> = fc.oneof(
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.string(),
      fc.bigInt(),
      fc.array(fc.oneof(fc.string(), fc.integer({ min: -2, max: 8 }), fc.constant("a b"), fc.double()), {
        maxLength: 8,
      }),
    );
    const change = fc.tuple(fc.constantFrom(...keys), fc.option(value, { nil: undefined }));
    fc.assert(
      fc.property(
        fc.constantFrom(byteLevel, sentencePiece),
        fc.array(change, { maxLength: 4 }),
        (base, changes) => {
          const metadata = new Map(Object.entries(base));
          for (const [key, changed] of changes) {
            if (changed === undefined) metadata.delete(key);
            else metadata.set(key, changed);
          }
          let tokenizer: Tokenizer;
          try {
            tokenizer = createTokenizer(metadata);
          } catch (error) {
            const isOurs = [RangeError, TypeError, UnsupportedError].some((kind) => error instanceof kind);
            expect(
              isOurs && /tokenizer|token|vocabulary/i.test((error as Error).message),
              String(error),
            ).toBe(true);
            return;
          }
          for (const token of tokenizer.encode("hello é <s>", { parseSpecial: true })) {
            expect(token >= 0 && token < tokenizer.vocab).toBe(true);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

function create(entries: Entries): Tokenizer {
  return createTokenizer(new Map(Object.entries(entries)));
}

/** Text of every kind, with lone surrogates, spellings of special tokens and runs of spaces. */
function anyText(): fc.Arbitrary<string> {
  const part = fc.oneof(
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.string({ maxLength: 12 }),
    fc.string({ unit: "grapheme", maxLength: 6 }),
    fc.array(fc.nat(0xffff), { maxLength: 8 }).map((units) => String.fromCharCode(...units)),
    fc.constantFrom(
      " ",
      "   ",
      "\r\n",
      "\t",
      "\u3000",
      "hello",
      "@user",
      "<|im_end|>",
      "<s>",
      "'s",
      "123",
      "~",
    ),
  );
  return fc.array(part, { maxLength: 8 }).map((parts) => parts.join(""));
}

function wellFormed(text: string): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));
}

function scores(first: number): number[] {
  return (sentencePiece["tokenizer.ggml.scores"] as number[]).with(0, first);
}

function types(first: number): number[] {
  return (sentencePiece["tokenizer.ggml.token_type"] as number[]).with(0, first);
}

function byteAlphabet(): string[] {
  let other = 0x100;
  const isPrintable = (byte: number) => /[!-~¡-¬®-ÿ]/.test(String.fromCharCode(byte));
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : other++));
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}
