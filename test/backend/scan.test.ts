/** Drafts decided on where the rows are: what the verifiers do, on a WebGPU device within rounding. */
import { describe, expect, test } from "vitest";
import { stride } from "../../src/backend/backend.ts";
import type { Cut, DrawTask, Scanned, ScanTask } from "../../src/backend/draw-kernels.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { referenceRowMath } from "../../src/backend/reference/row-math.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { createPipeline, type Step } from "../../src/decoding/pipeline.ts";
import { seededRandom } from "../../src/decoding/verify/random.ts";
import { verify } from "../../src/decoding/verify/verify.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { copyOf, load } from "./case/harness.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`scans on WebGPU: skipped, ${skip}`);

const random = createRandom(5);

const CUTS: readonly (readonly Cut[])[] = [
  [
    { cut: "top-k", k: 20, ties: "all" },
    { cut: "top-p", p: 0.8, temperature: 1 },
  ],
  [
    { cut: "min-p", p: 0.05, temperature: 0.7 },
    { cut: "top-p", p: 0.9, temperature: 1.6 },
  ],
];

/** A round: rows of logits, what is done to them, and a draft of tokens that its rows, near those, are drawn from. */
interface Round {
  readonly rows: readonly Float32Array[];
  readonly laws: readonly DrawTask[];
  readonly task: ScanTask;
}

function someRound(vocab: number, index: number): Round {
  const gamma = index % 6;
  const temperature = [1, 0.7, 1.6][index % 3];
  const rows = Array.from({ length: gamma + 1 }, () =>
    Float32Array.from({ length: vocab }, () => 2.5 * random.normal()),
  );
  const near = rows.map((row) => row.map((x) => x + 0.7 * random.normal()));
  const proposals = near.slice(0, gamma).map((row) => referenceRowMath.tempered(row, temperature));
  const tokens = proposals.map((law) => referenceRowMath.draw(law, random.uniform()));
  // Exactly what the target has, and a token that its own row gives no chance.
  if (index % 7 === 3) near[0]?.set(rows[0]);
  if (index % 11 === 5 && gamma > 1) proposals[1].values[tokens[1]] = 0;
  const mask = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => random.below(2 ** 32) | 1);
  const banned = random.below(vocab);
  const laws = rows.map(
    (_, i): DrawTask => ({
      temperature,
      seed: 0,
      position: 0,
      ...(index % 4 === 1 && { mask }),
      ...(index % 5 === 2 && i !== 1 && { cuts: CUTS[index % 2] }),
      ...(index % 4 === 2 &&
        i > 0 && { changes: { tokens: [banned, tokens[0]], changes: [0, 1, -Infinity, 0, 1.5, -0.5] } }),
    }),
  );
  const task = {
    verifier: index % 2 === 0 ? "block" : "token",
    tokens,
    ...(index % 5 !== 4 && { rows: proposals.map(({ values }) => values) }),
    start: 40 + index,
    seed: 77,
  } as const;
  // What is left of a row from which something was taken is no law: it is to be near one.
  return { rows, laws, task: index % 11 === 5 ? { ...task, rows: task.rows?.map(normalized) } : task };
}

function normalized(row: Float32Array | Float64Array): Float64Array {
  const sum = Array.from(row).reduce((total, value) => total + value, 0);
  return Float64Array.from(row, (value) => value / sum);
}

/** −∞ for what the steps of a pipeline do not leave. */
function cut(logits: Float64Array, { cuts = [] }: DrawTask): Float64Array {
  let left = logits;
  for (const one of cuts) {
    const { cut: step, ...fields } = one;
    const heat: Step = { step: "temperature", temperature: "temperature" in one ? one.temperature : 1 };
    const own = step === "top-k" ? { step, ...fields } : { step, p: (fields as { p: number }).p };
    const { ids } = createPipeline([heat, own]).distribution(left, { history: [], promptLength: 0, seed: 0 });
    left = new Float64Array(logits.length).fill(-Infinity);
    for (const id of ids) left[id] = logits[id];
  }
  return left;
}

/** What the verifier of decoding does. */
function verified({ rows, laws, task }: Round): Scanned {
  const vocab = rows[0].length;
  const targets = rows.map((row, i) => {
    const { mask, changes, temperature } = laws[i];
    const logits = Float64Array.from(row, (x, id) => {
      if (mask && ((mask[id >>> 5] >>> (id & 31)) & 1) === 0) return -Infinity;
      const at = changes ? Array.from(changes.tokens).lastIndexOf(id) : -1;
      if (at === 0) return -Infinity;
      return at < 0 ? x : (x > 0 ? x / 1.5 : x * 1.5) - 0.5;
    });
    return referenceRowMath.tempered(cut(logits, laws[i]), temperature).values;
  });
  const verdict = verify({
    rows: { count: rows.length, vocab, row: (i) => targets[i] },
    draft: {
      tokens: task.tokens,
      law: task.rows ? { rows: { count: rows.length, vocab, row: (i) => task.rows![i] } } : "one-hot",
    },
    start: task.start,
    random: seededRandom(task.seed),
    policy: { verifier: task.verifier },
  });
  return {
    accepted: verdict.accepted.length,
    token: verdict.emitted.at(-1)!,
    logProbabilities: Float64Array.from(verdict.emitted, (token, i) => Math.log(targets[i][token])),
  };
}

async function scanned(backend: ReturnType<typeof createReferenceBackend> | WebGpuBackend, round: Round) {
  const { rows, laws, task } = round;
  const vocab = rows[0].length;
  const all = new Float32Array(rows.length * stride(vocab)).fill(Number.NaN);
  for (const [i, row] of rows.entries()) all.set(row, i * stride(vocab));
  const x = load(backend, all);
  const result = await backend.drawKernels!().scan(x, vocab, laws, task);
  expect(await copyOf(backend, x)).toEqual(all);
  return result;
}

function expectSame(found: Scanned | null, expected: Scanned, digits: number): void {
  if (found === null) throw new Error("nothing was told");
  expect([found.accepted, found.token]).toEqual([expected.accepted, expected.token]);
  for (const [i, value] of expected.logProbabilities.entries()) {
    expect(found.logProbabilities[i]).toBeCloseTo(value, digits);
  }
}

test("the definition does what the verifiers do", async () => {
  const kinds = new Set<string>();
  for (let index = 0; index < 330; index++) {
    const round = someRound(40, index);
    const found = await scanned(createReferenceBackend(), round);
    expectSame(found, verified(round), 9);
    kinds.add(`${round.task.verifier} ${found!.accepted} of ${round.task.tokens.length}`);
  }
  expect(kinds.size).toBeGreaterThan(20);
});

describe.skipIf(skip !== undefined)("a scan on WebGPU", () => {
  const backend = typeof gpu === "string" ? null! : createWebGpuBackend(gpu);

  test.each([
    [40, 44],
    [2500, 12],
  ])("of %i tokens does what the verifiers do", async (vocab, count) => {
    for (let index = 0; index < count; index++) {
      const round = someRound(vocab, index);
      expectSame(await scanned(backend, round), verified(round), 4);
    }
  });

  test("of a large vocabulary it reads a few words, in one command buffer if the tokens were chosen", async () => {
    const round = someRound(32_000, 5);
    const { rows, ...task } = round.task;
    const x = load(backend, Float32Array.from(round.rows.flatMap((row) => [...row])));
    await backend.settle();
    const before = backend.traffic;
    const found = await backend.drawKernels().scan(x, 32_000, round.laws, task);
    const { submissions, readBytes } = backend.traffic;
    expect([submissions - before.submissions, readBytes - before.readBytes]).toEqual([1, 36]);
    expect(found!.accepted).toBe(verified({ ...round, task }).accepted);
  });

  test("nothing is told of a draft whose rows are no probabilities", async () => {
    const round = someRound(40, 2);
    const wrong = round.task.rows!.map((row) => Float64Array.from(row, (value) => 1.01 * value));
    expect(await scanned(backend, { ...round, task: { ...round.task, rows: wrong } })).toBeNull();
    wrong[0].fill(-0.1, 0, 1);
    expect(await scanned(backend, { ...round, task: { ...round.task, rows: wrong } })).toBeNull();
  });

  test("nothing is told of rows without a logit, or with an infinite one", async () => {
    for (const value of [NaN, Infinity]) {
      const round = someRound(40, 3);
      if (value === Infinity) round.rows[2][3] = value;
      else round.rows[2].fill(value);
      expect(await scanned(backend, round)).toBeNull();
      expect(await scanned(createReferenceBackend(), round)).toBeNull();
    }
  });
});
