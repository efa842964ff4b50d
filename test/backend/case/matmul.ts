/** embed and matmul, over all weight types. */
import { describe, expect, test } from "vitest";
import { type Backend, type Matrix, stride } from "../../../src/backend/backend.ts";
import { blockSize, WEIGHT_TYPES, type WeightType } from "../../../src/format/blocks.ts";
import type { CreateBackend, Tolerance } from "../../backend.case.ts";
import { createRandom, type Random } from "../../support/random.ts";
import {
  COLUMNS,
  copyOf,
  expectClose,
  expectSame,
  extremeWeights,
  fillMatrix,
  guarded,
  LENGTHS,
  LONG,
  load,
  rowOf,
  usualWeights,
  vectorOf,
  vectors,
  wholeBlocks,
} from "./harness.ts";

/** Columns that share a rounding step of the input. */
const BLOCK = 32;
/** Below, at and above a tile of 4 rows, and eight of them. */
const ROWS = [1, 2, 3, 4, 5, 7, 31, 32, 33, 36, 37, 64, 65, 67];
/** An input below this may count as zero, as that cannot be seen in any f32 sum with ordinary values. */
const NEGLIGIBLE = 1e-26;

type Input = (random: Random) => (i: number) => number;

/** Inputs are specified up to ±1e8. */
const INPUTS: Record<string, Input> = {
  zeros: () => () => 0,
  "negative zeros": () => () => -0,
  "all equal": () => () => -1.7,
  tiny: (random) => () => random.normal() * 1e-25,
  subnormal: (random) => () => random.normal() * 1e-40,
  huge: (random) => () => random.normal() * 3e7,
  "of very different size from block to block": (random) => (i) =>
    random.normal() * [1e-6, 1, 1e6][Math.floor(i / BLOCK) % 3],
  "one among zeros": () => (i) => (i % 37 === 5 ? 3 : 0),
  "one much larger than the rest": (random) => (i) => (i === 9 ? 1e4 : random.normal()),
  "on the largest code of 14 bits": () => (i) => (i % 2 ? 8191 : -8191),
  "on the largest code of 8 bits": () => (i) => (i % 2 ? 127 : -127),
};

export function matmulCases(create: CreateBackend, tolerance: Tolerance, types = WEIGHT_TYPES): void {
  describe.each(types)("%s", (type) => {
    const quantised = blockSize(type).weights > 1;
    const widths = quantised
      ? [...new Set([32, 64, 96, 992, 32_000].map((cols) => wholeBlocks(type, cols)))]
      : [...LENGTHS, LONG];

    test("embed gives the exact weights", async () => {
      const backend = await create();
      for (const cols of widths.filter((cols) => cols <= 1024)) {
        const rows = 9;
        const bytes = extremeWeights(type, rows, cols, createRandom(cols));
        const matrix = fillMatrix(backend, type, rows, cols, bytes);
        const tokens = Uint32Array.of(8, 0, 3, 3, 7);
        const out = guarded(backend, tokens.length * stride(cols));
        backend.embed(out.floats, matrix, tokens);
        const found = await out.read();
        for (const [i, token] of tokens.entries()) {
          expectSame(vectorOf(found, i, cols), rowOf(type, cols, bytes, token), `cols ${cols}, row ${token}`);
        }
      }
    });

    const check = async (
      rows: number,
      cols: number,
      columns: number,
      weights: Uint8Array,
      x: Float32Array,
    ) => {
      const backend = await create();
      const matrix = fillMatrix(backend, type, rows, cols, weights);
      const found = await multiply(backend, matrix, x, columns);
      const allowed = quantised ? tolerance.quantisedMatmul : tolerance.floatMatmul;
      for (let column = 0; column < columns; column++) {
        const input = vectorOf(x, column, cols);
        const { sums, scales } = product(type, rows, cols, weights, input, tolerance.inputLevels(type));
        const context = `rows ${rows}, cols ${cols}, column ${column} of ${columns}`;
        expectClose(vectorOf(found, column, rows), sums, (r) => allowed * scales[r], context);
      }
    };

    test("matmul over every width", async () => {
      for (const cols of widths) {
        const random = createRandom(cols);
        const x = vectors(5, cols, () => random.normal());
        await check(5, cols, 5, usualWeights(type, 5, cols, random), x);
      }
    });

    test("matmul over every height", async () => {
      const cols = wholeBlocks(type, 64);
      for (const rows of ROWS) {
        const random = createRandom(rows);
        const x = vectors(4, cols, () => random.normal());
        await check(rows, cols, 4, usualWeights(type, rows, cols, random), x);
        await check(rows, cols, 1, usualWeights(type, rows, cols, random), x);
      }
    });

    test("matmul over every number of columns, and weights of every size", async () => {
      const cols = wholeBlocks(type, 96);
      for (const columns of COLUMNS) {
        const random = createRandom(columns);
        const x = vectors(columns, cols, () => random.normal());
        await check(37, cols, columns, extremeWeights(type, 37, cols, random), x);
      }
    });

    test.each(Object.keys(INPUTS))("matmul with inputs that are %s", async (name) => {
      const random = createRandom(name.length);
      const value = INPUTS[name](random);
      const cols = wholeBlocks(type, 128);
      const x = vectors(5, cols, (_, i) => value(i));
      await check(33, cols, 5, usualWeights(type, 33, cols, random), x);
      await check(33, cols, 5, extremeWeights(type, 33, cols, random), x);
    });

    test("matmul: a column has the same bits alone, among others and at any index", async () => {
      const backend = await create();
      const [rows, cols] = [37, wholeBlocks(type, 96)];
      const random = createRandom(7);
      const matrix = fillMatrix(backend, type, rows, cols, extremeWeights(type, rows, cols, random));
      const most = Math.max(...COLUMNS);
      const x = vectors(most, cols, () => random.normal());
      const alone: Float32Array[] = [];
      for (let column = 0; column < most; column++) {
        alone.push(await multiply(backend, matrix, vectorOf(x, column, cols), 1));
      }
      for (const columns of COLUMNS) {
        const first = most - columns;
        const found = await multiply(backend, matrix, x.subarray(first * stride(cols)), columns);
        for (let column = 0; column < columns; column++) {
          const context = `column ${column} of ${columns}`;
          expectSame(vectorOf(found, column, rows), vectorOf(alone[first + column], 0, rows), context);
        }
      }
    });

    test("matmul: some rows of a matrix have the bits that they have among all of it", async () => {
      const backend = await create();
      const [rows, cols, columns] = [150, wholeBlocks(type, 96), 3];
      const random = createRandom(12);
      const matrix = fillMatrix(backend, type, rows, cols, extremeWeights(type, rows, cols, random));
      const x = vectors(columns, cols, () => random.normal());
      const whole = await multiply(backend, matrix, x, columns);
      for (const [first, count] of [
        [0, 4],
        [0, 148],
        [4, 64],
        [144, 4],
      ]) {
        const some = backend.rowsOf(matrix, first, count);
        expect([some.type, some.rows, some.cols]).toEqual([type, count, cols]);
        const found = await multiply(backend, some, x, columns);
        for (let column = 0; column < columns; column++) {
          const expected = vectorOf(whole, column, rows).subarray(first, first + count);
          expectSame(
            vectorOf(found, column, count),
            expected,
            `rows ${first} and ${count}, column ${column}`,
          );
        }
        const row = guarded(backend, stride(cols));
        backend.embed(row.floats, some, [count - 1]);
        const same = guarded(backend, stride(cols));
        backend.embed(same.floats, matrix, [first + count - 1]);
        expectSame(await row.read(), await same.read(), `row ${count - 1} of ${first}`);
      }
    });

    test.each([NaN, Infinity])("matmul: an input of %s spoils its column and no other", async (bad) => {
      const backend = await create();
      const [rows, cols, columns] = [9, wholeBlocks(type, 64), 7];
      const random = createRandom(8);
      const weights = usualWeights(type, rows, cols, random);
      const matrix = fillMatrix(backend, type, rows, cols, weights);
      const x = vectors(columns, cols, () => random.normal());
      const clean = await multiply(backend, matrix, x, columns);
      for (let column = 0; column < columns; column++) {
        const spoilt = x.slice();
        spoilt[column * stride(cols) + 40] = bad;
        const found = await multiply(backend, matrix, spoilt, columns);
        for (let other = 0; other < columns; other++) {
          const values = vectorOf(found, other, rows);
          if (other === column) expect([...values].filter(Number.isFinite)).toEqual([]);
          else expectSame(values, vectorOf(clean, other, rows), `column ${other}, spoilt ${column}`);
        }
      }
    });
  });

  test("matmul: several products of one input are what each is alone", async () => {
    const backend = await create();
    const cols = 512;
    const random = createRandom(9);
    const mixed: WeightType[] = [
      "Q8_0",
      "Q4_0",
      "Q8_0",
      "Q4_K",
      "Q6_K",
      "Q4_K",
      "IQ4_NL",
      "F16",
      "BF16",
      "F32",
    ];
    const tried = mixed.filter((type) => types.includes(type));
    const matrices = tried.map((type, i) =>
      fillMatrix(backend, type, 5 + i, cols, usualWeights(type, 5 + i, cols, random)),
    );
    for (const columns of [1, 6, 33]) {
      const x = vectors(columns, cols, () => random.normal());
      const outs = matrices.map(({ rows }) => guarded(backend, columns * stride(rows)));
      const products = matrices.map((weights, i) => ({ weights, out: outs[i].floats }));
      backend.matmul(load(backend, x), columns, products);
      for (const [i, weights] of matrices.entries()) {
        const [together, alone] = [await outs[i].read(), await multiply(backend, weights, x, columns)];
        for (let column = 0; column < columns; column++) {
          const context = `${weights.type}, column ${column} of ${columns}`;
          expectSame(
            vectorOf(together, column, weights.rows),
            vectorOf(alone, column, weights.rows),
            context,
          );
        }
      }
    }
  });

  test.each(types)("matmul over %s keeps nothing of an earlier, larger input", async (type) => {
    const backend = await create();
    const random = createRandom(11);
    const block = blockSize(type).weights;
    for (const cols of block > 1 ? [block, 2 * block] : [1, 5, 33, 64]) {
      const most = Math.max(128, 2 * block);
      const wide = fillMatrix(backend, type, 5, most, usualWeights(type, 5, most, random));
      const bytes = usualWeights(type, 5, cols, random);
      const narrow = fillMatrix(backend, type, 5, cols, bytes);
      for (const columns of [1, 4, 6]) {
        await multiply(backend, wide, new Float32Array(8 * most).fill(NaN), 8);
        const x = vectors(columns, cols, () => random.normal());
        const found = await multiply(backend, narrow, x, columns);
        const fresh = await create();
        const expected = await multiply(fresh, fillMatrix(fresh, type, 5, cols, bytes), x, columns);
        for (let column = 0; column < columns; column++) {
          const context = `cols ${cols}, column ${column} of ${columns}`;
          expectSame(vectorOf(found, column, 5), vectorOf(expected, column, 5), context);
        }
      }
    }
  });

  test("matmul leaves its input as it is", async () => {
    const backend = await create();
    const random = createRandom(10);
    const values = vectors(5, 256, () => random.normal());
    const x = load(backend, values);
    for (const type of types) {
      const weights = fillMatrix(backend, type, 4, 256, usualWeights(type, 4, 256, random));
      backend.matmul(x, 5, [{ weights, out: backend.floats(20) }]);
      expectSame(await copyOf(backend, x), values, type);
    }
  });
}

async function multiply(
  backend: Backend,
  weights: Matrix,
  x: Float32Array,
  columns: number,
): Promise<Float32Array> {
  const out = guarded(backend, columns * stride(weights.rows));
  const input = load(backend, x);
  backend.matmul(input, columns, [{ weights, out: out.floats }]);
  backend.free(input);
  return await out.read();
}

/** One column: sums[r] = Σ w·x, and scales[r], which errors are measured by; see Tolerance. */
function product(
  type: WeightType,
  rows: number,
  cols: number,
  weights: Uint8Array,
  input: Float32Array,
  levels: number,
) {
  const quantised = blockSize(type).weights > 1;
  const sizes = sizesOf(input, quantised ? BLOCK : 1);
  const x = quantised && levels < Number.POSITIVE_INFINITY ? rounded(input, levels) : input;
  const sums = new Float64Array(rows);
  const scales = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = rowOf(type, cols, weights, r);
    for (let k = 0; k < cols; k++) {
      sums[r] += row[k] * x[k];
      scales[r] += Math.abs(row[k]) * sizes[k];
    }
  }
  return { sums, scales };
}

/** Blocks in steps of their largest magnitude / levels, ties to even; those below 1e-30 become zero. All of it in f32. */
function rounded(x: Float32Array, levels: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += BLOCK) {
    const block = x.subarray(start, start + BLOCK);
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (!(largest > 1e-30)) continue;
    const inverse = Math.fround(levels / largest);
    const step = Math.fround(largest / levels);
    for (const [i, value] of block.entries()) {
      out[start + i] = step * roundToEven(Math.fround(value * inverse));
    }
  }
  return out;
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The largest magnitude in each block, for every element of it. */
function sizesOf(x: Float32Array, block: number): Float64Array {
  const sizes = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += block) {
    let largest = NEGLIGIBLE;
    for (const value of x.subarray(start, start + block)) largest = Math.max(largest, Math.abs(value));
    sizes.fill(largest, start, start + block);
  }
  return sizes;
}
