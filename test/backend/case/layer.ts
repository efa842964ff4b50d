/** The steps between the matmuls: rmsNorm, add, addBias, scale, swiglu, geglu, rope. */
import { describe, expect, test } from "vitest";
import { type Backend, type RopePairs, stride } from "../../../src/backend/backend.ts";
import type { CreateBackend, Tolerance } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import { expectClose, expectSame, guarded, LENGTHS, LONG, load, vectorOf, vectors } from "./harness.ts";

export function layerCases(create: CreateBackend, tolerance: Tolerance): void {
  /** What results near zero may be off by, where they are multiplied with `up`. */
  const leastOf = (up: number) => (tolerance.flushes ? 2 ** -126 : 2 ** -148 * Math.abs(up));
  /** Whether a backend must not take a value for zero. */
  const isKept = (x: number) => !tolerance.flushes || x === 0 || Math.abs(x) >= 2 ** -126;

  describe("rmsNorm", () => {
    const normalise = async (backend: Backend, x: Float32Array, weight: Float32Array, epsilon: number) => {
      const count = x.length / weight.length;
      const out = guarded(backend, x.length);
      backend.rmsNorm(out.floats, load(backend, x), load(backend, weight), weight.length, count, epsilon);
      return await out.read();
    };

    const check = async (
      backend: Backend,
      x: Float32Array,
      weight: Float32Array,
      epsilon: number,
      context: string,
    ) => {
      const size = weight.length;
      const found = await normalise(backend, x, weight, epsilon);
      for (let start = 0; start < x.length; start += size) {
        let sum = 0;
        for (const value of x.subarray(start, start + size)) sum += value * value;
        const expected = Float64Array.from(
          weight,
          (w, i) => (x[start + i] / Math.sqrt(sum / size + epsilon)) * w,
        );
        const allowed = (i: number) =>
          tolerance.norm * Math.abs(expected[i]) + 2 ** -147 * Math.abs(weight[i]);
        expectClose(found.subarray(start, start + size), expected, allowed, `${context}, from ${start}`);
      }
    };

    test("at every size and count", async () => {
      const backend = await create();
      for (const size of [4, 8, 16, 60, 64, 68, 128, 1000, 32_004]) {
        const random = createRandom(size);
        const weight = Float32Array.from({ length: size }, () => random.normal());
        for (const count of [1, 2, 7]) {
          const x = Float32Array.from({ length: size * count }, () => random.normal());
          await check(backend, x, weight, 1e-5, `size ${size}, count ${count}`);
        }
      }
    });

    test.each([0, -0, 3, 1e-40, 1e-20, 1e18, -1e18].filter(isKept))(
      "with values around %s",
      async (scale) => {
        const backend = await create();
        const random = createRandom(5);
        const weight = Float32Array.from({ length: 64 }, () => random.normal());
        for (const epsilon of [1e-5, 1e-6]) {
          const x = Float32Array.from({ length: 192 }, () => scale * (1 + random.uniform()));
          await check(backend, x, weight, epsilon, `epsilon ${epsilon}`);
        }
      },
    );

    test("a vector has the same bits alone, among others and in place; NaN stays in its vector", async () => {
      const backend = await create();
      const random = createRandom(6);
      const [size, count] = [68, 5];
      const weight = Float32Array.from({ length: size }, () => random.normal());
      const x = Float32Array.from({ length: size * count }, () => random.normal());
      x[2 * size + 3] = NaN;
      const together = await normalise(backend, x, weight, 1e-5);
      for (let vector = 0; vector < count; vector++) {
        const alone = await normalise(backend, x.slice(vector * size, (vector + 1) * size), weight, 1e-5);
        expectSame(together.subarray(vector * size, (vector + 1) * size), alone, `vector ${vector}`);
        expect(alone.some(Number.isNaN)).toBe(vector === 2);
      }
      const inPlace = guarded(backend, x.length, x);
      backend.rmsNorm(inPlace.floats, inPlace.floats, load(backend, weight), size, count, 1e-5);
      expectSame(await inPlace.read(), together, "in place");
    });
  });

  /** Every pair of these is added. */
  const SUMMANDS = [
    0,
    -0,
    1,
    -1,
    1e-45,
    -1e-45,
    1.1754943e-38,
    16_777_216,
    3.4028235e38,
    Infinity,
    -Infinity,
    NaN,
  ];

  describe("add", () => {
    test("is the f32 sum, exactly, at every length", async () => {
      const backend = await create();
      for (const length of [0, ...LENGTHS, LONG]) {
        const random = createRandom(length);
        const x = Float32Array.from({ length }, () => random.normal());
        const y = Float32Array.from({ length }, () => random.normal() * 1e-3);
        const out = guarded(backend, length, x);
        backend.add(
          out.floats,
          load(
            backend,
            vectors(1, length, (_, i) => y[i]),
          ),
          length,
        );
        expectSame(
          await out.read(),
          x.map((value, i) => value + y[i]),
          `length ${length}`,
        );
      }
    });

    test("follows IEEE 754 at the ends of the range", async () => {
      const backend = await create();
      const summands = SUMMANDS.filter(isKept);
      const x = Float32Array.from(summands.flatMap((a) => summands.map(() => a)));
      const y = Float32Array.from(summands.flatMap(() => summands));
      const out = guarded(backend, x.length, x);
      backend.add(out.floats, load(backend, y), x.length);
      expectSame(
        await out.read(),
        x.map((value, i) => value + y[i]),
        "pairs",
      );
    });

    test("doubles what is added to itself", async () => {
      const backend = await create();
      const x = guarded(backend, 5, Float32Array.of(1, -2, 3, 0.5, 7));
      backend.add(x.floats, x.floats, 5);
      expect([...(await x.read())]).toEqual([2, -4, 6, 1, 14]);
    });
  });

  test("addBias adds to every column, exactly, at every size", async () => {
    const backend = await create();
    for (const size of LENGTHS) {
      for (const columns of [1, 2, 5]) {
        const random = createRandom(size);
        const bias = vectors(1, size, () => random.normal());
        const x = vectors(columns, size, () => random.normal());
        const out = guarded(backend, x.length, x);
        backend.addBias(out.floats, load(backend, bias), size, columns);
        const found = await out.read();
        for (let column = 0; column < columns; column++) {
          const expected = vectorOf(x, column, size).map((value, i) => value + bias[i]);
          expectSame(vectorOf(found, column, size), expected, `size ${size}, column ${column} of ${columns}`);
        }
      }
    }
  });

  describe("swiglu", () => {
    const check = async (gate: Float32Array, up: Float32Array) => {
      const backend = await create();
      const [length, context] = [gate.length, `length ${gate.length}`];
      const out = guarded(backend, length);
      const gateFloats = load(backend, gate);
      const upFloats = load(backend, up);
      backend.swiglu(out.floats, gateFloats, upFloats, length);
      const found = await out.read();
      const expected = Float64Array.from(gate, (g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      // A sigmoid below 1e-38 may be anything below it.
      const allowed = (i: number) =>
        tolerance.swiglu * Math.abs(expected[i]) + 1e-38 * Math.abs(gate[i] * up[i]) + leastOf(up[i]);
      expectClose(found, expected, allowed, context);

      const inPlace = guarded(backend, length, gate);
      backend.swiglu(inPlace.floats, inPlace.floats, upFloats, length);
      expectSame(await inPlace.read(), found, `${context}, in place`);
    };

    test("at every length", async () => {
      for (const length of [0, ...LENGTHS, LONG]) {
        const random = createRandom(length);
        const values = (scale: number) => Float32Array.from({ length }, () => random.normal() * scale);
        await check(values(5), values(2));
      }
    });

    test("where the sigmoid is 0 or 1, and at the ends of the range", async () => {
      const gates = [
        0, -0, 1e-45, 1e-40, 1e-8, 1, 17, 20, 50, 86, 87, 88, 88.8, 89, 103, 110, 1e3, 1e10, 1e30,
      ].filter(isKept);
      const gate = Float32Array.from([...gates, ...gates.map((g) => -g), Infinity, NaN]);
      for (const scale of [1, -3, 1e-6, 0]) await check(gate, new Float32Array(gate.length).fill(scale));
    });
  });

  describe("geglu", () => {
    const check = async (gate: Float32Array, up: Float32Array) => {
      const backend = await create();
      const [length, context] = [gate.length, `length ${gate.length}`];
      const out = guarded(backend, length);
      const gateFloats = load(backend, gate);
      const upFloats = load(backend, up);
      backend.geglu(out.floats, gateFloats, upFloats, length);
      const found = await out.read();
      const exponent = (g: number) => 2 * Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
      const expected = Float64Array.from(gate, (g, i) => (g / (1 + Math.exp(-exponent(g)))) * up[i]);
      // Above 0 the exponent's error counts for little; below, as it is, until the result is as good as 0.
      const allowed = (i: number) => {
        const z = exponent(gate[i]);
        const ofExponent = z > 0 ? 1 : Math.min(-z, 90);
        return (
          (tolerance.swiglu + tolerance.gelu * ofExponent) * Math.abs(expected[i]) +
          1e-38 * Math.abs(gate[i] * up[i]) +
          leastOf(up[i])
        );
      };
      expectClose(found, expected, allowed, context);
      // By the definition, which cancels below 0.
      found.forEach((value, i) => {
        const g = gate[i];
        const defined = 0.5 * g * (1 + Math.tanh(exponent(g) / 2)) * up[i];
        const close = 1e-6 * Math.abs(g * up[i]) + (2 ** -148 + leastOf(up[i]));
        if (Math.abs(g) < 1e3) expect(Math.abs(value - defined)).toBeLessThanOrEqual(close);
      });

      const inPlace = guarded(backend, length, gate);
      backend.geglu(inPlace.floats, inPlace.floats, upFloats, length);
      expectSame(await inPlace.read(), found, `${context}, in place`);
    };

    test("at every length", async () => {
      for (const length of [0, ...LENGTHS, LONG]) {
        const random = createRandom(length);
        const values = (scale: number) => Float32Array.from({ length }, () => random.normal() * scale);
        await check(values(3), values(2));
      }
    });

    test("where it is 0 or its argument, and at the ends of the range", async () => {
      const all = [0, -0, 1e-45, 1e-40, 1e-8, 0.5, 1, 3, 5, 7, 9.9, 10, 10.1, 11, 12, 20, 1e3, 1e10, 1e30];
      const gates = all.filter(isKept);
      const gate = Float32Array.from([...gates, ...gates.map((g) => -g), Infinity, NaN]);
      for (const scale of [1, -3, 1e-6, 0]) await check(gate, new Float32Array(gate.length).fill(scale));
    });

    test("gives the numbers of a table", async () => {
      const backend = await create();
      const out = guarded(backend, 4);
      backend.geglu(
        out.floats,
        load(backend, Float32Array.of(-2, -1, 1, 2)),
        load(backend, Float32Array.of(1, 1, 1, 1)),
        4,
      );
      const found = await out.read();
      [-0.0454023, -0.158808, 0.841192, 1.9545977].forEach((value, i) => {
        expect(found[i]).toBeCloseTo(value, 6);
      });
    });
  });

  test("scale multiplies once, exactly, at every length", async () => {
    const backend = await create();
    for (const length of [0, ...LENGTHS]) {
      const random = createRandom(length);
      const x = Float32Array.from({ length }, () => random.normal() * 1e3);
      for (const factor of [0, 1, -0.1, Math.sqrt(640), 1e38]) {
        const out = guarded(backend, length, x);
        backend.scale(out.floats, factor, length);
        const rounded = Math.fround(factor);
        expectSame(
          await out.read(),
          x.map((value) => value * rounded),
          `length ${length}, factor ${factor}`,
        );
      }
    }
  });

  describe.each<RopePairs>(["interleaved", "half-split"])("rope, %s", (pairs) => {
    const POSITIONS = 40;
    /** Angles as models have them: position · 10000^(−2i / rotary). */
    const tableOf = (rotary: number) =>
      vectors(POSITIONS, rotary, (position, i) => {
        const pair = i % (rotary / 2);
        const angle = position * 10_000 ** ((-2 * pair) / rotary);
        return i < rotary / 2 ? Math.cos(angle) : Math.sin(angle);
      });

    const rotate = async (
      x: Float32Array,
      table: Float32Array,
      shape: { position: number; columns: number; heads: number; headDim: number; rotary: number },
    ) => {
      const backend = await create();
      const out = guarded(backend, x.length, x);
      backend.rope(out.floats, load(backend, table), { ...shape, pairs });
      return await out.read();
    };

    test("rotates pairs and leaves the rest, over all shapes", async () => {
      for (const [heads, headDim, rotary] of [
        [1, 8, 8],
        [3, 8, 4],
        [2, 16, 6],
        [1, 16, 2],
        [5, 64, 64],
        [3, 72, 36],
        [9, 128, 128],
      ]) {
        const random = createRandom(headDim);
        const table = tableOf(rotary);
        for (const [position, columns] of [
          [0, 1],
          [7, 1],
          [0, 5],
          [3, 4],
          [POSITIONS - 3, 3],
        ]) {
          const size = heads * headDim;
          const x = vectors(columns, size, () => random.normal());
          const found = await rotate(x, table, { position, columns, heads, headDim, rotary });
          const expected = Float64Array.from(x);
          const scales = new Float64Array(x.length);
          for (let start = 0; start < x.length; start += headDim) {
            const at = (position + Math.floor(start / size)) * stride(rotary);
            for (let i = 0; i < rotary / 2; i++) {
              const first = start + (pairs === "interleaved" ? 2 * i : i);
              const second = first + (pairs === "interleaved" ? 1 : rotary / 2);
              const [cosine, sine] = [table[at + i], table[at + rotary / 2 + i]];
              expected[first] = x[first] * cosine - x[second] * sine;
              expected[second] = x[first] * sine + x[second] * cosine;
              scales[first] = scales[second] = Math.abs(x[first]) + Math.abs(x[second]);
            }
          }
          const context = `${heads} heads of ${headDim}, ${rotary} rotated, ${columns} columns from ${position}`;
          expectClose(found, expected, (i) => tolerance.rope * scales[i], context);
        }
      }
    });

    test("by no angle changes nothing", async () => {
      const shape = { position: 0, columns: 1, heads: 2, headDim: 16, rotary: 16 };
      const random = createRandom(11);
      const x = Float32Array.from({ length: 32 }, () => random.normal());
      expectSame(await rotate(x, tableOf(16), shape), x, "position 0");
    });

    test("a column has the same bits alone and among others", async () => {
      const [heads, headDim, rotary] = [3, 16, 8];
      const size = heads * headDim;
      const table = tableOf(rotary);
      const random = createRandom(12);
      const x = vectors(11, size, () => random.normal());
      const together = await rotate(x, table, { position: 5, columns: 11, heads, headDim, rotary });
      for (let column = 0; column < 11; column++) {
        const shape = { position: 5 + column, columns: 1, heads, headDim, rotary };
        const alone = await rotate(vectorOf(x, column, size), table, shape);
        expectSame(vectorOf(together, column, size), alone, `column ${column}`);
      }
    });
  });
}
