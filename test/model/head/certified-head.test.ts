/** A certified head gives what the dense head gives: always, and to the last bit. */
import { describe, expect, test } from "vitest";
import type { Backend, Floats, Top } from "../../../src/backend/backend.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { certifiedMethod } from "../../../src/compress/certified.ts";
import { openTensors } from "../../../src/compress/evaluate.ts";
import { decodeWeights, type WeightType } from "../../../src/format/blocks.ts";
import { screenBound } from "../../../src/model/head/certified-bound.ts";
import { CERTIFIED_TYPES, certifiedFormat } from "../../../src/model/head/certified-format.ts";
import type { CertifiedHead } from "../../../src/model/head/certified-head.ts";
import { DenseHead } from "../../../src/model/head/dense-head.ts";
import { rowsOf } from "../../support/head-rows.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { buildTensors, certify, matrixOf, realStates, wasmBackend } from "./heads.ts";

const TEMPERATURES = [0, 1e-100, 1e-30, 0.004, 0.02, 0.3, 1, 1.7, 100];

/** Compares everything that can be asked about a state. */
function expectEqual(certified: CertifiedHead, dense: DenseHead, state: Floats, place: number): void {
  expect(certified.argmax(state)).toBe(dense.argmax(state));
  for (const count of [1, 7, 40]) {
    const most = Math.min(count, dense.vocab);
    const [found, expected] = [certified.top(state, most), dense.top(state, most) as Top];
    expect([...found.ids]).toEqual([...expected.ids]);
    expect([...found.logits]).toEqual([...expected.logits]);
  }
  for (const temperature of TEMPERATURES) {
    const draw = { temperature, seed: 2 ** 33 + 1, position: place };
    expect(certified.sample(state, draw), `temperature ${temperature}`).toBe(dense.sample(state, draw));
  }
  expect(certified.logPartition(state)).toBe(dense.logPartition(state));
}

/** Heads by how their rows lie, (rows, cols). */
const HEADS: Record<string, (rows: number, cols: number, random: Random) => Float32Array> = {
  normal: (rows, cols, { normal }) => Float32Array.from({ length: rows * cols }, () => normal() / 4),
  "few rows, again and again": (rows, cols, { normal }) => {
    const some = Float32Array.from({ length: 3 * cols }, normal);
    return Float32Array.from({ length: rows * cols }, (_, i) => some[i % some.length]);
  },
  zero: (rows, cols) => new Float32Array(rows * cols),
  "lengths from 1e-6 to 1e3": (rows, cols, { normal, uniform }) => {
    const lengths = Array.from({ length: rows }, () => 10 ** (9 * uniform() - 6));
    return Float32Array.from({ length: rows * cols }, (_, i) => normal() * lengths[Math.floor(i / cols)]);
  },
  "one column": (rows, cols, { normal }) =>
    Float32Array.from({ length: rows * cols }, (_, i) => (i % cols === 5 ? 10 * normal() : 0)),
};

function states(cols: number, values: Float32Array, random: Random): Float32Array[] {
  const rows = values.length / cols;
  const of = (value: (k: number) => number) => Float32Array.from({ length: cols }, (_, k) => value(k));
  const row = values.subarray(random.below(rows) * cols);
  return [
    of(random.normal),
    of((k) => 3 * row[k] + random.normal()),
    of((k) => -20 * row[k]),
    of(() => 0),
    of((k) => (k === 5 ? 1000 : 1e-3 * random.normal())),
    of(() => 1e-38 * random.normal()),
    of(() => 1e7 * random.normal()),
  ];
}

describe("CertifiedHead", () => {
  const backends: Record<string, () => Backend> = { wasm: wasmBackend, reference: createReferenceBackend };
  for (const [name, create] of Object.entries(backends)) {
    test.each(Object.keys(HEADS))(`gives the dense head's answers on ${name}, rows %s`, async (kind) => {
      const random = createRandom(kind.length);
      for (const [rows, cols] of name === "wasm"
        ? [
            [1, 32],
            [5, 64],
            [601, 96],
          ]
        : [[93, 64]]) {
        const backend = create();
        const values = HEADS[kind](rows, cols, random);
        const weights = matrixOf(backend, "Q8_0", values, cols);
        const [certified, dense] = [await certify(backend, weights), new DenseHead(backend, weights)];
        const state = backend.floats(cols);
        for (const [i, some] of states(cols, values, random).entries()) {
          backend.write(state, some);
          expectEqual(certified, dense, state, i);
        }
      }
    });
  }

  test.each(CERTIFIED_TYPES)("takes heads of %s", async (type) => {
    const backend = wasmBackend();
    const random = createRandom(5);
    const [rows, cols] = [333, 256];
    const values = Float32Array.from({ length: rows * cols }, () => random.normal() / 4);
    const weights = matrixOf(backend, type as WeightType, values, cols);
    const [certified, dense] = [await certify(backend, weights), new DenseHead(backend, weights)];
    const state = backend.floats(cols);
    for (const [i, some] of states(cols, values, random).entries()) {
      backend.write(state, some);
      expectEqual(certified, dense, state, i);
    }
  });

  test("looks at few rows of a real model", async () => {
    const { opened, fitted } = await realStates(400);
    const { backend, weights } = opened;
    const [certified, dense] = [await certify(backend, weights.head), new DenseHead(backend, weights.head)];
    const state = backend.floats(dense.hidden);
    for (let i = 0; i < fitted.count; i++) {
      backend.write(state, fitted.values.subarray(i * dense.hidden, (i + 1) * dense.hidden));
      expect(certified.argmax(state)).toBe(dense.argmax(state));
      const draw = { seed: 3, position: i };
      expect(certified.sample(state, draw)).toBe(dense.sample(state, draw));
    }
    const { states, certified: without, rescored } = certified.counts;
    expect(states).toBe(2 * fitted.count);
    expect(without).toBeGreaterThan(0.95 * states);
    expect(rescored).toBeLessThan(0.05 * dense.vocab * without);
  });

  test("does not ask the screen again and again where it excludes nothing", async () => {
    const backend = wasmBackend();
    const cols = 64;
    const one = Float32Array.from({ length: cols }, createRandom(1).normal);
    const same = Float32Array.from({ length: 500 * cols }, (_, i) => one[i % cols]);
    const certified = await certify(backend, matrixOf(backend, "Q8_0", same, cols));
    const state = backend.floats(cols);
    backend.write(state, one);
    for (let i = 0; i < 200; i++) expect(certified.argmax(state)).toBe(0);
    expect(certified.counts.certified).toBe(0);
  });

  test("a state that is not finite gives what the dense head gives", async () => {
    const backend = wasmBackend();
    const random = createRandom(2);
    const weights = matrixOf(backend, "Q8_0", Float32Array.from({ length: 400 * 64 }, random.normal), 64);
    const [certified, dense] = [await certify(backend, weights), new DenseHead(backend, weights)];
    const state = backend.floats(64);
    for (const odd of [NaN, Infinity, -Infinity, 3e38, 1e12]) {
      const values = Float32Array.from({ length: 64 }, random.normal);
      values[40] = odd;
      backend.write(state, values);
      expect(certified.argmax(state)).toBe(dense.argmax(state));
      expect([...certified.top(state, 5).ids]).toEqual([...(dense.top(state, 5) as Top).ids]);
    }
  });

  test("gives back all memory", async () => {
    const backend = wasmBackend();
    const dense = matrixOf(backend, "Q8_0", new Float32Array(64 * 64), 64);
    const screen = matrixOf(backend, "Q4_0", new Float32Array(64 * 64), 64);
    const tensors = await buildTensors(certifiedMethod, backend, dense);
    const open = () =>
      certifiedFormat.open(
        {
          has: () => true,
          matrix: () => screen,
          values: (name) => tensors.find((tensor) => tensor.name.endsWith(`.${name}`))!,
        },
        { backend, dense, vocab: 64, hidden: 64 },
      )!;
    open().close();
    const used = backend.usedBytes;
    for (let i = 0; i < 5; i++) open().close();
    expect(backend.usedBytes).toBe(used);
  });
});

describe("screenBound", () => {
  test("holds for the states that use it up: along the error of a row", async () => {
    const backend = wasmBackend();
    const random = createRandom(11);
    const [rows, cols] = [64, 160];
    for (const type of CERTIFIED_TYPES) {
      const width = type === "Q6_K" ? 256 : cols;
      const values = Float32Array.from(
        { length: rows * width },
        () => random.normal() * 10 ** random.below(4),
      );
      const exact = matrixOf(backend, type, values, width);
      const tensors = await buildTensors(certifiedMethod, backend, exact);
      const [screenBytes, errorBytes, normBytes] = tensors.map(({ bytes }) => bytes);
      const writer = backend.matrix("Q4_0", rows, width);
      writer.write(screenBytes);
      const screen = writer.finish();
      const errors = decodeWeights("F32", errorBytes);
      const [norm] = decodeWeights("F32", normBytes);
      const [full, copy] = [rowsOf(backend, exact).rows(0, rows), rowsOf(backend, screen).rows(0, rows)];
      const [state, out] = [backend.floats(width), [backend.floats(rows), backend.floats(rows)]];
      let tightest = 0;
      for (let row = 0; row < rows; row++) {
        for (const scale of [1e-3, 1, -1e4]) {
          const along = Float32Array.from({ length: width }, (_, k) => {
            return scale * (full[row * width + k] - copy[row * width + k]);
          });
          backend.write(state, along);
          backend.matmul(state, 1, [{ weights: exact, out: out[0] }]);
          backend.matmul(state, 1, [{ weights: screen, out: out[1] }]);
          const [ours, theirs] = out.map((floats) => (backend.read(floats) as Float32Array).slice());
          const bound = screenBound(along, norm)!;
          for (let i = 0; i < rows; i++) {
            const used = Math.abs(ours[i] - theirs[i]) / (errors[i] * bound.scale + bound.slack);
            expect(used).toBeLessThanOrEqual(1);
            tightest = Math.max(tightest, used);
          }
        }
      }
      // Nearly all of it: a smaller one would be wrong.
      expect(tightest, type).toBeGreaterThan(0.8);
    }
  });

  test("says nothing of what is too large or no number", () => {
    expect(screenBound(Float32Array.of(1, NaN), 1)).toBe(null);
    expect(screenBound(Float32Array.of(1, Infinity), 1)).toBe(null);
    expect(screenBound(Float32Array.of(1e20, 1e20), 1e12)).toBe(null);
    expect(screenBound(new Float32Array(2), 1)!.slack).toBeGreaterThan(0);
  });
});

describe("the format of certified heads", () => {
  async function tensorsOf(backend: Backend) {
    const random = createRandom(8);
    const dense = matrixOf(backend, "Q8_0", Float32Array.from({ length: 100 * 64 }, random.normal), 64);
    const tensors = await buildTensors(certifiedMethod, backend, dense);
    return { dense, tensors, context: { backend, dense, vocab: 100, hidden: 64 } };
  }

  test("numbers that are no bounds are told", async () => {
    const { tensors, context } = await tensorsOf(wasmBackend());
    for (const wrong of [NaN, -1, Infinity, 1e30]) {
      const errors = decodeWeights("F32", tensors[1].bytes.slice());
      errors[37] = wrong;
      const changed = [tensors[0], { ...tensors[1], bytes: new Uint8Array(errors.buffer) }, tensors[2]];
      expect(() => openTensors("certified", changed, context)).toThrow(/output_certified.errors.*must be/);
    }
    const endless = { ...tensors[2], bytes: new Uint8Array(Float32Array.of(Infinity).buffer) };
    expect(() => openTensors("certified", [tensors[0], tensors[1], endless], context)).toThrow(RangeError);
  });

  test("a screen of another head is noticed", async () => {
    const backend = wasmBackend();
    const { tensors, context } = await tensorsOf(backend);
    const random = createRandom(9);
    const dense = matrixOf(backend, "Q8_0", Float32Array.from({ length: 100 * 64 }, random.normal), 64);
    expect(() => openTensors("certified", tensors, { ...context, dense })).toThrow(/is not of this head/);
  });

  test("heads that cannot be certified are refused", async () => {
    const backend = wasmBackend();
    for (const type of ["Q4_0", "Q4_K", "Q5_1"] as const) {
      const dense = matrixOf(backend, type, new Float32Array(8 * 256), 256);
      await expect(buildTensors(certifiedMethod, backend, dense)).rejects.toThrow(`head of type ${type}`);
    }
    const narrow = matrixOf(backend, "F16", new Float32Array(8 * 40), 40);
    await expect(buildTensors(certifiedMethod, backend, narrow)).rejects.toThrow("head of 40 columns");
  });
});
