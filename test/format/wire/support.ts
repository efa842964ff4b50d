/** Rows and codebooks for tests of the wire format. */
import { trainCodebook } from "../../../src/format/wire/index.ts";
import type { EncodingSpec } from "../../../src/format/wire/types.ts";
import { createRandom, type Random } from "../../support/random.ts";

export { createRandom };

/** Logits as models give them: nearly normal, some that stand out. */
export function modelRow(random: Random, vocab: number): Float32Array {
  const row = Float32Array.from({ length: vocab }, () => 2 * random.normal() - 1);
  for (let i = 0; i < 1 + vocab / 50; i++) row[random.below(vocab)] = 8 + 3 * random.normal();
  return row;
}

/** The same with tokens that have no chance. */
export function maskedRow(random: Random, vocab: number, share = 0.4): Float32Array {
  const row = modelRow(random, vocab).map((z) => (random.uniform() < share ? -Infinity : z));
  row[random.below(vocab)] = 5;
  return row;
}

const shapes = createRandom(77);
export const narrowBook = trainCodebook([modelRow(shapes, 700)], { count: 40, dim: 8, stages: 2, rounds: 3 });
export const wideBook = trainCodebook([modelRow(shapes, 2400)], { count: 300, dim: 4, rounds: 2 });

export const SPECS: readonly Exclude<EncodingSpec, string>[] = [
  { encoding: "f32" },
  { encoding: "f16" },
  { encoding: "int8" },
  { encoding: "int8", clip: 5 },
  { encoding: "int4" },
  { encoding: "vq", codebook: narrowBook },
  { encoding: "vq", codebook: wideBook },
  { encoding: "top-k", count: 20 },
  { encoding: "top-k", count: 3, precision: "f32" },
  { encoding: "lattice", resolution: 100, count: 30 },
  { encoding: "lattice", resolution: 5000 },
  { encoding: "ids" },
  { encoding: "ids", count: 7 },
];

export const holds = (spec: Exclude<EncodingSpec, string>, row: Float32Array) =>
  spec.encoding !== "vq" || !row.includes(-Infinity);

/** softmax, in f64. */
export function lawOf(row: ArrayLike<number>): Float64Array {
  const logits = Float64Array.from(row);
  const top = logits.reduce((most, z) => Math.max(most, z), -Infinity);
  const masses = logits.map((z) => Math.exp(z - top));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}

export function totalVariation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [p, q] = [lawOf(a), lawOf(b)];
  return p.reduce((sum, value, i) => sum + Math.abs(value - q[i]), 0) / 2;
}
