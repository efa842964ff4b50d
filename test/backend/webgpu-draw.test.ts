/** Tokens drawn on a WebGPU device, against their definition. */
import { describe, expect, test } from "vitest";
import { stride } from "../../src/backend/backend.ts";
import {
  type Cut,
  type Drawn,
  type DrawnList,
  type DrawnToken,
  type DrawTask,
  LIST_ROOM,
  type LogitChanges,
} from "../../src/backend/draw-kernels.ts";
import { referenceDrawKernels } from "../../src/backend/reference/draw.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { createPipeline, type Step } from "../../src/decoding/pipeline.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { copyOf, load } from "./case/harness.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`draws on WebGPU: skipped, ${skip}`);

const random = createRandom(11);

/** Changes of `count` tokens, of all kinds. */
function someChanges(vocab: number, count: number): LogitChanges {
  const ids = new Set(Array.from({ length: count }, () => Math.floor(random.uniform() * vocab)));
  const kinds = [
    [0, 1.3, 0],
    [0, 1, -2.5],
    [-0.75, 0.8, 1.5],
    [0, 1, Number.NEGATIVE_INFINITY],
    [0, 1, 6],
  ];
  return { tokens: [...ids], changes: [...ids].flatMap((_, i) => kinds[i % kinds.length]) };
}

/** What device and definition make of rows, one after the other in memory. */
async function bothOf(rows: readonly Float32Array[], tasks: readonly DrawTask[]) {
  if (typeof gpu === "string") throw new Error(gpu);
  const vocab = rows[0].length;
  const all = new Float32Array(rows.length * stride(vocab)).fill(Number.NaN);
  for (const [i, row] of rows.entries()) all.set(row, i * stride(vocab));
  const results: (readonly (Drawn | null)[])[] = [];
  for (const backend of [createWebGpuBackend(gpu), createReferenceBackend()]) {
    const x = load(backend, all);
    const kernels = "drawKernels" in backend ? backend.drawKernels!() : referenceDrawKernels;
    results.push(await kernels.draw(x, vocab, tasks));
    // Changes are taken back.
    expect(await copyOf(backend, x)).toEqual(all);
    backend.close();
  }
  return results;
}

/** Rows as models give them, and others, where rounding matters more. */
const ROWS: Record<string, () => number> = {
  normal: () => 3 * random.normal(),
  coarse: () => Math.round(4 * random.normal()) / 4,
  "far away": () => 1e4 + 5 * random.normal(),
  near: () => 1e-4 * random.normal(),
  wide: () => 1e3 * random.normal(),
};

const LEADS: readonly (readonly Step[])[] = [
  [],
  [
    { step: "repetition-penalty", penalty: 1.2 },
    { step: "presence-penalty", penalty: 0.3 },
  ],
  [
    { step: "logit-bias", bias: { 5: 100, 6: -100, 7: 1e-6 } },
    { step: "repetition-penalty", penalty: 1.7 },
    { step: "frequency-penalty", penalty: 0.1 },
  ],
];

const TAILS: readonly (readonly Step[])[] = [
  [{ step: "temperature", temperature: 0 }],
  [{ step: "temperature", temperature: 0.05 }],
  [{ step: "top-k", k: 10 }],
  [{ step: "temperature", temperature: 1.3 }],
  [{ step: "top-p", p: 0.6 }],
  [
    { step: "temperature", temperature: 0.3 },
    { step: "min-p", p: 0.1 },
  ],
  [
    { step: "top-k", k: 20, ties: "all" },
    { step: "top-p", p: 0.9 },
  ],
  [
    { step: "top-k", k: 40 },
    { step: "top-p", p: 0.95 },
    { step: "min-p", p: 0.05 },
    { step: "temperature", temperature: 0.8 },
  ],
  [
    { step: "temperature", temperature: 1.3 },
    { step: "top-p", p: 0.9 },
    { step: "temperature", temperature: 0.6 },
    { step: "min-p", p: 0.02 },
    { step: "top-p", p: 0.97 },
    { step: "top-k", k: 3 },
  ],
  [
    { step: "top-p", p: 0.8 },
    { step: "typical", p: 0.9 },
  ],
];

/** One to four cuts, of usual strength. */
function someCuts(): Cut[] {
  const temperature = () => [1, 0.6, 2, 0.8][random.below(4)];
  return Array.from({ length: 1 + random.below(4) }, (): Cut => {
    const kind = random.below(3);
    if (kind === 0)
      return { cut: "top-k", k: 1 + random.below(60), ties: random.below(2) ? "all" : "lowest" };
    if (kind === 1)
      return { cut: "top-p", p: [0, 0.3, 0.7, 0.9][random.below(4)], temperature: temperature() };
    return { cut: "min-p", p: [0, 0.05, 0.1, 1][random.below(4)], temperature: temperature() };
  });
}

const rowOf = (vocab: number) => Float32Array.from({ length: vocab }, () => 3 * random.normal());

describe.skipIf(skip !== undefined)("draws on WebGPU", () => {
  test.each([1, 7, 1000, 20_003])(
    "of %i tokens: what the race gives, with its probability",
    async (vocab) => {
      const rows = Array.from({ length: vocab > 1000 ? 8 : 12 }, () => rowOf(vocab));
      if (vocab > 7) for (const row of rows) row.set([Number.NaN, Number.NEGATIVE_INFINITY], 5);
      const mask = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () =>
        Math.floor(random.uniform() * 2 ** 32),
      );
      const tasks = rows.map(
        (_, i): DrawTask => ({
          temperature: [1, 0.6, 2, 0][i % 4],
          seed: 2 ** 40 + 3,
          position: i,
          ...(i % 3 > 0 && { changes: someChanges(vocab, 40) }),
          ...(i > 6 && vocab > 7 && { mask }),
        }),
      );
      const [found, expected] = await bothOf(rows, tasks);
      let told = 0;
      for (const [i, drawn] of found.entries()) {
        if (drawn === null) continue;
        const { token, logProbability } = drawn as DrawnToken;
        expect(token).toBe((expected[i] as DrawnToken).token);
        expect(Math.abs(logProbability - (expected[i] as DrawnToken).logProbability)).toBeLessThan(1e-5);
        told++;
      }
      // Of one token all may be forbidden.
      expect(told).toBeGreaterThan(vocab === 1 ? 3 : rows.length - 2);
    },
  );

  test("lists have the best tokens of the row that is changed, with the logits of the one that is not", async () => {
    for (const vocab of [3, 700, 20_001]) {
      const rows = Array.from({ length: 4 }, () => rowOf(vocab).map((x) => Math.round(4 * x) / 4));
      const mask = new Uint32Array(Math.ceil(vocab / 32)).fill(0x7fff_fffe);
      const tasks = rows.map(
        (_, i): DrawTask => ({
          temperature: 0.7,
          seed: 1,
          position: i,
          list: [5, 62, 300, 1][i],
          ...(i > 1 && { changes: someChanges(vocab, 30) }),
          ...(i % 2 === 1 && { mask }),
        }),
      );
      const [found, expected] = (await bothOf(rows, tasks)) as (DrawnList | null)[][];
      for (const [i, list] of found.entries()) {
        const other = expected[i];
        if (list === null || other === null) throw new Error("no list");
        expect(Math.abs(list.rest - other.rest)).toBeLessThanOrEqual(list.restError * other.rest);
        expect(list.bound).toBeGreaterThanOrEqual(other.bound);
        if (other.bound > Number.NEGATIVE_INFINITY) expect(list.bound - other.bound).toBeLessThan(1e-3);
        const logits = new Map(Array.from(list.ids, (id, at) => [id, list.logits[at]]));
        expect(logits).toEqual(new Map(Array.from(list.ids, (id) => [id, rows[i][id]])));
        // Ties of changed logits may be broken otherwise by what f32 rounds.
        const clear = [...other.ids].filter((_, at) => i < 2 || at < other.ids.length - 8);
        for (const id of clear) expect(logits.has(id)).toBe(true);
      }
    }
  });

  test.each(Object.keys(ROWS))(
    "pipelines choose what they choose of the row, or ask for it: %s",
    async (kind) => {
      const vocab = 300;
      const cases = Array.from({ length: 60 }, (_, i) => {
        const row = Float32Array.from({ length: vocab }, ROWS[kind]);
        const pipeline = createPipeline([...LEADS[i % LEADS.length], ...TAILS[i % TAILS.length]]);
        const history = Array.from({ length: 24 }, () => random.below(vocab));
        const where = { history, promptLength: 8, seed: 31, position: i };
        return { row, pipeline, where, task: pipeline.drawTask(vocab, where)! };
      });
      const all = cases.flatMap(({ row }) => [...row]);
      if (typeof gpu === "string") return;
      const backend = createWebGpuBackend(gpu);
      const x = load(backend, Float32Array.from(all));
      const found = await backend.drawKernels().draw(
        x,
        vocab,
        cases.map(({ task }) => task),
      );
      let told = 0;
      for (const [i, { row, pipeline, where }] of cases.entries()) {
        const drawn = found[i];
        const choice = drawn && pipeline.sampleDrawn(drawn, vocab, where);
        if (choice === null) continue;
        const expected = pipeline.sample(row, where);
        expect(choice.token, `${i}`).toBe(expected.token);
        expect(Math.abs(choice.logProbability - expected.logProbability), `${i}`).toBeLessThan(1e-4);
        told++;
      }
      expect(told).toBeGreaterThan(40);
      backend.close();
    },
  );

  test("of what cuts leave: the definition's token, with its probability, in 32 bytes", async () => {
    if (typeof gpu === "string") return;
    for (const vocab of [1, 40, 1500, 6000]) {
      const rows = Array.from({ length: 24 }, () => rowOf(vocab));
      if (vocab > 7) for (const row of rows) row.set([Number.NaN, Number.NEGATIVE_INFINITY], 5);
      const mask = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => random.below(2 ** 32) | 1);
      const tasks = rows.map(
        (_, i): DrawTask => ({
          temperature: [1, 0.6, 2][i % 3],
          seed: 2 ** 40 + 3,
          position: i,
          cuts: someCuts(),
          ...(i % 4 === 1 && { changes: someChanges(vocab, 30) }),
          ...(i % 5 === 1 && { mask }),
        }),
      );
      const [found, expected] = await bothOf(rows, tasks);
      let told = 0;
      for (const [i, drawn] of found.entries()) {
        if (drawn === null || !("token" in drawn)) continue;
        const { token, logProbability } = expected[i] as DrawnToken;
        expect(drawn.token, `${vocab}: ${i}`).toBe(token);
        expect(Math.abs(drawn.logProbability - logProbability)).toBeLessThan(1e-5);
        told++;
      }
      // Of one token all may be forbidden; of rows as flat as the last, some cuts are in doubt.
      expect(told).toBeGreaterThan(vocab === 1 ? 15 : 19);
    }
  });

  test("top-p ends where it ends in rows that are too flat for a list, whatever comes behind it", async () => {
    const vocab = 5000;
    const topP = (p: number, temperature = 1): Cut => ({ cut: "top-p", p, temperature });
    const minP = (p: number): Cut => ({ cut: "min-p", p, temperature: 1 });
    const kinds: readonly (readonly Cut[])[] = [
      [topP(0.9)],
      [topP(0.99, 1.5)],
      // The bar is in the list; between the list and where top-p ends; behind that.
      [topP(0.95), minP(0.8)],
      [topP(0.95), minP(0.3)],
      [topP(0.5), minP(0.01)],
      [topP(0.9), { cut: "top-k", k: 50, ties: "all" }, topP(0.8)],
    ];
    const rows = kinds.map(() => Float32Array.from({ length: vocab }, () => 3 * random.uniform()));
    const tasks = kinds.map((cuts, position): DrawTask => ({ temperature: 0.9, seed: 8, position, cuts }));
    const [found, expected] = await bothOf(rows, tasks);
    let told = 0;
    for (const [i, drawn] of found.entries()) {
      if (drawn === null || !("token" in drawn)) continue;
      const { token, logProbability } = expected[i] as DrawnToken;
      expect(drawn.token, `${i}`).toBe(token);
      expect(Math.abs(drawn.logProbability - logProbability)).toBeLessThan(1e-5);
      told++;
    }
    expect(told).toBeGreaterThan(4);
  });

  test("where cuts are in doubt the list for them is told, or nothing", async () => {
    if (typeof gpu === "string") return;
    const vocab = 2000;
    const where = (position: number) => ({ history: [1000], promptLength: 1, seed: 4, position });
    const near = new Float32Array(vocab).fill(-40).fill(2, 100, 104);
    const flat = new Float32Array(vocab);
    const bias: Step = { step: "logit-bias", bias: { 103: 1e-9 } };
    const cases: [row: Float32Array, steps: Step[], listed: number | null][] = [
      // Two of four are half of all.
      [near, [{ step: "top-p", p: 0.5 }], vocab / 2],
      // The third and the fourth differ by what f32 does not tell.
      [near, [bias, { step: "top-k", k: 3 }], 3 + LIST_ROOM],
      [near, [bias, { step: "min-p", p: 1 }], 4 + LIST_ROOM],
      // More than fit.
      [flat, [{ step: "min-p", p: 0.5 }], null],
      [flat, [{ step: "top-k", k: 5, ties: "all" }], null],
    ];
    const backend = createWebGpuBackend(gpu);
    for (const [i, [row, steps, listed]] of cases.entries()) {
      const pipeline = createPipeline(steps);
      const x = load(backend, row);
      const before = backend.traffic.readBytes;
      const [drawn] = await backend.drawKernels().draw(x, vocab, [pipeline.drawTask(vocab, where(i))!]);
      const bytes = 32 + (listed === null ? 0 : 16 + 8 * listed);
      expect(backend.traffic.readBytes - before, `${i}`).toBe(bytes);
      expect(drawn === null ? null : (drawn as DrawnList).ids.length).toBe(listed);
      const choice = drawn && pipeline.sampleDrawn(drawn, vocab, where(i));
      if (choice !== null) expect(choice).toEqual(pipeline.sample(row, where(i)));
    }
    backend.close();
  });

  test("the best token: the lowest id of equal ones, never NaN", async () => {
    const vocab = 5000;
    const rows = [rowOf(vocab), rowOf(vocab), new Float32Array(vocab).fill(-1), rowOf(vocab)];
    rows[0].set([50, Number.NaN, 50], 4000);
    rows[1].fill(Number.NaN).set([-3, -2, -2], 70);
    rows[3].fill(-0.0).set([0, -0.0], 9);
    const tasks = rows.map(() => ({ temperature: 0, seed: 0, position: 0 }));
    const [found, expected] = await bothOf(rows, tasks);
    expect(found).toEqual(expected);
    expect(found.map((drawn) => (drawn as DrawnToken).token)).toEqual([4000, 71, 0, 0]);
  });

  test("nothing is told of rows without a logit or with an infinite one, nor where rounding decides", async () => {
    const rows = [
      new Float32Array(64).fill(Number.NaN),
      new Float32Array(64).fill(Number.NEGATIVE_INFINITY),
      rowOf(64),
      rowOf(64),
      rowOf(64),
    ];
    rows[2][7] = Number.POSITIVE_INFINITY;
    rows[3].set([20, 20], 30);
    const plain = { temperature: 1, seed: 1, position: 0 };
    const near: DrawTask = { ...plain, temperature: 0, changes: { tokens: [30], changes: [0, 1, 1e-9] } };
    const far: DrawTask = { ...plain, changes: { tokens: [30], changes: [0, 1, 1e5] } };
    const [found] = await bothOf(rows, [
      plain,
      { ...plain, temperature: 0 },
      { ...plain, list: 3 },
      near,
      far,
    ]);
    expect(found).toEqual([null, null, null, null, null]);
  });

  test("calls in one go share a command buffer, and read back a few words each", async () => {
    if (typeof gpu === "string") return;
    const backend = createWebGpuBackend(gpu);
    const x = load(backend, rowOf(4000));
    await backend.settle();
    const before = backend.traffic;
    const mask = new Uint32Array(125).fill(0xffff_ffff);
    const task = { temperature: 1, seed: 5, position: 3, mask };
    backend.scale(x, 1.5, 4000);
    const draws = [backend.drawKernels().draw(x, 4000, [task]), backend.drawKernels().draw(x, 4000, [task])];
    const [first, second] = await Promise.all(draws);
    expect(second).toEqual(first);
    const { submissions, readBytes } = backend.traffic;
    expect([submissions - before.submissions, readBytes - before.readBytes]).toEqual([1, 64]);
    backend.close();
  });
});
