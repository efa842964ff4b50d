/** What plans need beside models: numbers, tables, rows that are always the same, and texts to make them of. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Plan, referenceKernels } from "../../src/decoding/fuse.ts";
import { conceptRow, transitionGraph } from "../../src/engine/fuse/concept.ts";
import { expectGiven, fuseWithGiven, needsOf, readGiven } from "../../src/engine/fuse/given.ts";
import { wordStarts } from "../../src/engine/fuse/tables.ts";
import {
  createPipeline,
  fuse,
  fuseModels,
  fusePreset,
  loadModel,
  type Model,
  presetSteps,
  type Source,
} from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { textOf } from "./on-off.ts";
import { copyRows } from "./plain.ts";

const PROMPT = "Once upon a time there was";

let base: Model;
let other: Model;
beforeAll(async () => {
  const bytes = (layers: number) => syntheticModelBytes({ vocab: 400, hidden: 32, layers, tied: true });
  [base, other] = [await loadModel(bytes(1)), await loadModel(bytes(2))];
});
afterAll(() => {
  for (const model of [base, other]) model?.close();
});

async function rowAfter(source: Source, tokens: readonly number[]): Promise<Float32Array> {
  const session = source.open({ capacity: tokens.length });
  const row = (await session.forward(tokens)).row(0).slice();
  session.close();
  return row;
}

const encode = (text: string) => base.tokenizer.encode(text);
const routed = fusePreset("fusion-route", { experts: ["a", "b"], router: "router" });
const choicesOf = async (given: object) => {
  const models = { a: base, b: other, router: other };
  const model = await fuseWithGiven(routed, models, readGiven(routed, given as never));
  const { audits, tokens } = await textOf(model, PROMPT, {
    maxTokens: 6,
    seed: 4,
    ignoreEos: true,
    audit: true,
  });
  return { choices: audits!.map(({ routes }) => routes[0].choice), tokens, fingerprint: model.fingerprint };
};

describe("numbers", () => {
  it("are the same for all rows, or by row of the output, or by the token before", async () => {
    expect((await choicesOf({ routing: [0, 1] })).choices).toEqual([1, 1, 1, 1, 1, 1]);
    const byStep = await choicesOf({
      routing: {
        byStep: [
          [1, 0],
          [0, 1],
          [1, 0],
        ],
      },
    });
    expect(byStep.choices).toEqual([0, 1, 0, 0, 0, 0]);
    const byToken = Array.from({ length: base.vocab }, (_, token) => [0, (token % 3) - 1]);
    const { choices, tokens } = await choicesOf({ routing: { byToken } });
    const before = [encode(PROMPT).at(-1)!, ...tokens.slice(0, -1)];
    expect(choices).toEqual(before.map((token) => (token % 3 === 2 ? 1 : 0)));
  });

  it("do not change with drafts, and are part of the fingerprint", async () => {
    const byToken = Array.from({ length: base.vocab }, (_, token) => [0, (token % 2) - 0.5]);
    const models = { a: base, b: other, router: other };
    const model = await fuseWithGiven(routed, models, readGiven(routed, { routing: { byToken } }));
    const asked = { maxTokens: 30, temperature: 0.5, seed: 3, ignoreEos: true };
    const plain = await textOf(model, PROMPT, asked);
    const drafted = await textOf(model, PROMPT, {
      ...asked,
      draft: base,
      speculation: { adaptive: false, gamma: 3 },
    });
    expect(drafted.tokens).toEqual(plain.tokens);
    const prints = await Promise.all(
      [[1, 0], [0, 1], { byStep: [[0, 1]] }].map(
        async (routing) => (await choicesOf({ routing })).fingerprint,
      ),
    );
    expect(new Set(prints).size).toBe(3);
  });
});

describe("rows that are always the same", () => {
  const row = Float32Array.from({ length: 400 }, (_, id) => ((id * 7) % 11) - 5);
  const sum: Plan = { sources: ["base", "bias"], lin: [{ source: "base" }, { source: "bias", weight: 2 }] };

  it("stand for sources, wherever the text goes", async () => {
    const source = fuse(sum, { base, bias: row });
    const session = source.open({ capacity: 40 });
    const tokens = [5, 6, 7, 8];
    const rows = copyRows(await session.forward(tokens, 4, [-1, 0, 0, 2]));
    const paths = [[5], [5, 6], [5, 7], [5, 7, 8]];
    for (const [index, path] of paths.entries()) {
      const plain = await rowAfter(base, path);
      expect(rows[index]).toEqual(Float32Array.from(plain, (z, id) => Math.fround(z + 2 * row[id])));
    }
    session.truncate(0, [0, 2]);
    const fork = session.fork();
    const after = copyRows(await fork.forward([9, 10], 2));
    expect(after[1]).toEqual(
      Float32Array.from(await rowAfter(base, [5, 7, 9, 10]), (z, id) => Math.fround(z + 2 * row[id])),
    );
    session.close();
    fork.close();
    expect(source.contextLength).toBe(base.contextLength);
  });

  it("come as JSON, −∞ as null", async () => {
    const mask = Array.from({ length: 400 }, (_, id) => (id % 2 === 0 ? null : 0));
    const model = await fuseWithGiven(sum, { base }, readGiven(sum, { bias: mask }));
    const { tokens } = await textOf(model, PROMPT, { maxTokens: 12, seed: 2, ignoreEos: true });
    expect(tokens.every((token) => token % 2 === 1)).toBe(true);
  });

  it("may overflow f32 where sums are f64: what passes it is the largest", async () => {
    const huge = Float32Array.from({ length: 400 }, (_, id) => (id === 7 ? 3e38 : id === 9 ? -3e38 : 1));
    const source = fuse(sum, { base, bias: huge }, { kernels: referenceKernels });
    const rows = await source.open({ capacity: 2 }).forward([3, 4], 2);
    const plain = await rowAfter(base, [3, 4]);
    expect([rows.row(1)[7], rows.argmax(1), rows.row(1)[9]]).toEqual([3.4028234663852886e38, 7, -Infinity]);
    expect(rows.row(1)[8]).toBeCloseTo(plain[8] + 2, 5);
  });

  it.each<[unknown, string]>([
    [[1, Number.NaN], '"sources.bias" must have logits that are f32 below ∞, got NaN at token 1'],
    [new Array(400).fill(-Infinity), '"sources.bias" must have a logit above −∞'],
    [[1, 2, 3], '"sources.bias" must have 400 tokens, as "sources.base" has, got 3'],
  ])("are refused if they are none, case %#", (wrong, message) => {
    expect(() => fuse(sum, { base, bias: wrong as number[] })).toThrow(message);
    expect(() => fuseModels(sum, { base, bias: wrong as number[] })).toThrow(message);
  });
});

describe("a concept", () => {
  const texts = {
    positive: ["The happy girl laughed", "What a good day"],
    negative: ["The tired dog went home"],
  };

  it("is the difference of mean rows, which steers", async () => {
    const rows = await Promise.all(
      [...texts.positive, ...texts.negative].map((text) => rowAfter(base, encode(text))),
    );
    const expected = rows[0].map((_, id) => (rows[0][id] + rows[1][id]) / 2 - rows[2][id]);
    const concept = await conceptRow(base, texts);
    for (const [id, value] of concept.entries()) expect(value).toBeCloseTo(expected[id], 5);
    const plan = fusePreset("steer", { strength: 3 });
    const steered = await fuseWithGiven(plan, { base }, readGiven(plan, { concept: texts }));
    const tokens = encode(PROMPT);
    const [plain, got] = [await rowAfter(base, tokens), await rowAfter(steered, tokens)];
    for (const [id, z] of got.entries()) expect(z).toBeCloseTo(plain[id] + 3 * concept[id], 4);
  });

  it("may be a table too", async () => {
    const plan: Plan = {
      sources: ["base"],
      tables: { concept: { kind: "given", like: "dense" } },
      lin: [{ source: "base" }, { table: "concept", weight: 0.5 }],
    };
    const model = await fuseWithGiven(plan, { base }, readGiven(plan, { concept: texts }));
    const concept = await conceptRow(base, texts);
    const tokens = encode(PROMPT);
    const [plain, got] = [await rowAfter(base, tokens), await rowAfter(model, tokens)];
    for (const [id, z] of got.entries()) expect(z).toBeCloseTo(plain[id] + 0.5 * concept[id], 4);
  });

  it("needs texts that the model can read", async () => {
    await expect(conceptRow(base, { ...texts, negative: [] })).rejects.toThrow(
      '"negative" must have from 1 to 1024 texts, got 0',
    );
    await expect(conceptRow(base, { ...texts, positive: ["a ".repeat(400)] })).rejects.toThrow(
      '"positive[0]" must have from 1 to 256 tokens, the context of the model',
    );
  });
});

describe("a transition graph", () => {
  it("has the logit of every token that followed, also of texts longer than the context", async () => {
    const text = "the boat and the dog and the river ".repeat(40);
    const tokens = encode(text);
    expect(tokens.length).toBeGreaterThan(base.contextLength);
    const { offsets, ids, values } = await transitionGraph(base, [text]);
    const truth = new Map<string, number>();
    for (let start = 0; start + 1 < tokens.length; start += base.contextLength) {
      const window = tokens.slice(start, start + base.contextLength);
      const session = base.open({ capacity: window.length });
      const rows = copyRows(await session.forward(window, window.length));
      session.close();
      for (const [i, row] of rows.entries()) {
        const [token, next] = [tokens[start + i], tokens[start + i + 1]];
        if (next === undefined) continue;
        truth.set(`${token} ${next}`, (truth.get(`${token} ${next}`) ?? 0) + row[next]);
      }
    }
    const got = new Map<string, number>();
    for (let token = 0; token + 1 < offsets.length; token++) {
      for (let at = offsets[token]; at < offsets[token + 1]; at++) got.set(`${token} ${ids[at]}`, values[at]);
    }
    expect([...got.keys()].sort()).toEqual([...truth.keys()].sort());
    for (const [edge, weight] of got) expect(weight).toBeCloseTo(truth.get(edge)!, 6);
  });

  it("is made of a text for the preset", async () => {
    const plan = fusePreset("grad", { alpha: 50 });
    const given = readGiven(plan, { graph: { texts: ["the boat and the dog"] } });
    const model = await fuseWithGiven(plan, { base }, given);
    const tokens = encode("the boat and the dog");
    const { values } = await transitionGraph(base, ["the boat and the dog"]);
    // Where the logit was above 0, the corpus goes on as it did.
    expect(Array.from(values).some((value) => value > 0)).toBe(true);
    const rows = await rowAfter(model, tokens.slice(0, 2));
    const plain = await rowAfter(base, tokens.slice(0, 2));
    const raised = Array.from(rows.keys()).filter((id) => rows[id] !== plain[id]);
    expect(raised.every((id) => tokens.includes(id))).toBe(true);
  });
});

describe("what is given", () => {
  it("is told by needsOf", () => {
    expect(needsOf(fusePreset("grad"))).toEqual([
      { name: "base", kind: "source", what: "a model", isMade: false },
      { name: "graph", kind: "table", what: 'a table of the kind "graph"', isMade: false },
    ]);
    expect(needsOf(routed).at(-1)).toEqual({
      name: "routing",
      kind: "input",
      what: "2 numbers",
      isMade: false,
    });
    expect(needsOf(fusePreset("gac")).filter(({ isMade }) => isMade)).toHaveLength(2);
  });

  const table = { kind: "graph", offsets: [0, 1], ids: [3], values: [2] };
  it.each<[Plan, object, string]>([
    [routed, { x: 1 }, '"inputs" must be of routing, a, b, router, got "x"'],
    [routed, { routing: [1] }, '"inputs.routing" must have 2 numbers, got 1'],
    [routed, { routing: "1" }, '"inputs.routing" must be an array of 2 numbers, got string'],
    [routed, { routing: [1, null] }, '"inputs.routing[1]" must be a number, got object'],
    [routed, { routing: {} }, '"inputs.routing" must be an array, or have one of "byStep", "byToken"'],
    [
      routed,
      { routing: { byStep: [[1, 2]], more: 1 } },
      '"inputs.routing" may have "byStep", "byToken", got "more"',
    ],
    [routed, { routing: { byStep: [[1, 2], 3] } }, '"inputs.routing.byStep[1]" must have 2 numbers, got 1'],
    [routed, { routing: { byToken: [] } }, '"inputs.routing.byToken" must be an array of arrays, got array'],
    [routed, { a: {} }, '"inputs.a" must be an array of logits, or have "positive", got object'],
    [routed, { a: [] }, '"inputs.a" must have from 1 to 1048576 logits, got 0'],
    [routed, { a: [1, "x"] }, '"inputs.a[1]" must be a number, got string'],
    [routed, { a: { positive: "x", negative: [] } }, '"inputs.a.positive" must be an array of texts'],
    [routed, { a: { positive: ["x"], negative: [] } }, '"inputs.a.negative" must have from 1 to 1024 texts'],
    [
      fusePreset("grad"),
      { graph: { ...table, ids: [-1] } },
      '"inputs.graph.ids[0]" must be an integer from 0 to 1048575, got -1',
    ],
    [fusePreset("grad"), { graph: { texts: 3 } }, '"inputs.graph.texts" must be an array of texts'],
    [fusePreset("grad"), { graph: { kind: "dense", values: [] } }, '"inputs.graph.kind" must be "graph"'],
  ])("is refused by its path, case %#", (plan, json, message) => {
    let error: Error | undefined;
    try {
      readGiven(plan, json as never);
    } catch (thrown) {
      error = thrown as Error;
    }
    expect(error?.message.replace('one of "graph"', '"graph"')).toContain(message);
  });

  it("must be complete before anything runs", async () => {
    expect(() => expectGiven(routed, readGiven(routed, {}))).toThrow(
      '"inputs.routing" must be given: 2 numbers',
    );
    expect(() => expectGiven(fusePreset("gac"), readGiven(fusePreset("gac"), {}))).not.toThrow();
    await expect(
      fuseWithGiven(fusePreset("grad"), { base }, readGiven(fusePreset("grad"), {})),
    ).rejects.toThrow('"inputs.graph" must be given: a table of the kind "graph"');
  });

  it("may be a graph as it is", async () => {
    const plan = fusePreset("grad", { alpha: 3 });
    const offsets = Array.from({ length: 401 }, (_, token) => token);
    const graph = {
      kind: "graph",
      offsets,
      ids: offsets.slice(0, 400).map((id) => (id + 1) % 400),
      values: new Array(400).fill(5),
    };
    const model = await fuseWithGiven(plan, { base }, readGiven(plan, { graph }));
    const [plain, got] = [await rowAfter(base, [9]), await rowAfter(model, [9])];
    expect(got[10]).toBeCloseTo(plain[10] + 3, 5);
    expect(got[11]).toBe(plain[11]);
  });
});

describe("word starts", () => {
  it("are the tokens that begin with white space, or have no text", () => {
    const starts = wordStarts(base.tokenizer, 404);
    for (let id = 0; id < base.tokenizer.vocab; id++) {
      const text = new TextDecoder("latin1").decode(base.tokenizer.bytes(id));
      expect(starts[id]).toBe(/^(\s|$)/.test(text) && !/^\xa0/.test(text) && !/^\x85/.test(text) ? 1 : 0);
    }
    expect([...starts.slice(400)]).toEqual([0, 0, 0, 0]);
  });
});

describe("nudging by words", () => {
  it("goes on with the tuned model until its best token begins a word", async () => {
    const threshold = 0.35;
    const model = fuseModels(fusePreset("nudging", { words: true, threshold }), { base, tuned: other });
    const starts = wordStarts(base.tokenizer, base.vocab);
    const prompt = encode(PROMPT);
    let [held, ended] = [0, 0];
    for (let seed = 0; seed < 6; seed++) {
      const { tokens, audits } = await textOf(model, PROMPT, {
        maxTokens: 40,
        seed,
        ignoreEos: true,
        audit: true,
      });
      let nudged: boolean | undefined;
      for (const [index, { routes }] of audits!.entries()) {
        const text = [...prompt, ...tokens.slice(0, index)];
        const [row, tuned] = [await rowAfter(base, text), await rowAfter(other, text)];
        const unsure = 1 / row.reduce((sum, z) => sum + Math.exp(z - Math.max(...row)), 0) < threshold;
        const begins = starts[tuned.indexOf(Math.max(...tuned))] === 1;
        const before = nudged;
        nudged = unsure || (before === true && !begins);
        if (nudged && !unsure) held++;
        if (before && !nudged) ended++;
        expect(routes[0].choice).toBe(nudged ? 1 : 0);
      }
    }
    // Both kinds were seen.
    expect(held).toBeGreaterThan(3);
    expect(ended).toBeGreaterThan(3);
  });

  it("needs the table where no models are at hand", () => {
    const plan = fusePreset("nudging", { words: true });
    expect(needsOf(plan).at(-1)).toMatchObject({ name: "word-starts", isMade: true });
    expect(() => fuse(plan, { base, tuned: other })).toThrow('"tables.word-starts" must be given');
  });
});

describe("fused rows", () => {
  it("offer kernels to samplers, which change no token", async () => {
    const plan: Plan = { sources: ["a", "b"], lin: [{ source: "a" }, { source: "b", weight: -0.3 }] };
    const model = fuseModels(plan, { a: base, b: other });
    const session = model.open({ capacity: 8 });
    const rows = await session.forward([1, 2, 3], 3);
    const plain = copyRows(rows);
    for (let index = 0; index < 3; index++) {
      const law = rows.law!(index);
      const all = { temperature: 1, edits: { tokens: new Uint32Array(), logits: new Float64Array() } };
      const { most, least, count } = law.range(all);
      expect([most, least, count]).toEqual([Math.max(...plain[index]), Math.min(...plain[index]), 400]);
    }
    session.close();
    const fused = await model.open({ capacity: 4 }).forward([4, 5], 2);
    for (const options of [{}, { topP: 0.9 }, { temperature: 0.6 }, { minP: 0.1 }, { topK: 5 }]) {
      const pipeline = createPipeline(presetSteps("edgewise", options));
      for (let seed = 0; seed < 50; seed++) {
        const context = { history: [4, 5], promptLength: 1, seed };
        const kernels = { best: (count: number) => fused.top(1, count), law: fused.law!(1) };
        const row = fused.row(1);
        const { token, logProbability } = pipeline.sample(row, context);
        expect(pipeline.sample(row, { ...context, kernels })).toMatchObject({ token, logProbability });
      }
    }
  });
});
