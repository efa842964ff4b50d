/** The parts of compression, against brute force. */
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import { fitBias } from "../../src/compress/fit.ts";
import { groupPoints } from "../../src/compress/k-means.ts";
import { metricOf } from "../../src/compress/metric.ts";
import { kernelModules } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";

const { simd } = await kernelModules();
const laws = async () => {};

describe("the metric of logits", () => {
  it.each([
    [20, 500],
    [300, 400],
  ])("measures what rows of %i differ by, over %i states", (hidden, count) => {
    const random = createRandom(hidden);
    // Few directions with much variance, as real states have.
    const scales = Array.from({ length: hidden }, (_, k) => (k < 15 ? 3 / (1 + k) : 0.002));
    const mix = Array.from({ length: hidden }, () => random.below(hidden));
    const values = new Float32Array(count * hidden);
    for (let n = 0; n < count; n++) {
      const raw = scales.map((scale) => scale * random.normal());
      for (let k = 0; k < hidden; k++) values[n * hidden + k] = 0.7 + raw[k] + 0.5 * raw[mix[k]];
    }
    const states = { count, values, probabilities: new Float64Array(1), laws };
    const metric = metricOf(states, hidden, 1);
    expect(metric.rows).toBe(Math.min(hidden, 128));
    for (let pair = 0; pair < 10; pair++) {
      const difference = Float64Array.from({ length: hidden }, () => random.normal());
      const logits = Array.from({ length: count }, (_, n) =>
        difference.reduce((sum, w, k) => sum + w * values[n * hidden + k], 0),
      );
      const mean = logits.reduce((a, b) => a + b) / count;
      const variance = logits.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / count;
      let distance = 0;
      for (let r = 0; r < metric.rows; r++) {
        const part = difference.reduce((sum, w, k) => sum + w * metric.values[r * hidden + k], 0);
        distance += part * part;
      }
      expect(distance / variance).toBeGreaterThan(0.995);
      expect(distance / variance).toBeLessThan(1.0001);
    }
  });
});

describe("groups of points", () => {
  const random = createRandom(6);
  const size = 6;
  const clusters = Array.from({ length: 12 }, () => Array.from({ length: size }, () => 20 * random.normal()));
  const count = 600;
  const values = new Float32Array(count * size);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < size; k++) values[i * size + k] = clusters[i % 12][k] + 0.1 * random.normal();
  }
  const weights = Float64Array.from({ length: count }, () => 0.5 + random.uniform());
  const points = { count, size, values, weights };
  const options = { backend: createWasmBackend(simd), seed: 1, most: count, onProgress: () => {} };

  it("never span clusters that are far apart, and have the weighted mean of their points as centre", async () => {
    const { groupOf, centres } = await groupPoints(points, 30, options);
    const clusterOf = new Map<number, number>();
    for (let i = 0; i < count; i++) {
      expect(clusterOf.get(groupOf[i]) ?? i % 12).toBe(i % 12);
      clusterOf.set(groupOf[i], i % 12);
    }
    let [mass, sum] = [0, 0];
    for (let i = 0; i < count; i++) {
      if (groupOf[i] !== groupOf[0]) continue;
      mass += weights[i];
      sum += weights[i] * values[i * size];
    }
    expect(centres[groupOf[0] * size]).toBeCloseTo(sum / mass, 4);
  });

  it("are as large as they may be, each point near its centre if it can", async () => {
    const most = 30;
    const { groupOf } = await groupPoints(points, 24, { ...options, most });
    const sizes = new Map<number, number>();
    for (const group of groupOf) sizes.set(group, (sizes.get(group) ?? 0) + 1);
    expect(Math.max(...sizes.values())).toBeLessThanOrEqual(most);
    expect([...sizes.values()].reduce((a, b) => a + b)).toBe(count);
  });

  it("are the same each time, and each point its own where there are as many", async () => {
    const again = () => groupPoints(points, 40, options).then(({ groupOf }) => [...groupOf]);
    expect(await again()).toEqual(await again());
    const few = { count: 7, size, values: values.slice(0, 7 * size), weights: weights.slice(0, 7) };
    expect(new Set((await groupPoints(few, 7, options)).groupOf).size).toBe(7);
  });

  it("take points that are all the same", async () => {
    const same = {
      count: 9,
      size: 2,
      values: new Float32Array(18).fill(1),
      weights: new Float64Array(9).fill(1),
    };
    const { groupOf } = await groupPoints(same, 3, {
      ...options,
      backend: createReferenceBackend(),
      most: 3,
    });
    expect(groupOf.length).toBe(9);
    expect(Math.max(...groupOf)).toBeLessThan(3);
  });
});

describe("biases of codes", () => {
  it("give each code the mean probability that the dense head gives it", () => {
    const random = createRandom(9);
    const [states, codes] = [200, 13];
    const scores = Float32Array.from({ length: states * codes }, () => 2 * random.normal());
    const values = new Float32Array(states * codes);
    for (let n = 0; n < states; n++) {
      const row = Array.from({ length: codes }, () => Math.exp(2 * random.normal()));
      const total = row.reduce((a, b) => a + b);
      for (let j = 0; j < codes; j++) values[n * codes + j] = row[j] / total;
    }
    const bias = fitBias(scores, { states, codes, values });
    for (let j = 0; j < codes; j++) {
      let [ours, theirs] = [0, 0];
      for (let n = 0; n < states; n++) {
        const weights = Array.from({ length: codes }, (_, i) => Math.exp(scores[n * codes + i] + bias[i]));
        ours += weights[j] / weights.reduce((a, b) => a + b);
        theirs += values[n * codes + j];
      }
      expect(ours / theirs).toBeCloseTo(1, 2);
    }
  });
});
