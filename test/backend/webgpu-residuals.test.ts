/** Rows of heads with residual codes on a WebGPU device, against their definition in f64. */
import { afterAll, describe, expect, test } from "vitest";
import { type Backend, stride, type Top } from "../../src/backend/backend.ts";
import { PROBES, RESIDUAL_WORDS, type ResidualTables, snapped } from "../../src/backend/head-kernels.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { Codebook } from "../../src/model/head/codebook.ts";
import { ResidualCodes } from "../../src/model/head/residual-codes.ts";
import { VqHead } from "../../src/model/head/vq-head.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom, type Random } from "../support/random.ts";
import { copyOf, expectSame, fillMatrix, guarded, load, usualWeights } from "./case/harness.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`WebGPU residual codes: skipped, ${skip}`);

/** From one value of the grid to the next. */
const STEP = 1 / 4096;

interface Shape {
  readonly vocab: number;
  readonly codes: number;
  /** Of a token, and columns of a sub-vector. */
  readonly bytes: number;
  readonly wide: number;
}

function randomTables({ vocab, bytes, wide }: Shape, random: Random): ResidualTables {
  return {
    bytes,
    codes: Uint8Array.from({ length: vocab * bytes }, () => random.below(256)),
    words: Float32Array.from({ length: 2 * bytes * wide * RESIDUAL_WORDS }, () => random.normal() / 3),
    bias: Float32Array.from({ length: vocab }, () => 2 * random.normal()),
  };
}

/** @param used Codes from here on have no tokens. @param spread Of biases; 0: all alike. */
function randomCodebook({ vocab, codes }: Shape, random: Random, used: number, spread: number): Codebook {
  const codeOf = Uint16Array.from({ length: vocab }, () => random.below(used));
  const bias = Float32Array.from({ length: vocab }, () => spread * random.normal());
  return new Codebook(codes, codeOf, bias);
}

/** What the row is, and which of its tokens are of opened codes. */
function defined(codebook: Codebook, tables: ResidualTables, scores: Float32Array, z: Float32Array) {
  const opened = new ResidualCodes(codebook, tables).open(scores, z);
  const row = Float32Array.from(codebook.codeOf, (code, i) => scores[code] + codebook.bias[i]);
  for (const [i, token] of opened.tokens.entries()) row[token] = opened.logits[i];
  return { row, opened };
}

describe.skipIf(skip !== undefined)("residual codes on WebGPU", { timeout: 60_000 }, () => {
  if (typeof gpu === "string") return;
  const backends: Backend[] = [];
  const open = () => {
    backends.push(createWebGpuBackend(gpu));
    return backends.at(-1)!;
  };
  afterAll(() => {
    for (const backend of backends) backend.close();
  });

  const shapes: readonly (readonly [string, Shape, { used?: number; levels?: number }])[] = [
    ["as usual", { vocab: 2003, codes: 90, bytes: 8, wide: 3 }, {}],
    ["codes that fill no word", { vocab: 1001, codes: 70, bytes: 7, wide: 1 }, {}],
    ["the fewest bytes, the widest sub-vectors", { vocab: 333, codes: 64, bytes: 1, wide: 64 }, {}],
    ["the most bytes", { vocab: 130, codes: 40, bytes: 64, wide: 2 }, {}],
    ["fewer codes than are opened", { vocab: 500, codes: 5, bytes: 4, wide: 2 }, {}],
    ["codes without tokens", { vocab: 500, codes: 300, bytes: 4, wide: 2 }, { used: 20 }],
    ["codes that stand level", { vocab: 1500, codes: 1000, bytes: 4, wide: 2 }, { levels: 2 }],
    ["one token", { vocab: 1, codes: 3, bytes: 2, wide: 1 }, {}],
  ];
  test.each(shapes)("rows are those of the definition: %s", async (_, shape, { used, levels }) => {
    const random = createRandom(shape.vocab);
    const codebook = randomCodebook(shape, random, used ?? shape.codes, levels === undefined ? 2 : 0);
    const tables = randomTables(shape, random);
    const size = tables.words.length / RESIDUAL_WORDS;
    const columns = 3;
    const scores = new Float32Array(columns * stride(shape.codes));
    const z = new Float32Array(columns * stride(size));
    for (let column = 0; column < columns; column++) {
      for (let j = 0; j < shape.codes; j++) {
        const score = levels === undefined ? snapped(4 * random.normal()) : random.below(levels);
        scores[column * stride(shape.codes) + j] = score;
      }
      for (let k = 0; k < size; k++) z[column * stride(size) + k] = random.normal();
    }
    const backend = open();
    const kernels = backend.codebookKernels();
    const residuals = kernels.residuals!;
    const before = backend.usedBytes;
    const codes = kernels.map(codebook.codeOf, codebook.bias);
    const map = residuals.map(codes, codebook.best, tables);
    const bytes = residuals.mapBytes({ ...shape, size }) + kernels.mapBytes(shape.vocab);
    expect(backend.usedBytes - before).toBeGreaterThanOrEqual(bytes);
    expect(backend.usedBytes - before).toBeLessThan(bytes + 128);
    const out = guarded(backend, columns * stride(shape.vocab));
    residuals.rows(out.floats, load(backend, scores), load(backend, z), columns, map);
    const all = await out.read();
    for (let column = 0; column < columns; column++) {
      const own = scores.subarray(column * stride(shape.codes), column * stride(shape.codes) + shape.codes);
      const ownZ = z.slice(column * stride(size), column * stride(size) + size);
      const { row, opened } = defined(codebook, tables, own, ownZ);
      expect(opened.codes.length).toBe(Math.min(PROBES, new Set(codebook.codeOf).size));
      const made = all.subarray(column * stride(shape.vocab), column * stride(shape.vocab) + shape.vocab);
      for (let token = 0; token < shape.vocab; token++) {
        if (!opened.isAlone(token)) expect(made[token], `token ${token}`).toBe(row[token]);
        else expect(Math.abs(made[token] - row[token]), `token ${token}`).toBeLessThanOrEqual(STEP);
      }
      expect(made.every((logit) => Number.isInteger(logit / STEP))).toBe(true);
      // Alone it is the same, bit for bit.
      const alone = guarded(backend, shape.vocab);
      residuals.rows(alone.floats, load(backend, own), load(backend, ownZ), 1, map);
      expectSame(await alone.read(), made, "alone");
    }
    residuals.free(map);
    kernels.free(codes);
  });

  const [VOCAB, HIDDEN] = [2003, 64];
  const shape: Shape = { vocab: VOCAB, codes: 90, bytes: 6, wide: 3 };
  const SIZE = 2 * shape.bytes * shape.wide;
  const random = createRandom(18);
  const given = {
    codebook: usualWeights("Q8_0", shape.codes, HIDDEN, random),
    basis: usualWeights("F16", SIZE, HIDDEN, random),
    codes: Uint16Array.from({ length: VOCAB }, () => random.below(shape.codes)),
    bias: Float32Array.from({ length: VOCAB }, () => 2 * random.normal()),
    tables: randomTables(shape, random),
    states: Float32Array.from({ length: 11 * HIDDEN }, random.normal),
  };
  const headOn = (backend: Backend) =>
    new VqHead(backend, {
      codebook: fillMatrix(backend, "Q8_0", shape.codes, HIDDEN, given.codebook),
      codes: given.codes,
      bias: given.bias,
      residual: { ...given.tables, basis: fillMatrix(backend, "F16", SIZE, HIDDEN, given.basis) },
    });
  const rowsOf = async (backend: Backend, head: VqHead, first: number, count: number) => {
    const out = backend.floats(count * stride(VOCAB));
    head.rows(load(backend, given.states.slice(first * HIDDEN, (first + count) * HIDDEN)), count, out);
    const all = await copyOf(backend, out);
    return Array.from({ length: count }, (_, i) => all.slice(i * stride(VOCAB), i * stride(VOCAB) + VOCAB));
  };

  test("a head's rows are near the reference's, and the same in any company", async () => {
    const backend = open();
    const [head, reference] = [headOn(backend), createReferenceBackend()];
    const rows = await rowsOf(backend, head, 0, 11);
    const theirs = await rowsOf(reference, headOn(reference), 0, 11);
    for (const [i, row] of rows.entries()) {
      expectSame((await rowsOf(backend, head, i, 1))[0], row, `state ${i}`);
      // A code that is opened here and not there is of the last ones: its tokens have other logits.
      let apart = 0;
      for (const [token, logit] of row.entries()) if (Math.abs(logit - theirs[i][token]) > 0.01) apart++;
      expect(apart, `state ${i}`).toBeLessThan(VOCAB / shape.codes);
      expect(row.indexOf(Math.max(...row))).toBe(theirs[i].indexOf(Math.max(...theirs[i])));
    }
    for (const count of [2, 5, 9]) {
      const some = await rowsOf(backend, head, 1, count);
      for (const [i, row] of some.entries()) expectSame(row, rows[1 + i], `${count} columns`);
    }
  });

  test("a head tells of a state what is in its row", async () => {
    const backend = open();
    const head = headOn(backend);
    const held = backend.usedBytes;
    const [row] = await rowsOf(backend, head, 4, 1);
    const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
    const state = load(backend, given.states.slice(4 * HIDDEN, 5 * HIDDEN));
    expect(await head.argmax(state)).toBe(order[0]);
    const { ids, logits } = (await head.top(state, 200)) as Top;
    expect([...ids]).toEqual(order.slice(0, 200));
    expect([...logits]).toEqual(order.slice(0, 200).map((id) => row[id]));
    const sum = row.reduce((all, logit) => all + Math.exp(logit - row[order[0]]), 0);
    expect(await head.logPartition(state)).toBeCloseTo(row[order[0]] + Math.log(sum), 9);
    expect(order).toContain(await head.sample(state, { temperature: 1, seed: 3, position: 9 }));
    expect(held).toBeGreaterThan(VqHead.heldBytes(backend, VOCAB, shape.codes, { size: SIZE, bytes: 6 }));
    const before = backend.usedBytes;
    head.close();
    expect(before - backend.usedBytes).toBeGreaterThan(
      VqHead.heldBytes(backend, VOCAB, shape.codes, { size: SIZE, bytes: 6 }),
    );
  });
});
