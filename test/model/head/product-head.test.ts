/** Product codes as a head: what its row is, and that its best tokens are the dense head's where it can be seen. */
import { describe, expect, test } from "vitest";
import { type Backend, stride, type Top } from "../../../src/backend/backend.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { productCodeAt } from "../../../src/backend/screen-kernels.ts";
import { openTensors } from "../../../src/compress/evaluate.ts";
import { productMethod } from "../../../src/compress/product.ts";
import { decodeWeights } from "../../../src/format/blocks.ts";
import { DenseHead } from "../../../src/model/head/dense-head.ts";
import { ProductHead } from "../../../src/model/head/product-head.ts";
import type { HeadTensor } from "../../../src/model/head/stored-head.ts";
import { createRandom } from "../../support/random.ts";
import { buildTensors, matrixOf, realStates, wasmBackend } from "./heads.ts";

const [VOCAB, HIDDEN] = [501, 64];

async function headOn(backend: Backend, shortlist?: number) {
  const random = createRandom(4);
  const values = Float32Array.from({ length: VOCAB * HIDDEN }, () => random.normal() / 4);
  const dense = matrixOf(backend, "Q8_0", values, HIDDEN);
  const states = Float32Array.from({ length: 300 * HIDDEN }, random.normal);
  const tensors = await buildTensors(productMethod, backend, dense, states);
  const head = new ProductHead(backend, tablesOf(tensors), dense, shortlist);
  return { dense, tensors, head, states, context: { backend, dense, vocab: VOCAB, hidden: HIDDEN } };
}

function tablesOf(tensors: readonly HeadTensor[]) {
  const [codes, codebook, scales, biases] = tensors.map(({ bytes }) => bytes);
  return {
    vocab: VOCAB,
    hidden: HIDDEN,
    codes,
    codebook: decodeWeights("F32", codebook),
    scales: new Uint16Array(scales.slice().buffer),
    biases: new Uint16Array(biases.slice().buffer),
  };
}

/** Rows that the codes stand for, in f64. */
function decodedRows(tensors: readonly HeadTensor[]): { rows: Float64Array[]; biases: Float32Array } {
  const { codes, codebook } = tablesOf(tensors);
  const [scales, biases] = [2, 3].map((i) => decodeWeights("F16", tensors[i].bytes));
  const rows = Array.from({ length: VOCAB }, (_, token) =>
    Float64Array.from({ length: HIDDEN }, (__, k) => {
      const s = k >> 2;
      const code = (codes[productCodeAt(token, s >> 1, HIDDEN / 8)] >> (4 * (s & 1))) & 15;
      return scales[token] * codebook[k * 16 + code];
    }),
  );
  return { rows, biases };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, x, k) => sum + x * b[k], 0);

describe("ProductHead", () => {
  const backends: Record<string, () => Backend> = { wasm: wasmBackend, reference: createReferenceBackend };
  test.each(Object.keys(backends))(
    "its row is that of the codes, but for the shortlist, on %s",
    async (name) => {
      const backend = backends[name]();
      const { dense, tensors, head, states } = await headOn(backend, 20);
      const { rows, biases } = decodedRows(tensors);
      const exact = new DenseHead(backend, dense);
      const all = backend.floats(2 * HIDDEN);
      backend.write(all, states.subarray(0, 2 * HIDDEN));
      const [out, full] = [backend.floats(2 * stride(VOCAB)), backend.floats(2 * stride(VOCAB))];
      head.rows(all, 2, out);
      exact.rows(all, 2, full);
      for (let column = 0; column < 2; column++) {
        const state = states.subarray(column * HIDDEN, (column + 1) * HIDDEN);
        const row = (backend.read(out) as Float32Array).slice(column * stride(VOCAB)).subarray(0, VOCAB);
        const truth = (backend.read(full) as Float32Array).slice(column * stride(VOCAB)).subarray(0, VOCAB);
        const coded = rows.map((weights, i) => dot(weights, state) + biases[i]);
        const order = [...coded.keys()].sort((a, b) => coded[b] - coded[a]);
        for (const token of order.slice(0, 15)) expect(row[token], `token ${token}`).toBe(truth[token]);
        const others = order.filter((token) => row[token] !== truth[token]);
        expect(others.length).toBeGreaterThan(VOCAB - 4 * 20 - 1);
        for (const token of others) expect(Math.abs(row[token] - coded[token])).toBeLessThan(0.5);
      }
    },
  );

  test("answers are those of its row", async () => {
    const backend = wasmBackend();
    const { head, states } = await headOn(backend);
    const [state, out] = [backend.floats(HIDDEN), backend.floats(stride(VOCAB))];
    for (let i = 0; i < 20; i++) {
      backend.write(state, states.subarray(i * HIDDEN, (i + 1) * HIDDEN));
      head.rows(state, 1, out);
      expect(head.argmax(state)).toBe(backend.argmax(out, VOCAB));
      expect((head.top(state, 9) as Top).ids).toEqual((backend.top(out, VOCAB, 9) as Top).ids);
      expect(head.logPartition(state)).toBeCloseTo(backend.logSumExp(out, VOCAB) as number, 5);
      const token = head.sample(state, { seed: 1, position: i, temperature: 0 });
      expect(token).toBe(head.argmax(state));
    }
  });

  test("a shortlist of all tokens gives the dense head's answers", async () => {
    const backend = wasmBackend();
    const { head, dense, states } = await headOn(backend, 10_000);
    const exact = new DenseHead(backend, dense);
    const state = backend.floats(HIDDEN);
    for (let i = 0; i < 20; i++) {
      backend.write(state, states.subarray(i * HIDDEN, (i + 1) * HIDDEN));
      expect(head.argmax(state)).toBe(exact.argmax(state));
      const draw = { seed: 5, position: i };
      expect(head.sample(state, draw)).toBe(exact.sample(state, draw));
      expect(head.logPartition(state)).toBe(exact.logPartition(state));
    }
  });

  test("of a real model it has the best token in 99 of 100 states", { timeout: 60_000 }, async () => {
    const { opened, fitted, calibration } = await realStates(500);
    const { backend, weights, head: rows } = opened;
    const tensors = await productMethod.build({
      head: rows,
      states: calibration,
      options: { codes: 0, seed: 1 },
      backend,
      onProgress: () => {},
    });
    const context = { backend, dense: weights.head, vocab: rows.vocab, hidden: rows.hidden };
    const head = openTensors("pq", tensors, context);
    const exact = new DenseHead(backend, weights.head);
    const state = backend.floats(rows.hidden);
    let same = 0;
    for (let i = 0; i < fitted.count; i++) {
      backend.write(state, fitted.values.subarray(i * rows.hidden, (i + 1) * rows.hidden));
      if (head.argmax(state) === exact.argmax(state)) same++;
    }
    expect(same / fitted.count).toBeGreaterThan(0.99);
  });

  test("gives back all memory, also where there is not enough", async () => {
    const backend = wasmBackend();
    const { tensors, dense } = await headOn(backend);
    const used = backend.usedBytes;
    for (let i = 0; i < 5; i++) new ProductHead(backend, tablesOf(tensors), dense).close();
    expect(backend.usedBytes).toBe(used);
    const small = createReferenceBackend({ maxBytes: 60_000 });
    const narrow = matrixOf(small, "Q4_0", new Float32Array(VOCAB * HIDDEN), HIDDEN);
    const before = small.usedBytes;
    expect(() => Array.from({ length: 9 }, () => new ProductHead(small, tablesOf(tensors), narrow))).toThrow(
      /Cannot allocate/,
    );
    expect(small.usedBytes).toBeGreaterThanOrEqual(before);
  });
});

describe("the format of product codes", () => {
  test("numbers that are not finite are told", async () => {
    const { tensors, context } = await headOn(wasmBackend());
    const spoiled = (at: number, bytes: number[]) =>
      tensors.map((tensor, i) => {
        if (i !== at) return tensor;
        const copy = tensor.bytes.slice();
        copy.set(bytes, 8);
        return { ...tensor, bytes: copy };
      });
    expect(() => openTensors("pq", spoiled(1, [0, 0, 192, 127]), context)).toThrow(
      /output_pq.codebook.*at 2/,
    );
    expect(() => openTensors("pq", spoiled(2, [0, 124]), context)).toThrow(/output_pq.scales.*at 4/);
    expect(() => openTensors("pq", spoiled(3, [1, 252]), context)).toThrow(/output_pq.biases.*at 4/);
  });

  test("all bytes are codes", async () => {
    const backend = wasmBackend();
    const { tensors, context } = await headOn(backend);
    const random = createRandom(1);
    const noise = { ...tensors[0], bytes: tensors[0].bytes.map(() => random.below(256)) };
    const head = openTensors("pq", [noise, ...tensors.slice(1)], context);
    const state = backend.floats(HIDDEN);
    expect(head.argmax(state)).toBeLessThan(VOCAB);
  });
});

describe("the method pq", () => {
  /** Mean squared error of logits over states. */
  function logitError(tensors: readonly HeadTensor[], values: Float32Array, states: Float32Array): number {
    const { rows, biases } = decodedRows(tensors);
    let sum = 0;
    const count = states.length / HIDDEN;
    for (let n = 0; n < count; n++) {
      const state = states.subarray(n * HIDDEN, (n + 1) * HIDDEN);
      for (let i = 0; i < VOCAB; i++) {
        const truth = dot(values.subarray(i * HIDDEN, (i + 1) * HIDDEN), state);
        sum += (truth - dot(rows[i], state) - biases[i]) ** 2;
      }
    }
    return sum / count / VOCAB;
  }

  test("keeps logits of the states it knows, more than weights alone would", async () => {
    const backend = createReferenceBackend();
    const random = createRandom(6);
    const values = Float32Array.from({ length: VOCAB * HIDDEN }, () => random.normal() / 4);
    // States that lie mostly along eight directions, all columns mixed.
    const directions = Array.from({ length: 8 }, () => Float32Array.from({ length: HIDDEN }, random.normal));
    const states = new Float32Array(200 * HIDDEN);
    for (let n = 0; n < 200; n++) {
      const shares = directions.map(() => random.normal());
      for (let k = 0; k < HIDDEN; k++) {
        const along = shares.reduce((sum, share, i) => sum + share * directions[i][k], 0);
        states[n * HIDDEN + k] = along + 0.1 * random.normal();
      }
    }
    const dense = matrixOf(backend, "F32", values, HIDDEN);
    const informed = await buildTensors(productMethod, backend, dense, states);
    const uninformed = await buildTensors(productMethod, backend, dense);
    const [least, most] = [informed, uninformed].map((tensors) => logitError(tensors, values, states));
    expect(least).toBeLessThan(0.6 * most);
    const again = await buildTensors(productMethod, backend, dense, states);
    expect(again.map(({ bytes }) => [...bytes.subarray(0, 500)])).toEqual(
      informed.map(({ bytes }) => [...bytes.subarray(0, 500)]),
    );
  });

  test("rows that are zero, and heads of few rows", async () => {
    const backend = createReferenceBackend();
    const states = Float32Array.from({ length: 5 * 16 }, createRandom(1).normal);
    for (const rows of [1, 3, 20]) {
      const values = Float32Array.from({ length: rows * 16 }, (_, i) => (i < 16 ? 0 : (i % 7) - 3));
      const dense = matrixOf(backend, "F32", values, 16);
      const tensors = await buildTensors(productMethod, backend, dense, states);
      const head = openTensors("pq", tensors, { backend, dense, vocab: rows, hidden: 16 });
      const state = backend.floats(16);
      backend.write(state, states.subarray(0, 16));
      expect(head.argmax(state)).toBe(new DenseHead(backend, dense).argmax(state));
    }
  });

  test("columns that are no multiple of 8 are refused", async () => {
    const backend = createReferenceBackend();
    const dense = matrixOf(backend, "F32", new Float32Array(4 * 12), 12);
    await expect(buildTensors(productMethod, backend, dense)).rejects.toThrow("12 columns");
  });
});
