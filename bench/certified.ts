/**
 * Is a certified head ever wrong, how many rows does it make exactly, and how often do product codes have the best token?
 *
 *   node --import ./bench/register.mjs bench/certified.ts [--steps 100000] [--models a.gguf,b.gguf] [--quick] [--json]
 *
 * A step is a question about a state: the best token, the ten best with their logits, or a draw at some temperature. Its
 * answer is compared with that of the dense head, which makes the whole row. Half of the steps are on models, with states
 * of text that they write; half on made-up heads, from random to constructed against the bounds. One difference ends it.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import type { Backend, Matrix, Top } from "../src/backend/backend.ts";
import { createWasmBackend } from "../src/backend/wasm/index.ts";
import { certifiedMethod } from "../src/compress/certified.ts";
import { openTensors } from "../src/compress/evaluate.ts";
import type { CalibrationStates, CompressMethod, HeadRows } from "../src/compress/method.ts";
import { openModel } from "../src/compress/opened.ts";
import { productMethod } from "../src/compress/product.ts";
import { calibrationOf, gatherFromModel } from "../src/compress/states.ts";
import { grouped } from "../src/errors.ts";
import { decodeWeights, encodeWeights } from "../src/format/blocks.ts";
import type { CertifiedHead } from "../src/model/head/certified-head.ts";
import { DenseHead } from "../src/model/head/dense-head.ts";
import { ProductHead } from "../src/model/head/product-head.ts";
import { kernelModules } from "../src/node.ts";
import { rowsOf } from "../test/support/head-rows.ts";
import { createRandom } from "../test/support/random.ts";
import { printTable } from "./report.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "100000" },
    models: { type: "string", default: "models/edgewise-stories-q8_0.gguf" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const steps = options.quick ? 2000 : Number(options.steps);
const paths = options.models.split(",");
const TEMPERATURES = [0.005, 0.1, 0.5, 0.8, 1, 1.3];
const QUESTIONS = ["argmax", "top 10", ...TEMPERATURES.map((one) => `a draw at ${one}`)];
const SHORTLISTS = [16, 64, 256];

const NO_STATES: CalibrationStates = {
  count: 0,
  values: new Float32Array(0),
  probabilities: new Float64Array(0),
  laws: async () => {},
};

const modules = await kernelModules();
const table = [["head", "question", "steps", "different", "without the whole row", "rows made exactly"]];
const agreement = [["model", "states", ...SHORTLISTS.map((count) => `best token, ${count} rows`)]];
let total = 0;

for (const path of paths) {
  const opened = await openModel(new Uint8Array(await readFile(path)), modules);
  const { backend, weights, head } = opened;
  const count = Math.ceil(steps / 2 / paths.length / QUESTIONS.length);
  const { fitted, heldOut } = await gatherFromModel(opened, count, 1, () => {});
  const dense = weights.head;
  const certified = await certify(backend, head, dense);
  const states = [];
  for (let n = 0; n < Math.min(count, fitted.count); n++) {
    states.push(fitted.values.slice(n * head.hidden, (n + 1) * head.hidden));
  }
  compare(basename(path), backend, certified, new DenseHead(backend, dense), states);
  const calibration = await calibrationOf(opened, fitted, () => {});
  const tensors = await build(productMethod, backend, head, calibration);
  const shares = SHORTLISTS.map((rows) => {
    const product = new ProductHead(backend, tablesOf(head, tensors), dense, rows);
    return share(backend, product, new DenseHead(backend, dense), heldOut);
  });
  agreement.push([basename(path), grouped(heldOut.count), ...shares]);
}

for (const [name, make] of Object.entries(madeUp())) {
  const backend = createWasmBackend(modules.simd);
  const random = createRandom(name.length);
  const [rows, cols] = [4001, 128];
  const values = make(rows, cols, random);
  const writer = backend.matrix("Q8_0", rows, cols);
  writer.write(encodeWeights("Q8_0", values));
  const dense = writer.finish();
  const certified = await certify(backend, rowsOf(backend, dense), dense);
  const count = Math.ceil(steps / 2 / Object.keys(madeUp()).length / QUESTIONS.length);
  const states = Array.from({ length: count }, (_, n) => {
    const row = random.below(rows) * cols;
    const pull = (n % 7) * 0.5;
    return Float32Array.from({ length: cols }, (__, k) => random.normal() + pull * values[row + k]);
  });
  compare(name, backend, certified, new DenseHead(backend, dense), states);
}
if (options.json) console.log(JSON.stringify({ steps: total, different: 0, table, agreement }));
else {
  printTable(table);
  console.log(`${grouped(total)} steps, 0 different`);
  printTable(agreement);
}

/** Asks both heads everything about each state. @throws {RangeError} On the first difference. */
function compare(
  name: string,
  backend: Backend,
  certified: CertifiedHead,
  dense: DenseHead,
  states: readonly Float32Array[],
): void {
  const state = backend.floats(dense.hidden);
  for (const [i, question] of QUESTIONS.entries()) {
    const before = certified.counts;
    for (const [position, values] of states.entries()) {
      backend.write(state, values);
      const draw = { temperature: TEMPERATURES[i - 2], seed: i, position };
      const answer = (head: CertifiedHead | DenseHead): string => {
        if (i === 0) return String(head.argmax(state));
        if (i > 1) return String(head.sample(state, draw));
        const { ids, logits } = head.top(state, 10) as Top;
        return `${ids} ${logits}`;
      };
      const [got, expected] = [answer(certified), answer(dense)];
      if (got !== expected) throw new RangeError(`${name}, ${question}: ${got} instead of ${expected}`);
    }
    const { states: asked, certified: without, rescored } = certified.counts;
    const answered = without - before.certified;
    const exact = answered === 0 ? 0 : (rescored - before.rescored) / answered / dense.vocab;
    table.push([
      name,
      question,
      grouped(asked - before.states),
      "0",
      `${((100 * answered) / (asked - before.states)).toFixed(1)} %`,
      `${(100 * exact).toFixed(2)} %`,
    ]);
    total += asked - before.states;
  }
}

async function certify(backend: Backend, head: HeadRows, dense: Matrix): Promise<CertifiedHead> {
  const tensors = await build(certifiedMethod, backend, head);
  const context = { backend, dense, vocab: head.vocab, hidden: head.hidden };
  return openTensors("certified", tensors, context) as CertifiedHead;
}

async function build(
  method: CompressMethod,
  backend: Backend,
  head: HeadRows,
  states: CalibrationStates = NO_STATES,
) {
  return await method.build({ head, states, options: { codes: 0, seed: 1 }, backend, onProgress: () => {} });
}

function tablesOf({ vocab, hidden }: HeadRows, tensors: Awaited<ReturnType<typeof build>>) {
  const [codes, codebook, scales, biases] = tensors.map(({ bytes }) => bytes);
  return {
    vocab,
    hidden,
    codes,
    codebook: decodeWeights("F32", codebook),
    scales: new Uint16Array(scales.slice().buffer),
    biases: new Uint16Array(biases.slice().buffer),
  };
}

/** How many states have the dense head's best token. */
function share(
  backend: Backend,
  head: ProductHead,
  dense: DenseHead,
  { count, values }: { count: number; values: Float32Array },
): string {
  const state = backend.floats(dense.hidden);
  let same = 0;
  for (let n = 0; n < count; n++) {
    backend.write(state, values.subarray(n * dense.hidden, (n + 1) * dense.hidden));
    if (head.argmax(state) === dense.argmax(state)) same++;
  }
  return `${((100 * same) / count).toFixed(2)} %`;
}

type Make = (rows: number, cols: number, random: ReturnType<typeof createRandom>) => Float32Array;

function madeUp(): Record<string, Make> {
  return {
    "random rows": (rows, cols, { normal }) =>
      Float32Array.from({ length: rows * cols }, () => 0.3 * normal()),
    "rows of very different lengths": (rows, cols, { normal, uniform }) => {
      const lengths = Array.from({ length: rows }, () => 0.6 * uniform() ** 4);
      return Float32Array.from({ length: rows * cols }, (_, i) => normal() * lengths[Math.floor(i / cols)]);
    },
    "clusters of near twins": (rows, cols, { normal }) => {
      const centres = Float32Array.from({ length: 40 * cols }, () => 0.3 * normal());
      return Float32Array.from({ length: rows * cols }, (_, i) => {
        return centres[(Math.floor(i / cols) % 40) * cols + (i % cols)] + 0.01 * normal();
      });
    },
    "every row many times": (rows, cols, { normal }) => {
      const some = Float32Array.from({ length: 97 * cols }, () => 0.3 * normal());
      return Float32Array.from({ length: rows * cols }, (_, i) => some[i % some.length]);
    },
  };
}
