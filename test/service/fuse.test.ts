/** `POST /v1/fuse` gives what the library gives, and says by its path what is wrong. */
import { describe, expect, it } from "vitest";
import {
  evaluatePlan,
  FUSE_PRESETS,
  type FuseContext,
  type FusePresetName,
  fusePreset,
  type Plan,
  planFingerprint,
} from "../../src/decoding/fuse.ts";
import { createPipeline, presetSteps } from "../../src/decoding/pipeline.ts";
import { numberToF16 } from "../../src/format/half.ts";
import { createRandom, expectClose, ln, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

const { post: send, errors, app } = fakeService(undefined, { maxBodyBytes: 8 << 20 });

interface Answer {
  logits?: (number | null)[] | { encoding: string; data: string; shape: number[] };
  probs?: number[];
  token: number;
  logprob: number;
  seed: number;
  audit?: { sources: string[]; routes: { choice: number }[]; matches: { alpha: number }[]; entropy: number };
  state: { memory: (number | null)[]; sampling?: number[] };
  fingerprint: string;
  error?: { message: string; type: string; param: string | null; code: string };
}

async function post(body: object): Promise<{ status: number; answer: Answer }> {
  const response = await send("/v1/fuse", body);
  expect(errors).toEqual([]);
  return { status: response.status, answer: (await response.json()) as Answer };
}

async function fuse(body: object): Promise<Answer> {
  const { status, answer } = await post(body);
  expect(answer.error).toBeUndefined();
  expect(status).toBe(200);
  return answer;
}

async function refusal(body: object) {
  const { status, answer } = await post(body);
  expect(status).toBe(400);
  expect(answer.error!.type).toBe("invalid_request_error");
  return answer.error!;
}

const numbers = (row: ArrayLike<number>) => Array.from(row, (z) => (z === -Infinity ? null : z));
const encoded = (encoding: string, bytes: ArrayBufferLike, length: number) => ({
  encoding,
  data: Buffer.from(bytes).toString("base64"),
  shape: [length],
});

const LARGE = { base: ln(4, 2, 2), expert: ln(2, 1, 1), anti: ln(1, 1, 2) };
const rowsOf = (rows: Record<string, ArrayLike<number>>) =>
  Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, numbers(row)]));

const sum: Plan = { sources: ["a", "b"], lin: [{ source: "a" }, { source: "b", weight: 0.5 }] };
const A = [0, 1, 2, 3];
const B = [4, 0, 0, 0];

describe("fusing", () => {
  it("adds rows by a plan", async () => {
    const body = {
      plan: sum,
      rows: { a: A, b: B },
      seed: 1,
      sampling: { temperature: 0 },
      return: ["logits"],
    };
    expect(await fuse(body)).toEqual({
      logits: [2, 1, 2, 3],
      token: 3,
      logprob: 0,
      seed: 1,
      state: { memory: [] },
      fingerprint: planFingerprint(sum),
    });
  });

  it("gives the golden laws", async () => {
    const law = async (preset: string, rows: object, options?: object) => {
      const plan = { preset, ...(options && { options }) };
      return (await fuse({ plan, rows, return: ["probs"] })).probs!;
    };
    expectClose(await law("proxy-tuning", rowsOf(LARGE)), [8 / 11, 2 / 11, 1 / 11]);
    expectClose(await law("dlf", rowsOf(LARGE)), [0.7451136925, 0.1738039144, 0.0810823931]);
    const assistant = { base: ln(50, 30, 15, 4, 1), assistant: ln(70, 10, 10, 5, 5) };
    const forgotten = [0.1897912, 0.5401392, 0.2700696, 0, 0];
    expectClose(await law("uld", rowsOf(assistant), { filter: 0.1 }), forgotten, 6e-8);
    const { audit } = await fuse({ plan: { preset: "dlf" }, rows: rowsOf(LARGE) });
    expect(audit).toMatchObject({ sources: ["base", "expert", "anti"], matches: [{ alpha: 1.1 }] });
  });

  /** Those that need data of their own. */
  const SPECIAL: readonly string[] = [
    "logit-adjustment",
    "margin",
    "margin-calibration",
    "grad",
    "x-token",
    "unite",
    "eva",
    "gac",
  ];
  const GENERAL = (Object.keys(FUSE_PRESETS) as FusePresetName[]).filter((name) => !SPECIAL.includes(name));

  it.each(GENERAL)("gives what the library gives: %s", async (preset) => {
    const random = createRandom(7);
    const plan = fusePreset(preset);
    for (let step = 0; step < 2; step++) {
      const rows = Object.fromEntries(
        plan.sources.map((source) => {
          const { name, extra = 0 } = typeof source === "string" ? { name: source } : source;
          return [name, randomRow(random, 37 + extra)];
        }),
      );
      const inputs = Object.fromEntries(
        Object.entries(plan.inputs ?? {}).map(([name, count]) => [
          name,
          Array.from(randomRow(random, count)),
        ]),
      );
      const context: FuseContext = { step, position: 5 + step, seed: 9, last: 3, inputs, audit: true };
      const { row, audit, state } = evaluatePlan(plan, rows, context);
      const { token } = createPipeline([]).sample(row, {
        history: [],
        promptLength: 0,
        ...context,
        seed: 9,
        state: undefined,
      });
      const { step: at, position, seed, last } = context;
      const answer = await fuse({
        plan: { preset },
        rows: rowsOf(rows),
        ...{ step: at, position, seed, last, inputs, return: ["logits", "audit"] },
      });
      expect(answer.logits).toEqual(numbers(row));
      expect(answer.audit).toEqual(JSON.parse(JSON.stringify(audit)));
      expect([answer.token, answer.state]).toEqual([token, state]);
    }
  });

  it("takes tables with the step, a graph by the last token of the history", async () => {
    const graph = { kind: "graph", offsets: [0, 1, 1, 1, 1], ids: [2], values: [5] };
    const body = {
      plan: { preset: "grad" },
      rows: { base: [0, 1, 0, 0] },
      tables: { graph },
      return: ["logits"],
    };
    expect((await fuse({ ...body, history: [3, 0] })).logits).toEqual([0, 1, 1, 0]);
    expect((await fuse({ ...body, history: [0, 3] })).logits).toEqual([0, 1, 0, 0]);
    expect((await fuse({ ...body, last: 0 })).logits).toEqual([0, 1, 1, 0]);
    expect((await refusal({ ...body, tables: {} })).param).toBe("tables.graph");
  });

  it("hands the memory of a plan from step to step", async () => {
    const plan: Plan = {
      sources: ["a", "b"],
      let: { slow: { smooth: { stat: "max", of: "a" }, rate: 0.5 } },
      lin: [{ source: "a" }, { source: "b", weight: "slow" }],
    };
    const first = await fuse({ plan, rows: { a: A, b: B }, return: [] });
    expect(first.state).toEqual({ memory: [3] });
    const rows = { a: [0, 1, 0, 0], b: [0, 0, 1, 0] };
    const second = await fuse({ plan, rows, state: first.state, return: ["logits"] });
    expect([second.logits, second.state]).toEqual([[0, 1, 2, 0], { memory: [2] }]);
    expect((await refusal({ plan, rows, state: { memory: [] } })).param).toBe("state.memory");
    expect((await refusal({ plan, rows, state: {} })).param).toBe("state.memory");
  });

  it("needs only rows that the route leads to", async () => {
    const plan = { preset: "nudging" };
    const sure = await fuse({ plan, rows: { base: [9, 0, 0] } });
    expect([sure.audit!.sources, sure.audit!.routes[0].choice]).toEqual([["base"], 0]);
    const unsure = { plan, rows: { base: [0, 0, 0, 0] } };
    expect(await refusal(unsure)).toMatchObject({
      param: "rows.tuned",
      code: "missing_required_parameter",
      message: '"rows.tuned" must be given, as the plan needs it here',
    });
  });

  it("masks by a bitmask, in the plan and behind it", async () => {
    const body = { rows: { a: A }, bitmask: [0b0011], sampling: { temperature: 0 }, return: ["logits"] };
    const plain = await fuse({ ...body, plan: { sources: ["a"], source: "a" } });
    expect([plain.logits, plain.token]).toEqual([A, 1]);
    const cut = await fuse({ ...body, plan: { sources: ["a"], source: "a", support: [{ bitmask: true }] } });
    expect([cut.logits, cut.token]).toEqual([[0, 1, null, null], 1]);
    expect((await refusal({ ...body, plan: sum, bitmask: [1, -1] })).param).toBe("bitmask[1]");
  });
});

describe("rows", () => {
  const plan = { sources: ["a"], source: "a" };
  const logitsOf = async (a: unknown) => (await fuse({ plan, rows: { a }, return: ["logits"] })).logits;
  const values = [1.5, -0.25, 3, -Infinity, 1000];

  it("come in four forms", async () => {
    const expected = numbers(values);
    expect(await logitsOf(expected)).toEqual(expected);
    expect(await logitsOf([1.5, -0.25, 3, "-Infinity", 1000])).toEqual(expected);
    expect(await logitsOf(encoded("f32", Float32Array.from(values).buffer, 5))).toEqual(expected);
    expect(await logitsOf(encoded("f16", Uint16Array.from(values, numberToF16).buffer, 5))).toEqual(expected);
    expect(await logitsOf({ encoding: "f32", data: encoded("", Float32Array.of(2).buffer, 1).data })).toEqual(
      [2],
    );
    const truncated = { ids: [2, 0], logprobs: [-0.5, null], tail_mass: 0.2, vocab: 4 };
    const tail = Math.log(0.1);
    const logits = (await logitsOf(truncated)) as number[];
    expect([logits[0], logits[2]]).toEqual([null, -0.5]);
    expectClose([logits[1], logits[3]], [tail, tail], 1e-15);
  });

  it("go out as numbers or as f32", async () => {
    const body = { plan, rows: { a: numbers(values) }, return: ["logits", "probs"], sampling: { top_k: 1 } };
    const { logits, probs } = await fuse({ ...body, encoding: "f32" });
    expect(logits).toEqual(encoded("f32", Float32Array.from(values).buffer, 5));
    expect(probs).toEqual(encoded("f32", Float32Array.of(0, 0, 0, 0, 1).buffer, 5));
    expect((await fuse(body)).probs).toEqual([0, 0, 0, 0, 1]);
  });

  const f32 = (...row: number[]) => encoded("f32", Float32Array.from(row).buffer, row.length);
  const short = { ids: [0], logprobs: [0], tail_mass: 0, vocab: 4 };
  it.each([
    [7, "rows.a"],
    ["abc", "rows.a"],
    [null, "rows.a"],
    [[], "rows.a"],
    [[0, "1"], "rows.a[1]"],
    [[0, 1, 1e39], "rows.a[2]"],
    [[0, [1]], "rows.a[1]"],
    [[null, null], "rows.a"],
    [{}, "rows.a.encoding"],
    [{ ...f32(1), encoding: "f64" }, "rows.a.encoding"],
    [{ ...f32(1), dtype: "f32" }, "rows.a.dtype"],
    [{ ...f32(1), shape: [2] }, "rows.a.shape"],
    [{ ...f32(1), shape: 1 }, "rows.a.shape"],
    [{ ...f32(1), data: "%%%%" }, "rows.a.data"],
    [{ ...f32(1), data: "AAAA" }, "rows.a.data"],
    [{ ...f32(1), data: "" }, "rows.a.data"],
    [{ ...f32(1), data: 5 }, "rows.a.data"],
    [f32(0, Number.NaN), "rows.a.data"],
    [f32(0, Number.POSITIVE_INFINITY), "rows.a.data"],
    [{ encoding: "f16", data: "A".repeat(4 << 18), shape: [393_216] }, "rows.a.data"],
    [{ ...short, ids: [4] }, "rows.a.ids[0]"],
    [{ ...short, ids: 4 }, "rows.a.ids"],
    [{ ...short, ids: [1, 1], logprobs: [0, 0] }, "rows.a.ids[1]"],
    [{ ...short, logprobs: [] }, "rows.a.logprobs"],
    [{ ...short, logprobs: ["0"] }, "rows.a.logprobs[0]"],
    [{ ...short, logprobs: [null] }, "rows.a"],
    [{ ...short, tail_mass: 1.5 }, "rows.a.tail_mass"],
    [{ ...short, vocab: 2 ** 19 }, "rows.a.vocab"],
    [{ ...short, tail: 0 }, "rows.a.tail"],
  ])("that are wrong are told by path, case %#", async (a, param) => {
    const error = await refusal({ plan, rows: { a } });
    expect(error.param).toBe(param);
    expect(error.message.startsWith(`"${param}" `)).toBe(true);
  });
});

describe("sampling", () => {
  const plan = { sources: ["a"], source: "a" };
  const rows = { a: [1, 3, 2, 2.5] };

  it("is the pipeline of the completions, with the same noise at the same place", async () => {
    const row = Float64Array.from(rows.a);
    const pipeline = createPipeline(
      presetSteps("edgewise", { temperature: 0.9, topK: 3, repetitionPenalty: 1.3 }),
    );
    const seen = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const history = [1, 2, seed % 4];
      const { token, logProbability } = pipeline.sample(row, { history, promptLength: 1, seed });
      const sampling = { temperature: 0.9, top_k: 3, repetition_penalty: 1.3 };
      const answer = await fuse({ plan, rows, seed, history, prompt_length: 1, sampling });
      expect([answer.token, answer.logprob]).toEqual([token, logProbability]);
      seen.add(token);
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  it("draws a seed and tells it", async () => {
    const { seed, token } = await fuse({ plan, rows });
    expect((await fuse({ plan, rows, seed })).token).toBe(token);
    expect((await fuse({ plan, rows, sampling: { seed } })).seed).toBe(seed);
    expect((await fuse({ plan, rows })).seed).not.toBe(seed);
  });

  it("remembers from step to step", async () => {
    const sampling = { mirostat: 2, mirostat_tau: 1 };
    const { state } = await fuse({ plan, rows, sampling });
    expect(state.sampling!.length).toBe(1);
    const next = await fuse({ plan, rows, sampling, state });
    expect(next.state.sampling).not.toEqual(state.sampling);
    expect((await refusal({ plan, rows, sampling, state: { memory: [], sampling: ["1"] } })).param).toBe(
      "state.sampling",
    );
  });

  it.each([
    [{ top_k: "3" }, "sampling.top_k"],
    [{ top_q: 3 }, "sampling.top_q"],
    [{ typical_p: 7 }, "sampling.typical_p"],
    [{ bad_words: ["no"] }, "sampling.bad_words"],
    [{ min_tokens: 3 }, "sampling.min_tokens"],
    [{ dry_multiplier: 1, dry_sequence_breakers: ["."] }, "sampling.dry_sequence_breakers"],
    [{ logit_bias: [["no", 1]] }, "sampling.logit_bias"],
    [{ logit_bias: { 9: 1 } }, "sampling.logit_bias"],
    [{ allowed_token_ids: [4] }, "sampling.allowed_token_ids[0]"],
    [{ pipeline: [{ step: "top-k", k: -1 }] }, "sampling.pipeline[0].k"],
    [{ temperature: 1, pipeline: [] }, "sampling.temperature"],
    [7, "sampling"],
  ])("that is wrong is told by path: %j", async (sampling, param) => {
    expect((await refusal({ plan, rows, sampling })).param).toBe(param);
  });

  it("takes fields by token id", async () => {
    const sampling = { logit_bias: [[0, 9]], dry_multiplier: 1, allowed_token_ids: [0, 1], temperature: 0 };
    expect((await fuse({ plan, rows, sampling })).token).toBe(0);
  });
});

describe("what is wrong", () => {
  const good = { plan: sum, rows: { a: A, b: B } };
  const term = (term: object) => ({ plan: { sources: ["a", "b"], lin: [{ source: "a" }, term] } });
  const nested = (depth: number): object =>
    depth === 0 ? { source: "a" } : { lin: [nested(depth - 1)], temperature: 2 };
  it.each<[object, string, RegExp | string]>([
    [term({ source: "c" }), "plan.lin[1].source", 'must be one of a, b, got "c"'],
    [term({ source: "b", weight: 1e9 }), "plan.lin[1].weight", /got 1000000000$/],
    [{ plan: { sources: ["a"], rows: { x: { source: "x" } }, source: "x" } }, "plan.rows.x", /itself/],
    [{ plan: { sources: ["a", "b"], ...nested(20) } }, `plan${".lin[0]".repeat(12)}`, /nested at most 12/],
    [{ plan: { ...sum, extra: 1 } }, "plan", 'got "extra"'],
    [{ plan: 7 }, "plan", "must be a plan"],
    [{ plan: { preset: "nope" } }, "plan.preset", /must be one of "align-distil"/],
    [{ plan: { preset: "dlf", options: { limit: "2" } } }, "plan.options.limit", "kind number"],
    [{ plan: { preset: "dlf", options: { alpha: 2 } } }, "plan.options", 'got "alpha"'],
    [{ plan: { preset: "dlf", options: 7 } }, "plan.options", "must be an object"],
    [{ plan: { preset: "dlf", more: 7 } }, "plan", 'got "more"'],
    [
      { plan: { preset: "proxy-tuning", options: { alpha: 1e9 } } },
      "plan.options",
      '"plan.lin[1].weight" must be',
    ],
    [
      { plan: { preset: "early-exit", options: { gates: [null] } } },
      "plan.options",
      'fit the preset "early-exit"',
    ],
    [
      { plan: { preset: "eva", options: { sources: Array(99).fill("a") } } },
      "plan.options.sources",
      "at most 16",
    ],
    [{ rows: { a: A, b: B, c: A } }, "rows.c", "as the plan has it: a, b"],
    [{ rows: { a: A, b: [1, 2] } }, "rows.b", 'must have 4 tokens, as "rows.a" has, got 2'],
    [{ rows: [] }, "rows", "must be an object"],
    [{ rows: {} }, "rows.a", "must be given"],
    [{ inputs: { x: [1] } }, "inputs.x", "declares none"],
    [{ plan: { preset: "fusion-route" }, rows: {}, inputs: { routing: [1] } }, "inputs.routing", "2 numbers"],
    [{ step: -1 }, "step", "must be an integer"],
    [{ seed: 0.5 }, "seed", "must be an integer"],
    [{ history: [0, -1] }, "history[1]", "must be an integer"],
    [{ history: [0], prompt_length: 2 }, "prompt_length", "at most 1"],
    [{ return: ["all"] }, "return[0]", "logits, probs, audit"],
    [{ encoding: "f64" }, "encoding", "numbers, f32, f16, int8, int4, top-k, lattice, ids"],
    [{ other: 1 }, "other", "not a field"],
  ])("is told by path, case %#", async (change, param, message) => {
    const error = await refusal({ ...good, ...change });
    expect(error.param).toBe(param);
    expect(error.message).toMatch(message instanceof RegExp ? message : new RegExp(escaped(message)));
  });

  const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  it("in a preset's plan is told of the plan", async () => {
    const plan = { preset: "logit-mask", options: { bias: { 9: 1 } } };
    expect((await refusal({ plan, rows: { base: A } })).param).toBe("plan");
  });

  it("leaves no token", async () => {
    const plan = { sources: ["a"], source: "a", support: [{ allow: [1] }, { forbid: [1] }] };
    expect(await refusal({ plan, rows: { a: A } })).toMatchObject({ param: "plan", code: "no_token_left" });
    const sampling = { pipeline: [{ step: "allowed-ids", ids: [9] }] };
    expect((await refusal({ ...good, sampling })).code).toBe("no_token_left");
  });

  it("costs too much", async () => {
    const vocab = 1 << 18;
    const row = { ids: [0], logprobs: [0], tail_mass: 0.5, vocab };
    const rows = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [
        `r${i}`,
        { source: "a", temperature: 1 + i / 100, support: [{ topK: 9 }] },
      ]),
    );
    const plan = {
      sources: ["a"],
      let: {
        all: {
          add: Array.from({ length: 4 }, (_, j) => ({
            add: Array.from({ length: 25 }, (_, i) => ({ stat: "entropy", of: `r${25 * j + i}` })),
          })),
        },
      },
      rows,
      lin: [{ source: "a", weight: "all" }],
    };
    const error = await refusal({ plan, rows: { a: row } });
    expect([error.param, error.message]).toEqual([
      "plan",
      expect.stringMatching(/must read at most .* logits/),
    ]);
    expect((await fuse({ plan, rows: { a: [1, 2, 3] } })).token).toBeLessThan(3);
    const projection = { kind: "projection", vocab: 1 << 20, offsets: [0, 0], ids: [], values: [] };
    const table = { sources: ["a"], tables: { p: projection }, map: { source: "a" }, through: "p" };
    expect((await refusal({ plan: table, rows: { a: [1] } })).param).toBe("plan.tables.p.vocab");
  });

  it("is no JSON, too long, or the wrong method", async () => {
    expect((await send("/v1/fuse", "{")).status).toBe(400);
    expect((await send("/v1/fuse", "[]")).status).toBe(400);
    expect((await send("/v1/fuse", " ".repeat(9 << 20))).status).toBe(413);
    expect((await app.request("/v1/fuse")).status).toBe(405);
  });
});

describe("size", () => {
  it("is eight rows of the largest vocabulary, and one row in the default body", async () => {
    const vocab = 1 << 18;
    const { post } = fakeService();
    const f16 = new Uint16Array(vocab).fill(numberToF16(-1));
    f16[77] = numberToF16(2);
    const one = { plan: { sources: ["a"], source: "a" }, rows: { a: encoded("f16", f16.buffer, vocab) } };
    const response = await post("/v1/fuse", { ...one, sampling: { temperature: 0 } });
    expect(((await response.json()) as Answer).token).toBe(77);
    const names = Array.from({ length: 8 }, (_, i) => `r${i}`);
    const rows = Object.fromEntries(
      names.map((name, i) => [name, { ids: [i], logprobs: [i === 0 ? -0.5 : -1], tail_mass: 0.5, vocab }]),
    );
    const plan = { preset: "mixture", options: { sources: names } };
    expect((await fuse({ plan, rows, return: [], sampling: { temperature: 0 } })).token).toBe(0);
  });

  it("gives its slot back, also after an error", async () => {
    await fuse({ plan: sum, rows: { a: A, b: B } });
    await refusal({ plan: sum, rows: { a: A, b: [1] } });
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0, waiting: 0 });
  });
});
