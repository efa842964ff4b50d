import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { describeBackend, type Tolerance } from "../backend.case.ts";

/** f64 inside: an error of a few 2^-53 per step, far below the rounding of the result to f32. */
const F64_SUMS = 1e-12;

const tolerance: Tolerance = {
  inputLevels: () => Number.POSITIVE_INFINITY,
  quantisedMatmul: F64_SUMS,
  floatMatmul: F64_SUMS,
  norm: F64_SUMS,
  rope: F64_SUMS,
  swiglu: F64_SUMS,
  gelu: F64_SUMS,
  attention: F64_SUMS,
  softmax: F64_SUMS,
  logSumExp: F64_SUMS,
};

const SHAPE = { layers: 1, kvHeads: 1, headDim: 8 };
const FIRST = { layer: 0, position: 0, columns: 1 };

describeBackend("reference backend", createReferenceBackend, { tolerance });

describe("reference backend: mistakes of an architecture", () => {
  test("a handle that is freed cannot be used or freed again", () => {
    const backend = createReferenceBackend();
    const x = backend.floats(8);
    const part = backend.slice(x, 4, 4);
    expect(() => backend.free(part)).toThrow(TypeError);
    backend.free(x);
    expect(() => backend.free(x)).toThrow("freed before");
    expect(() => backend.read(x)).toThrow("already freed");
    expect(() => backend.write(part, new Float32Array(1))).toThrow("already freed");
    const cache = backend.kvCache(SHAPE, 4);
    backend.claimKv(cache, 0, 4);
    backend.free(cache);
    const kv = backend.floats(8);
    expect(() => backend.storeKv(cache, kv, kv, FIRST)).toThrow("already freed");
    expect(() => backend.free(cache)).toThrow("already freed");
    const matrix = backend.matrix("F32", 0, 4).finish();
    backend.free(matrix);
    expect(() => backend.free(matrix)).toThrow("freed before");
  });

  test("a closed backend holds nothing and gives nothing", () => {
    const backend = createReferenceBackend();
    const x = backend.floats(8);
    backend.close();
    expect(backend.usedBytes).toBe(0);
    expect(() => backend.read(x)).toThrow("already freed");
    expect(() => backend.floats(1)).toThrow("closed");
  });

  test("a handle of another backend is refused", () => {
    const backend = createReferenceBackend();
    const x = createReferenceBackend().floats(4);
    expect(() => backend.free(x)).toThrow("not held by this backend");
    expect(() => backend.add({ length: 4 }, x, 4)).toThrow('"x" must be floats of a reference backend');
  });

  test("buffers that are too short, and what lies outside a matrix or a cache, are named", () => {
    const backend = createReferenceBackend();
    const weights = backend.matrix("F32", 0, 5).finish();
    const [five, eight] = [backend.floats(5), backend.floats(8)];
    expect(() => backend.add(eight, five, 8)).toThrow('"y" must hold 8 values, got 5');
    expect(() => backend.write(five, new Float32Array(6))).toThrow('"x" must hold 6 values, got 5');
    expect(() => backend.matmul(eight, 2, [{ weights, out: five }])).toThrow(
      '"x" must hold 13 values, got 8',
    );
    expect(() => backend.embed(eight, weights, [0])).toThrow(RangeError);
    expect(() => backend.slice(five, 4, 2)).toThrow('"length" must be an integer from 0 to 1, got 2');
    const cache = backend.kvCache(SHAPE, 2);
    expect(() => backend.storeKv(cache, eight, eight, { ...FIRST, position: 2 })).toThrow('"position"');
    expect(() => backend.storeKv(cache, eight, eight, FIRST)).toThrow("it was never claimed");
    expect(() => backend.claimKv(cache, 1, 2)).toThrow('"columns" must be an integer from 0 to 1, got 2');
    backend.claimKv(cache, 0, 2);
    const fork = backend.forkKv(cache, 1, 2);
    for (const each of [cache, fork]) {
      expect(() => backend.storeKv(each, eight, eight, FIRST)).toThrow("it is shared, claim it first");
    }
    expect(() => backend.forkKv(cache, 3, 4)).toThrow('"length"');
    expect(() => backend.forkKv(cache, 2, 1)).toThrow('"capacity"');
    expect(() => createReferenceBackend({ maxBytes: 0 })).toThrow('"maxBytes"');
  });

  test("a matrix that is not filled gives its memory back", () => {
    const backend = createReferenceBackend();
    expect(() => backend.matrix("F32", 4, 4).finish()).toThrow("it takes 64 bytes, got 0");
    expect(backend.usedBytes).toBe(0);
  });
});
