/**
 * What does it take to find the best token, or to draw one, without reading the whole head?
 *
 *   node --import ./bench/register.mjs bench/screen.ts [--builds simd,relaxed] [--quick] [--json]
 *
 * V = 151,936, D = 896, one thread. Rows are random, without the structure of a trained head, and states are pointed at a
 * row so that its logit is some standard deviations above the mean: 5 is hardly more than the best of so many random ones.
 * Every certified answer is compared with the dense head's before it is timed. Copies of all weights take turns, so that
 * they come from memory. Product codes are random too: their time does not depend on them, and how often they have the
 * best token is for real models to say (bench/certified.ts). Takes 2 GB of memory.
 */
import { parseArgs } from "node:util";
import type { Backend, Floats, Matrix } from "../src/backend/backend.ts";
import { createReferenceBackend } from "../src/backend/reference/index.ts";
import { productShape } from "../src/backend/screen-kernels.ts";
import { createWasmBackend } from "../src/backend/wasm/index.ts";
import type { Build } from "../src/backend/wasm/instantiate.ts";
import { certifiedMethod } from "../src/compress/certified.ts";
import { grouped, UnsupportedError } from "../src/errors.ts";
import { decodeWeights } from "../src/format/blocks.ts";
import { CertifiedHead } from "../src/model/head/certified-head.ts";
import { DenseHead } from "../src/model/head/dense-head.ts";
import type { Head } from "../src/model/head/head.ts";
import { ProductHead } from "../src/model/head/product-head.ts";
import type { HeadTensor } from "../src/model/head/stored-head.ts";
import { kernelModules } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, type Comparison, measure } from "./harness.ts";
import { weightRows } from "./head-weights.ts";
import { type Missing, print, printTable } from "./report.ts";

const VOCAB = 151_936;
const HIDDEN = 896;
const ROWS_AT_ONCE = 4096;
/** Copies of each head. */
const COPIES = 3;
/** Standard deviations of all logits, of a usual model. */
const SPREAD = 2.5;
/** Best logit in such deviations. */
const PEAKS = [5, 6, 8];
const STATES = 16;

const { values: options } = parseArgs({
  options: {
    builds: { type: "string", default: "simd,relaxed" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const rows = (first: number, count: number) =>
  decodeWeights("Q8_0", weightRows("Q8_0", first, count, HIDDEN));
const tensors = await certifiedMethod.build({
  head: { vocab: VOCAB, hidden: HIDDEN, type: "Q8_0", rows },
  states: { count: 0, values: new Float32Array(0), probabilities: new Float64Array(0), laws: async () => {} },
  options: { codes: 0, seed: 1 },
  backend: createReferenceBackend(),
  onProgress: () => {},
});
const missing: Missing[] = [];
const modules = await kernelModules();
for (const build of options.builds.split(",") as Build[]) {
  await ifSupported(build, missing, async () => {
    const module = modules[build];
    if (module === undefined) throw new UnsupportedError("This engine has no relaxed SIMD");
    await compare(build, createWasmBackend(module, { build }), tensors);
  });
}
for (const { name, reason } of missing) console.log(`${name}: ${reason}`);

async function compare(build: Build, backend: Backend, stored: readonly HeadTensor[]): Promise<void> {
  const copies = <T>(make: () => T) => Array.from({ length: COPIES }, make);
  const q8 = copies(() => loadHead(backend, "Q8_0"));
  const q4 = copies(() => loadHead(backend, "Q4_0"));
  const screens = copies(() => loadScreen(backend, stored[0]));
  const errors = backend.floats(VOCAB);
  backend.write(errors, decodeWeights("F32", stored[1].bytes));
  const [norm] = decodeWeights("F32", stored[2].bytes);
  const dense8 = q8.map((weights) => new DenseHead(backend, weights));
  const dense4 = q4.map((weights) => new DenseHead(backend, weights));
  const product = q4.map((weights) => new ProductHead(backend, randomCodes(), weights));
  const certified = q8.map((exact, i) => {
    return new CertifiedHead(backend, { exact, screen: screens[i], errors, norm });
  });
  const peaked = new Map(PEAKS.map((peak) => [peak, peakedStates(backend, peak)]));
  const usual = peaked.get(PEAKS[0])!;

  let calls = 0;
  const ask = (name: string, heads: readonly Head[], states: readonly Floats[], how: Ask): Candidate => ({
    name,
    check: () => expectSame(name, heads, states, how, dense8),
    run() {
      calls++;
      how(heads[calls % heads.length], states[calls % states.length], calls);
      return undefined;
    },
  });
  const argmax: Ask = (head, state) => head.argmax(state);
  const draw: Ask = (head, state, position) => head.sample(state, { seed: 1, position });
  const candidates = [
    ask("Q4_0, argmax", dense4, usual, argmax),
    ask("product codes and 256 rows of Q4_0, argmax", product, usual, argmax),
    ask("Q8_0, argmax", dense8, usual, argmax),
    ask("Q8_0, a draw", dense8, usual, draw),
    ...PEAKS.flatMap((peak) => [
      ask(`certified Q8_0, argmax, best at ${peak}`, certified, peaked.get(peak)!, argmax),
      ask(`certified Q8_0, a draw, best at ${peak}`, certified, peaked.get(peak)!, draw),
    ]),
  ];
  const comparisons: Comparison[] = [
    { title: "speed / dense", of: "speed", baseline: (name) => baselineOf(name) },
  ];
  const report = await measure(`without the whole head, ${build} build, 1 thread`, candidates, {
    shape: `V ${grouped(VOCAB)} x D ${grouped(HIDDEN)}`,
    comparisons,
    warmupMilliseconds: options.quick ? 50 : 300,
    roundMilliseconds: 1,
  });
  print(report, options.json);
  if (!options.json) printShares(backend, { exact: q8[0], screen: screens[0], errors, norm }, peaked);
}

type Ask = (head: Head, state: Floats, position: number) => number | Promise<number>;

function baselineOf(name: string): string | undefined {
  if (name.includes("Q4_0")) return "Q4_0, argmax";
  return name.includes("draw") ? "Q8_0, a draw" : "Q8_0, argmax";
}

/** @throws {RangeError} If a head that claims to be exact is not. */
function expectSame(
  name: string,
  heads: readonly Head[],
  states: readonly Floats[],
  how: Ask,
  dense: readonly Head[],
): void {
  if (name.includes("Q4_0")) return;
  for (const [i, state] of states.entries()) {
    const [got, expected] = [how(heads[i % heads.length], state, i), how(dense[0], state, i)];
    if (got !== expected) throw new RangeError(`${name}: token ${got} instead of ${expected}`);
  }
}

function loadHead(backend: Backend, type: "Q8_0" | "Q4_0"): Matrix {
  const writer = backend.matrix(type, VOCAB, HIDDEN);
  for (let row = 0; row < VOCAB; row += ROWS_AT_ONCE) {
    writer.write(weightRows(type, row, Math.min(ROWS_AT_ONCE, VOCAB - row), HIDDEN));
  }
  return writer.finish();
}

function loadScreen(backend: Backend, { bytes }: HeadTensor): Matrix {
  const writer = backend.matrix("Q4_0", VOCAB, HIDDEN);
  writer.write(bytes);
  return writer.finish();
}

function randomCodes() {
  const { codes } = productShape(VOCAB, HIDDEN);
  const { normal } = createRandom(3);
  return {
    vocab: VOCAB,
    hidden: HIDDEN,
    codes: Uint8Array.from({ length: codes }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 24),
    codebook: Float32Array.from({ length: HIDDEN * 16 }, normal),
    scales: new Uint16Array(VOCAB).fill(0x3c00),
    biases: new Uint16Array(VOCAB),
  };
}

/** Random states, each turned to a row so far that its logit is `peak` deviations of all logits. */
function peakedStates(backend: Backend, peak: number): Floats[] {
  const { normal, below } = createRandom(peak);
  return Array.from({ length: STATES }, () => {
    const row = rows(below(VOCAB), 1);
    const length = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    const along = peak / Math.sqrt(HIDDEN);
    const across = Math.sqrt(1 - along * along);
    const noise = Float32Array.from({ length: HIDDEN }, normal);
    // A logit's deviation is |row| · |state| / sqrt(D).
    const scale = (SPREAD * Math.sqrt(HIDDEN)) / length;
    const state = noise.map((x, k) => scale * ((across * x) / Math.sqrt(HIDDEN) + (along * row[k]) / length));
    const floats = backend.floats(HIDDEN);
    backend.write(floats, state);
    return floats;
  });
}

function printShares(
  backend: Backend,
  weights: ConstructorParameters<typeof CertifiedHead>[1],
  peaked: ReadonlyMap<number, readonly Floats[]>,
): void {
  const table = [["best logit", "question", "without the whole row", "rows made exactly"]];
  for (const [peak, states] of peaked) {
    for (const question of ["argmax", "top 10", "a draw"]) {
      const head = new CertifiedHead(backend, weights);
      for (const [position, state] of states.entries()) {
        if (question === "argmax") head.argmax(state);
        else if (question === "top 10") head.top(state, 10);
        else head.sample(state, { seed: 1, position });
      }
      const { certified, rescored } = head.counts;
      const share = certified === 0 ? "" : `${((100 * rescored) / certified / VOCAB).toFixed(3)} %`;
      table.push([`${peak} deviations`, question, `${certified} of ${states.length}`, share]);
      head.close();
    }
  }
  printTable(table);
}
