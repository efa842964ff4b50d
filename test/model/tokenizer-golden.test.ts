import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Metadata, MetadataValue } from "../../src/format/gguf.ts";
import { createTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";

/** What bench/peers/tokenizer-golden.mjs wrote: llama.cpp's answers. */
interface Golden {
  endTokens: number[];
  /** Whether BOS and EOS are added. */
  bos: boolean;
  eos: boolean;
  /** Eight hex digits a text, over its ids without and with control tokens recognised. */
  hashes: string;
  /** Token lists and their text, as llama_detokenize gives it. */
  pieces: [number[], string][];
}

const { texts } = golden<{ texts: string[] }>("texts");

describe("edgewise-stories", () => {
  const file = golden<
    Golden & {
      metadata: Record<string, MetadataValue>;
      tokens: number[][];
      special: Record<number, number[]>;
    }
  >("edgewise-stories");
  const tokenizer = createTokenizer(toMetadata(file.metadata));

  it("gives llama.cpp's tokens for every text", () => {
    texts.forEach((text, index) => {
      expect(tokenizer.encode(text, { special: false }), JSON.stringify(text)).toEqual(file.tokens[index]);
    });
  });

  it("gives llama.cpp's tokens with control tokens recognised", () => {
    texts.forEach((text, index) => {
      const tokens = tokenizer.encode(text, { special: false, parseSpecial: true });
      expect(tokens, JSON.stringify(text)).toEqual(file.special[index] ?? file.tokens[index]);
    });
  });

  it("adds and ends where llama.cpp does", () => expectSameEnds(tokenizer, file));
});

describe("byte-level BPE under each pre-tokenizer", () => {
  const file = golden<{ metadata: Record<string, MetadataValue>; pre: Record<string, Golden> }>("byte-level");
  const create = (pre: string) =>
    createTokenizer(toMetadata({ ...file.metadata, "tokenizer.ggml.pre": pre }));

  it.each(Object.keys(file.pre))("%s gives llama.cpp's tokens for every text", (pre) => {
    expectSameHashes(create(pre), file.pre[pre].hashes);
  });

  it("gives llama.cpp's text for any tokens", () => {
    const tokenizer = create("qwen2");
    for (const [tokens, text] of file.pre.qwen2.pieces) expect(tokenizer.decode(tokens)).toBe(text);
  });
});

describe("SentencePiece", () => {
  const file = golden<{ metadata: Record<string, MetadataValue>; prefixed: Golden; bare: Golden }>(
    "sentencepiece",
  );
  const prefixed = createTokenizer(toMetadata(file.metadata));
  const bare = createTokenizer(toMetadata({ ...file.metadata, "tokenizer.ggml.add_space_prefix": false }));

  it("gives llama.cpp's tokens for every text", () => expectSameHashes(prefixed, file.prefixed.hashes));

  it("gives llama.cpp's tokens without a space before", () => expectSameHashes(bare, file.bare.hashes));

  it("adds and ends where llama.cpp does", () => expectSameEnds(prefixed, file.prefixed));

  it("gives llama.cpp's text for any tokens", () => {
    for (const [tokens, text] of file.bare.pieces) expect(bare.decode(tokens)).toBe(text);
  });
});

describe("SentencePiece with the marks of Gemma", () => {
  const file = golden<Golden & { metadata: Record<string, MetadataValue>; texts: string[] }>("gemma");
  const tokenizer = createTokenizer(toMetadata(file.metadata));

  it("gives llama.cpp's tokens for every text", () => {
    expectSameHashes(tokenizer, file.hashes, [...file.texts, ...texts]);
  });

  it("adds and ends where llama.cpp does", () => {
    expectSameEnds(tokenizer, file);
    expect([tokenizer.bos, tokenizer.eos]).toEqual([2, 1]);
  });

  it("gives llama.cpp's text for any tokens", () => {
    for (const [tokens, text] of file.pieces) expect(tokenizer.decode(tokens)).toBe(text);
  });

  it("puts no space before a text and loses none, of any number", () => {
    for (const text of file.texts.filter((each) => !/[<▁]/.test(each))) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect(tokenizer.encode("  \n\n   ", { special: false }).length).toBe(3);
  });
});

function expectSameHashes(tokenizer: Tokenizer, hashes: string, all = texts): void {
  expect(hashes.length).toBe(8 * all.length);
  all.forEach((text, index) => {
    const plain = tokenizer.encode(text, { special: false });
    const special = tokenizer.encode(text, { special: false, parseSpecial: true });
    const expected = hashes.slice(8 * index, 8 * index + 8);
    expect(hash([...plain, -1, ...special]), `${JSON.stringify(text)}: ${plain}`).toBe(expected);
  });
}

function expectSameEnds(tokenizer: Tokenizer, { bos, eos, endTokens }: Golden): void {
  const { bos: first, eos: last } = tokenizer;
  expect(tokenizer.encode("")).toEqual([...(bos ? [first] : []), ...(eos ? [last] : [])]);
  expect([...tokenizer.endTokens].sort((a, b) => a - b)).toEqual(endTokens);
}

/** FNV-1a over the ids, eight hex digits. */
function hash(ids: number[]): string {
  const state = ids.reduce((sum, id) => Math.imul(sum ^ id, 0x01000193) >>> 0, 0x811c9dc5);
  return state.toString(16).padStart(8, "0");
}

function golden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../golden/tokenizer-${name}.json`, import.meta.url), "utf8"));
}

function toMetadata(entries: Record<string, MetadataValue>): Metadata {
  return new Map(Object.entries(entries));
}
