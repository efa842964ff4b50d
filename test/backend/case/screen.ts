/** What heads are told that look at all tokens cheaply and at few exactly: ScreenKernels. */
import { describe, expect, test } from "vitest";
import { type Backend, stride } from "../../../src/backend/backend.ts";
import {
  type ProductTables,
  productCodeAt,
  productShape,
  tilesOf,
} from "../../../src/backend/screen-kernels.ts";
import { WEIGHT_TYPES } from "../../../src/format/blocks.ts";
import { f16ToNumber, numberToF16 } from "../../../src/format/half.ts";
import { log } from "../../../src/math.ts";
import { noise } from "../../../src/philox.ts";
import type { CreateBackend } from "../../backend.case.ts";
import { createRandom, type Random } from "../../support/random.ts";
import {
  copyOf,
  expectClose,
  expectSame,
  fillMatrix,
  guarded,
  LENGTHS,
  LONG,
  load,
  usualWeights,
  wholeBlocks,
} from "./harness.ts";

const ODD = [NaN, Infinity, -Infinity, 3.4e38, -3.4e38, -0, 1e-45];

function oddRow(length: number, random: Random): Float32Array {
  return Float32Array.from({ length }, () =>
    random.below(5) === 0 ? ODD[random.below(7)] : random.normal(),
  );
}

/** Behind `length` values come larger ones, which nobody may look at. */
function followed(backend: Backend, row: Float32Array) {
  const all = new Float32Array(stride(row.length) + 20).fill(3e38);
  all.set(row);
  return load(backend, all);
}

interface Plain {
  readonly tables: ProductTables;
  /** (V, S) */
  readonly codes: Uint8Array;
}

export function randomTables(vocab: number, hidden: number, random: Random): Plain {
  const pairs = hidden / 8;
  const codes = Uint8Array.from({ length: vocab * 2 * pairs }, () => random.below(16));
  const packed = new Uint8Array(productShape(vocab, hidden).codes).fill(0xa5);
  for (let token = 0; token < vocab; token++) {
    for (let pair = 0; pair < pairs; pair++) {
      const at = token * 2 * pairs + 2 * pair;
      packed[productCodeAt(token, pair, pairs)] = codes[at] | (codes[at + 1] << 4);
    }
  }
  const half = (value: number) => numberToF16(value);
  const tables = {
    vocab,
    hidden,
    codes: packed,
    codebook: Float32Array.from({ length: hidden * 16 }, random.normal),
    scales: Uint16Array.from({ length: vocab }, () => half(random.normal())),
    biases: Uint16Array.from({ length: vocab }, () => half(3 * random.normal())),
  };
  return { tables, codes };
}

/** Logits in f64, and by how much tables of 7 bits may be off. */
function productFormula({ tables, codes }: Plain, x: Float32Array) {
  const { vocab, hidden, codebook, scales, biases } = tables;
  const subs = hidden / 4;
  const word = (s: number, code: number) =>
    [0, 1, 2, 3].reduce((sum, d) => sum + codebook[(s * 4 + d) * 16 + code] * x[s * 4 + d], 0);
  const table = Array.from({ length: subs }, (_, s) =>
    Array.from({ length: 16 }, (__, code) => word(s, code)),
  );
  const widest = Math.max(...table.map((words) => Math.max(...words) - Math.min(...words)));
  const step = widest / Math.min(127, Math.floor(65535 / subs));
  const magnitude = table.reduce((sum, words) => sum + Math.max(...words.map(Math.abs)), 0);
  const scaleOf = (token: number) => f16ToNumber(scales[token]);
  return {
    logits: Float64Array.from({ length: vocab }, (_, token) => {
      const sum = table.reduce((all, words, s) => all + words[codes[token * subs + s]], 0);
      return scaleOf(token) * sum + f16ToNumber(biases[token]);
    }),
    allowed: (token: number) => Math.abs(scaleOf(token)) * (0.501 * step * subs + 1e-5 * magnitude) + 1e-6,
  };
}

export function screenCases(create: CreateBackend): void {
  describe("screenKernels", () => {
    test.each(WEIGHT_TYPES)("tileRows has the bits of matmul, %s", async (type) => {
      const backend = await create();
      const random = createRandom(3);
      const [rows, cols] = [301, wholeBlocks(type, 96)];
      const weights = fillMatrix(backend, type, rows, cols, usualWeights(type, rows, cols, random));
      const x = load(backend, Float32Array.from({ length: cols }, random.normal));
      const out = backend.floats(stride(rows));
      backend.matmul(x, 1, [{ weights, out }]);
      const row = await copyOf(backend, out);
      const all = Array.from({ length: Math.ceil(rows / 4) }, (_, tile) => tile);
      for (const tiles of [[0], [75], [3, 74, 75], all.filter((tile) => tile % 3 !== 1), all, []]) {
        const found = backend.screenKernels().tileRows(x, weights, Uint32Array.from(tiles));
        const expected = tiles.flatMap((tile) => Array.from(row.subarray(4 * tile, 4 * tile + 4)));
        const real = found.filter((_, i) => 4 * tiles[i >> 2] + (i & 3) < rows);
        expectSame(real, Float32Array.from(expected.slice(0, real.length)), `${tiles.length} tiles`);
        expect(found.length).toBe(4 * tiles.length);
      }
    });

    test("putTiles puts them where they belong, and nowhere else", async () => {
      const backend = await create();
      const out = guarded(backend, 36, new Float32Array(36));
      const tiles = tilesOf(Uint32Array.of(35, 4, 7, 0, 5));
      expect([...tiles]).toEqual([0, 1, 8]);
      const logits = Float32Array.from({ length: 12 }, (_, i) => i + 1);
      backend.screenKernels().putTiles(out.floats, tiles, logits);
      const expected = new Float32Array(36);
      expected.set(logits.subarray(0, 8));
      expected.set(logits.subarray(8), 32);
      expectSame(await out.read(), expected, "row");
    });

    test("raise adds bounds, and keeps to its row", async () => {
      const backend = await create();
      const random = createRandom(4);
      for (const length of LENGTHS) {
        const row = Float32Array.from({ length }, random.normal);
        const error = Float32Array.from({ length }, random.uniform);
        const out = guarded(backend, length, row);
        backend.screenKernels().raise(out.floats, load(backend, error), length, 2.5, 0.125);
        const expected = row.map((value, i) => value + error[i] * 2.5 + 0.125);
        expectClose(await out.read(), expected, () => 2 ** -20, `${length}`);
      }
    });

    test.each([...LENGTHS, LONG])("listAbove lists what reaches the bar, of %d", async (length) => {
      const backend = await create();
      const random = createRandom(length);
      const kernels = backend.screenKernels();
      const row = oddRow(length, random);
      const x = followed(backend, row);
      for (const bar of [-Infinity, -1, 0, row[length >> 1], 2, Math.fround(3.4e38), Infinity]) {
        const expected = [...row.keys()].filter((i) => row[i] >= bar);
        expect([...kernels.listAbove(x, length, bar, length)!], `${bar}`).toEqual(expected);
        const most = expected.length - 1;
        if (most >= 0) expect(kernels.listAbove(x, length, bar, most), `${bar}`).toBe(null);
      }
    });

    test.each([...LENGTHS, LONG])("listRacers leaves nobody out, of %d", async (length) => {
      const backend = await create();
      const random = createRandom(length);
      const kernels = backend.screenKernels();
      const row = Float32Array.from({ length }, () => 3 * random.normal());
      const x = followed(backend, row);
      const top = row.reduce((a, b) => Math.max(a, b));
      for (const [temperature, seed] of [
        [1, 1],
        [0.02, 2 ** 40 + 5],
        [3, 77],
        [1e30, 4],
      ]) {
        const scores = Array.from(row, (logit, token) => {
          return Math.exp((logit - top) / temperature) / -log(noise(seed, 9, token));
        });
        const best = Math.max(...scores);
        const bar = { temperature, top, seed, position: 9 };
        for (const score of [best, best / 2, best / 50, 1 / 22.9]) {
          const found = new Set(kernels.listRacers(x, length, { ...bar, score }, length)!);
          const must = [...row.keys()].filter((i) => scores[i] >= score);
          expect(must.filter((token) => !found.has(token))).toEqual([]);
          expect([...found].filter((token) => scores[token] < score * 0.99)).toEqual([]);
          if (must.length > 0) {
            expect(kernels.listRacers(x, length, { ...bar, score }, must.length - 1)).toBe(null);
          }
        }
        expect(scores[kernels.racer(x, length, { ...bar, score: 1 / 22.9 })]).toBeGreaterThan(best * 0.999);
        expect(kernels.racer(x, length, { ...bar, score: best * 2 })).toBe(-1);
      }
    });
  });
}

/** Those of them that every backend has. */
export function productCases(create: CreateBackend): void {
  describe("screenKernels of product codes", () => {
    test.each([
      [1, 8],
      [15, 16],
      [16, 24],
      [17, 32],
      [300, 160],
      [1031, 40],
      [33, 2112],
    ])("productLogits adds up what the codes stand for, %d tokens of %d columns", async (vocab, hidden) => {
      const backend = await create();
      const random = createRandom(vocab);
      const kernels = backend.screenKernels();
      const plain = randomTables(vocab, hidden, random);
      const used = backend.usedBytes;
      const codes = kernels.productCodes(plain.tables);
      expect(codes.bytes).toBe(kernels.productBytes(vocab, hidden));
      for (const scale of [1, 0, 1e-20, 1e20]) {
        const values = Float32Array.from({ length: hidden }, () => scale * random.normal());
        const room = Math.ceil(vocab / 16) * 16;
        const out = guarded(backend, room);
        const x = load(backend, values);
        kernels.productLogits(x, codes, out.floats);
        const { logits, allowed } = productFormula(plain, values);
        expectClose((await out.read()).subarray(0, vocab), logits, allowed, `${scale}`);
      }
      kernels.freeCodes(codes);
      expect(backend.usedBytes).toBeGreaterThanOrEqual(used);
    });

    test("codes go back to where they came from, and take no more than there is", async () => {
      const backend = await create({ maxBytes: 8 << 20 });
      const kernels = backend.screenKernels();
      const { tables } = randomTables(4096, 256, createRandom(1));
      const used = backend.usedBytes;
      for (let i = 0; i < 100; i++) kernels.freeCodes(kernels.productCodes(tables));
      expect(backend.usedBytes).toBe(used);
      expect(() => Array.from({ length: 100 }, () => kernels.productCodes(tables))).toThrow(
        /Cannot allocate/,
      );
    });

    test("codes of the wrong length are named", async () => {
      const kernels = (await create()).screenKernels();
      const { tables } = randomTables(40, 16, createRandom(1));
      const shorter = { codes: tables.codes.subarray(1), scales: tables.scales.subarray(1) };
      expect(() => kernels.productCodes({ ...tables, codes: shorter.codes })).toThrow(/"codes.length"/);
      expect(() => kernels.productCodes({ ...tables, scales: shorter.scales })).toThrow(/"scales.length"/);
      expect(() => kernels.productCodes({ ...tables, hidden: 12 })).toThrow(/"hidden \/ 8"/);
    });
  });
}
