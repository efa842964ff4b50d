/** Models of different vocabularies decode together, over the tokens of all of them. */
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTokenReader } from "../../src/engine/fuse/reader.ts";
import { distinctTexts, speller, tokenTexts, UnionTokenizer } from "../../src/engine/fuse/union.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { readGguf } from "../../src/format/gguf.ts";
import { createTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";
import { fuseModels, fusePreset, loadModel, type Model } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { randomPair, textOf } from "./on-off.ts";

const TEXT = "Once upon a time — “Ça va?” said the girl: 日本語, 👩‍🚀, naïve café.\n\nThe boat went  home.";
const TEMPLATE =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";

const tiny = { hidden: 8, heads: 1, kvHeads: 1, layers: 1 } as const;
async function tokenizerOf(kind: "llama" | "gpt2", vocab: number, seed: number): Promise<Tokenizer> {
  const bytes = syntheticModelBytes({ ...tiny, tokenizer: kind, vocab, seed, chatTemplate: TEMPLATE });
  return createTokenizer((await readGguf(ByteReader.from(bytes))).metadata);
}

const bytesOf = (tokenizer: Tokenizer, tokens: ArrayLike<number>) =>
  Array.from(tokens).flatMap((token) => Array.from(tokenizer.bytes(token)));

describe.each([
  ["llama", "gpt2"],
  ["gpt2", "llama"],
  ["llama", "llama"],
  ["gpt2", "gpt2"],
] as const)("the union of a tokenizer like %s and one like %s", (first, second) => {
  let base: Tokenizer;
  let other: Tokenizer;
  let union: UnionTokenizer;
  beforeAll(async () => {
    base = await tokenizerOf(first, 512, 1);
    other = await tokenizerOf(second, 420, 2);
    union = new UnionTokenizer(base, [other]);
  });

  it("has every text of both, each once", () => {
    const all = Array.from({ length: union.vocab }, (_, token) => `${union.bytes(token)}`);
    const texts = all.filter((bytes) => bytes !== "");
    expect(new Set(texts).size).toBe(texts.length);
    const expected = [base, other].flatMap((one) =>
      Array.from({ length: one.vocab }, (_, token) => `${one.bytes(token)}`).filter((bytes) => bytes !== ""),
    );
    expect(new Set(texts)).toEqual(new Set(expected));
    expect([...union.endTokens]).toEqual([union.eos]);
    expect(union.bytes(union.eos!)).toHaveLength(0);
    expect(() => union.bytes(union.vocab)).toThrow(`Token must be an integer from 0 to ${union.vocab - 1}`);
  });

  it("writes a text as the first does", () => {
    const tokens = base.encode(TEXT);
    expect(bytesOf(union, union.encode(TEXT))).toEqual(bytesOf(base, tokens));
    expect(union.encode(TEXT)).toHaveLength(tokens.length);
    expect(union.decode(union.encode(TEXT))).toBe(base.decode(tokens));
    const special = { special: false };
    expect(union.encode(TEXT, special)).toHaveLength(base.encode(TEXT, special).length);
  });

  it("streams what it decodes, whatever the tokens", () => {
    const random = createRandom(7);
    for (let trial = 0; trial < 40; trial++) {
      const tokens = Array.from({ length: 12 }, () => random.below(union.vocab));
      const stream = union.stream();
      const pieces = tokens.map((token) => stream.push(token));
      const truth = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
        Uint8Array.from(bytesOf(union, tokens)),
      );
      expect([...pieces, stream.end()].join("")).toBe(truth);
      expect(union.decode(tokens)).toBe(truth);
    }
  });

  it("is read by both as they write the text", () => {
    const tokens = union.encode(TEXT);
    const control = (token: number) => union.control(token);
    expect(createTokenReader(union, base, { shared: control }).read(tokens)).toEqual(base.encode(TEXT));
    expect(createTokenReader(union, other).read(tokens)).toEqual(other.encode(TEXT));
  });

  it("is read with the beginning of a character", () => {
    const whole = "The boat ";
    const reader = createTokenReader(union, other);
    const byte = (value: number) =>
      Array.from({ length: other.vocab }, (_, id) => id).find((id) => `${other.bytes(id)}` === `${value}`)!;
    const ofUnion = (bytes: number) =>
      Array.from({ length: union.vocab }, (_, id) => id).find((id) => `${union.bytes(id)}` === `${bytes}`)!;
    // The first two of the three bytes of "日".
    const half = [0xe6, 0x97];
    const read = reader.read([...union.encode(whole), ...half.map(ofUnion)]);
    expect(bytesOf(other, read).slice(-2)).toEqual(half);
    expect(read.slice(0, -2).concat()).toEqual(other.encode(whole).slice(0, read.length - 2));
    expect(read.at(-1)).toBe(byte(0x97));
  });

  it("names the token that a text is written with, where several have it", () => {
    for (const one of [base, other]) {
      const texts = distinctTexts(one, one.vocab);
      const plain = tokenTexts(one, one.vocab);
      for (const text of new Set(plain)) {
        expect(texts.filter((name) => name === text)).toHaveLength(1);
        const written = speller(one)(text);
        if (written.length === 1) expect(texts[written[0]]).toBe(text);
      }
    }
  });
});

/** Softmax of a row, in f64. */
function softmax(row: ArrayLike<number>): number[] {
  const top = Math.max(...Array.from(row));
  const weights = Array.from(row, (z) => Math.exp(z - top));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** What tokens of a model spell, by text: the likelier of those that spell the same. */
function textsOf(model: Model, row: ArrayLike<number>): Map<string, number> {
  const texts = new Map<string, number>();
  for (let id = 0; id < model.tokenizer.vocab; id++) {
    const bytes = model.tokenizer.bytes(id);
    const text = model.tokenizer.endTokens.has(id) ? "end" : bytes.length > 0 ? `${bytes}` : `none ${id}`;
    texts.set(text, (texts.get(text) ?? 0) + row[id]);
  }
  return texts;
}

async function rowAfter(model: Model, tokens: readonly number[]): Promise<Float32Array> {
  const session = model.open({ capacity: tokens.length });
  const row = (await session.forward(tokens)).row(0).slice();
  session.close();
  return row;
}

const shared = (name: string) => new URL(`../../../shared/models/${name}.gguf`, import.meta.url);
const REAL = ["stories3M-q8_0", "stories260K-f16"];
const isThere = REAL.every((name) => existsSync(shared(name)));
if (!isThere) console.log(`Unions are of synthetic models: ../shared/models has no ${REAL.join(", ")}`);
const PROMPT = "Once upon a time, there was a";

describe.each(ENGINES)("models of different vocabularies on %s", (_, options) => {
  const isReference = options.backend === "reference";
  let base: Model;
  let other: Model;
  let small: Model;
  beforeAll(async () => {
    base = await loadModel(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url), options);
    const synthetic = (seed: number) => syntheticModelBytes({ vocab: 512, tokenizer: "llama", seed });
    other = await loadModel(isThere ? shared(REAL[0]) : synthetic(3), options);
    small = await loadModel(isThere ? shared(REAL[1]) : synthetic(4), options);
  });
  afterAll(() => {
    for (const model of [base, other, small]) model?.close();
  });

  it.each(["unite", "gac", "eva"] as const)("write a text together by %s", async (name) => {
    for (const [a, b] of [
      [base, other],
      [other, small],
    ]) {
      const model = fuseModels(fusePreset(name), { a, b });
      const asked = { maxTokens: isReference ? 4 : 40, temperature: 0 };
      const { text, tokens } = await textOf(model, PROMPT, asked);
      expect(model.tokenizer.decode(tokens)).toBe(text);
      expect(text).not.toContain("\ufffd");
      if (isThere && !isReference) expect(text).toMatch(/^ little (girl|boy)/);
      const vocab = model.vocab;
      expect(vocab).toBe(model.tokenizer.vocab);
      expect(vocab).toBeLessThan(a.vocab + b.vocab);
      expect(vocab).toBeGreaterThanOrEqual(Math.max(a.tokenizer.vocab, b.tokenizer.vocab) - 256);
    }
  });

  it("have the law that UniTE says, by texts", async () => {
    const k = 10;
    const model = fuseModels(fusePreset("unite", { k }), { a: base, b: other });
    const tokens = model.tokenizer.encode(PROMPT);
    const got = softmax(await rowAfter(model, tokens));
    const members = [base, other];
    const rows = [await rowAfter(base, base.tokenizer.encode(PROMPT)), new Float32Array()];
    rows[1] = await rowAfter(other, other.tokenizer.encode(PROMPT));
    const keyOf = (member: Model, id: number) =>
      member.tokenizer.endTokens.has(id) ? "end" : `${member.tokenizer.bytes(id)}`;
    // The ten best of each, by their texts; none of them is a second token of a text here.
    const union = new Set(
      members.flatMap((member, index) => {
        const order = Array.from(rows[index].keys()).sort((x, y) => rows[index][y] - rows[index][x]);
        return order.slice(0, k).map((id) => keyOf(member, id));
      }),
    );
    const laws = members.map((member, index) => {
      const logits = [...union].map((text) => {
        const own = Array.from({ length: member.tokenizer.vocab }, (_, id) => id).filter(
          (id) => keyOf(member, id) === text,
        );
        if (own.length > 0) return Math.max(...own.map((id) => rows[index][id]));
        const spelled = new TextDecoder().decode(Uint8Array.from(text.split(",").map(Number)));
        return rows[index][speller(member.tokenizer)(spelled)[0]];
      });
      return softmax(logits);
    });
    const kept = got.flatMap((p, token) => (p > 0 ? [[token, p] as const] : []));
    expect(kept).toHaveLength(union.size);
    const texts = [...union];
    for (const [token, p] of kept) {
      const text = model.tokenizer.endTokens.has(token) ? "end" : `${model.tokenizer.bytes(token)}`;
      const index = texts.indexOf(text);
      expect(index).toBeGreaterThanOrEqual(0);
      expect(p).toBeCloseTo((laws[0][index] + laws[1][index]) / 2, 5);
    }
  });

  it("have the law that GaC says, by texts", async () => {
    const model = fuseModels(fusePreset("gac", { threshold: 1 }), { a: base, b: other });
    const got = softmax(await rowAfter(model, model.tokenizer.encode(PROMPT)));
    const laws: Map<string, number>[] = [];
    for (const member of [base, other]) {
      const row = await rowAfter(member, member.tokenizer.encode(PROMPT));
      laws.push(textsOf(member, softmax(row)));
    }
    let sum = 0;
    for (let token = 0; token < model.vocab; token++) {
      const bytes = model.tokenizer.bytes(token);
      if (bytes.length === 0) continue;
      const [p, q] = laws.map((law) => law.get(`${bytes}`) ?? 0);
      expect(got[token]).toBeCloseTo((p + q) / 2, 5);
      sum += got[token];
    }
    expect(sum).toBeGreaterThan(0.9);
  });

  it("have the same text with drafts", { timeout: 60_000 }, async () => {
    if (isReference) return;
    const random = createRandom(5);
    const model = fuseModels(fusePreset("unite"), { a: base, b: other });
    for (let trial = 0; trial < 8; trial++) {
      const pair = await randomPair(model, [base, small], random);
      expect([pair.drafted.tokens, pair.drafted.text], pair.what).toEqual([
        pair.plain.tokens,
        pair.plain.text,
      ]);
    }
    const asked = { maxTokens: 40, temperature: 0 };
    const drafted = await textOf(model, PROMPT, {
      ...asked,
      draft: base,
      speculation: { adaptive: false, gamma: 4 },
    });
    expect(drafted.tokens).toEqual((await textOf(model, PROMPT, asked)).tokens);
    expect(drafted.speculation!.accepted).toBeGreaterThan(0);
  });

  it("need no table between two vocabularies", async () => {
    const model = fuseModels(fusePreset("x-token"), { base, other });
    expect(model.vocab).toBe(base.vocab);
    expect(model.tokenizer).toBe(base.tokenizer);
    const { text, tokens } = await textOf(model, PROMPT, { maxTokens: isReference ? 4 : 30, temperature: 0 });
    expect(base.tokenizer.decode(tokens)).toBe(text);
  });

  it("are refused where the tokens of the text would be unknown", () => {
    const table = { kind: "gather" as const, vocabulary: "a", ids: [0, 1] };
    expect(() => fuseModels(fusePreset("unite"), { a: base, b: other }, { tables: { a: table } })).toThrow(
      '"tables.a" must be left to the models',
    );
    expect(() => fuseModels(fusePreset("unite"), { a: base, b: other }, { base: "c" })).toThrow(
      '"base" must be one of a, b, got "c"',
    );
    expect(() => fuseModels(fusePreset("unite"), { a: base } as never)).toThrow(
      '"sources.b" must be a source, got undefined',
    );
  });
});
