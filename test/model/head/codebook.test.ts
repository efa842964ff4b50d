import { describe, expect, it } from "vitest";
import { snapped } from "../../../src/backend/head-kernels.ts";
import { Codebook } from "../../../src/model/head/codebook.ts";
import type { LogitEdits } from "../../../src/model/head/codebook-edits.ts";
import { createRandom } from "../../support/random.ts";

interface Case {
  readonly book: Codebook;
  readonly scores: Float32Array;
  readonly row: Float64Array;
}

/** Few distinct scores and biases, so that many logits are equal. */
function makeCase(seed: number, vocab: number, codes: number, step: number): Case {
  const random = createRandom(seed);
  const coarse = (scale: number) => snapped(Math.round((scale * random.normal()) / step) * step);
  const codeOf = Array.from({ length: vocab }, () => random.below(codes));
  const bias = Array.from({ length: vocab }, () => coarse(1.5));
  const scores = Float32Array.from({ length: codes }, () => coarse(2));
  const book = new Codebook(codes, codeOf, bias);
  return { book, scores, row: Float64Array.from(codeOf, (code, i) => scores[code] + bias[i]) };
}

function editsOf(seed: number, { row }: Case): LogitEdits {
  const random = createRandom(seed);
  const tokens = [...row.keys()].filter(() => random.uniform() < 0.2);
  const kinds = [() => NaN, () => -Infinity, () => Infinity, () => 2 * random.normal(), () => 0.5];
  // Infinite logits take everything: in one case of four.
  const allowed = seed % 4 === 0 ? kinds : [kinds[0], kinds[1], kinds[3], kinds[4]];
  return { tokens, logits: tokens.map(() => allowed[random.below(allowed.length)]()) };
}

function edited(row: Float64Array, { tokens, logits }: LogitEdits): Float64Array {
  const all = row.slice();
  for (let i = 0; i < tokens.length; i++) {
    all[tokens[i]] = Number.isNaN(logits[i]) ? -Infinity : Math.min(logits[i], 3.4028234663852886e38);
  }
  return all;
}

/** Tokens by logit, then id, of those that have a chance. */
function ranking(row: Float64Array): number[] {
  return [...row.keys()].filter((id) => row[id] > -Infinity).sort((a, b) => row[b] - row[a] || a - b);
}

/** By the definition, in plain sums. */
function probabilities(row: Float64Array, temperature: number): { law: number[]; logZ: number } {
  const most = Math.max(...row);
  const weights = Array.from(row, (logit) => Math.exp((logit - most) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return { law: weights.map((w) => w / total), logZ: most / temperature + Math.log(total) };
}

const CASES = Array.from({ length: 24 }, (_, i) => {
  const vocab = [1, 2, 5, 40, 200][i % 5];
  const codes = [1, 3, 7, 64][(i >> 1) % 4];
  return makeCase(i + 1, vocab, codes, i % 3 === 0 ? 2 ** -12 : 0.5);
});

describe("a codebook against its row", () => {
  it("gives the best tokens in the order of the row, the lowest id first among equals", () => {
    for (const { book, scores, row } of CASES) {
      const order = ranking(row);
      expect(book.argmax(scores)).toBe(order[0]);
      for (const count of [0, 1, 3, row.length]) {
        const { ids, logits } = book.top(scores, count);
        expect([...ids]).toEqual(order.slice(0, count));
        expect([...logits]).toEqual(order.slice(0, count).map((id) => row[id]));
      }
    }
  });

  it("gives the partition of the row at any temperature", () => {
    for (const { book, scores, row } of CASES) {
      for (const temperature of [0.01, 0.7, 1, 3, 100]) {
        const { logZ } = probabilities(row, temperature);
        expect(book.logPartition(scores, temperature)).toBeCloseTo(logZ, 10);
      }
    }
  });

  it("does the same where some tokens have logits of their own", () => {
    for (const [i, one] of CASES.entries()) {
      const edits = editsOf(i + 1, one);
      const row = edited(one.row, edits);
      const order = ranking(row);
      const { ids, logits } = one.book.top(one.scores, row.length, edits);
      expect([...ids]).toEqual(order);
      expect([...logits]).toEqual(order.map((id) => Math.fround(row[id])));
      if (order.length === 0) {
        expect(one.book.logPartition(one.scores, 1, edits)).toBe(-Infinity);
        expect(() => one.book.draw(one.scores, { temperature: 1, seed: 1, position: 9 }, edits)).toThrow(
          "Cannot sample the token at position 9: no logit is above −∞",
        );
        continue;
      }
      expect(one.book.argmax(one.scores, edits)).toBe(order[0]);
      const { logZ } = probabilities(row, 0.8);
      const found = one.book.logPartition(one.scores, 0.8, edits);
      expect(Math.abs(found - logZ)).toBeLessThanOrEqual(1e-12 * Math.abs(logZ) + 1e-11);
    }
  });

  it("never draws a token that has no chance, and draws the best at temperature 0", () => {
    for (const [i, one] of CASES.entries()) {
      const edits = editsOf(i + 1, one);
      const order = ranking(edited(one.row, edits));
      const best = ranking(one.row)[0];
      for (let position = 0; position < 50; position++) {
        const place = { seed: 3, position };
        expect(one.book.draw(one.scores, { temperature: 0, ...place })).toBe(best);
        if (order.length === 0) continue;
        expect(order).toContain(one.book.draw(one.scores, { temperature: 1, ...place }, edits));
        expect(one.book.draw(one.scores, { temperature: 0, ...place }, edits)).toBe(order[0]);
      }
    }
  });
});

/** 99.99 % of the chi-square distribution, by Wilson and Hilferty. */
function chiSquareLimit(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.719 * Math.sqrt(spread)) ** 3;
}

function chiSquare(counts: Float64Array, law: readonly number[], draws: number): [number, number] {
  let sum = 0;
  let cells = 0;
  let [restCount, restShare] = [0, 0];
  for (let i = 0; i < law.length; i++) {
    const expected = law[i] * draws;
    if (expected < 10) {
      restCount += counts[i];
      restShare += expected;
      continue;
    }
    sum += (counts[i] - expected) ** 2 / expected;
    cells++;
  }
  if (restShare >= 10) {
    sum += (restCount - restShare) ** 2 / restShare;
    cells++;
  } else expect(restCount).toBeLessThan(60);
  return [sum, cells - 1];
}

describe("draws of a codebook", () => {
  it("have the law of the whole row: a million of them", () => {
    const { book, scores, row } = makeCase(77, 300, 24, 2 ** -12);
    const draws = 1_000_000;
    const temperature = 1.3;
    const counts = new Float64Array(row.length);
    for (let position = 0; position < draws; position++) {
      counts[book.draw(scores, { temperature, seed: 5, position })]++;
    }
    const [sum, degrees] = chiSquare(counts, probabilities(row, temperature).law, draws);
    expect(degrees).toBeGreaterThan(150);
    expect(sum).toBeLessThan(chiSquareLimit(degrees));
  });

  it("have it with tokens that stand alone", () => {
    const one = makeCase(78, 60, 9, 2 ** -12);
    const edits = { tokens: [0, 3, 17, 40], logits: [NaN, 1.5, 2, -0.5] };
    const draws = 60_000;
    const counts = new Float64Array(one.row.length);
    for (let position = 0; position < draws; position++) {
      counts[one.book.draw(one.scores, { temperature: 0.9, seed: 6, position }, edits)]++;
    }
    const [sum, degrees] = chiSquare(counts, probabilities(edited(one.row, edits), 0.9).law, draws);
    expect(sum).toBeLessThan(chiSquareLimit(degrees));
    expect(counts[0]).toBe(0);
  });

  it("tell how likely they and the best tokens are, whatever is edited at whatever temperature", () => {
    for (const [i, one] of CASES.entries()) {
      for (const temperature of [0.7, 0.02, 3, 0.7]) {
        const edits = editsOf(i + 1, one);
        const row = edited(one.row, edits);
        const order = ranking(row);
        const draw = { temperature, seed: i, position: 7 };
        const drawn = one.book.drawTold(one.scores, draw, 5, edits);
        if (order.length === 0) {
          expect(drawn).toBe(null);
          continue;
        }
        const most = row[order[0]];
        const weights = Array.from(row, (logit) => Math.exp((logit - most) / temperature));
        const total = weights.reduce((a, b) => a + b);
        const told = (token: number) => (row[token] - most) / temperature - Math.log(total);
        const near = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThan(1e-9 * (1 + Math.abs(b)));
        near(drawn!.logProbability, told(drawn!.token));
        const likely = order.slice(0, 5).filter((token) => told(token) > -700);
        expect(drawn!.top.slice(0, likely.length).map(({ token }) => token)).toEqual(likely);
        for (const { token, logProbability } of drawn!.top.slice(0, likely.length))
          near(logProbability, told(token));
        expect(one.book.draw(one.scores, draw, edits)).toBe(drawn!.token);
      }
    }
  });

  it("have it where the heaviest tokens of codes are edited, among many temperatures", () => {
    const codes = Array.from({ length: 40 }, (_, i) => i % 4);
    const bias = codes.map((_, i) => (i < 4 ? 60 : snapped(Math.sin(i))));
    const book = new Codebook(4, codes, bias);
    const scores = Float32Array.of(0.5, -0.25, 1, 0);
    const row = Float64Array.from(codes, (code, i) => scores[code] + bias[i]);
    const edits = { tokens: [0, 1, 2, 3, 9], logits: [NaN, -1, NaN, 0.5, 2] };
    const draws = 200_000;
    const counts = new Float64Array(row.length);
    for (let position = 0; position < draws; position++) {
      if (position % 1000 === 0) book.logPartition(scores, 0.5 + position / draws, edits);
      counts[book.draw(scores, { temperature: 1.5, seed: 9, position }, edits)]++;
    }
    const [sum, degrees] = chiSquare(counts, probabilities(edited(row, edits), 1.5).law, draws);
    expect(degrees).toBeGreaterThan(35);
    expect(sum).toBeLessThan(chiSquareLimit(degrees));
  });

  it("depend on seed and position alone", () => {
    const { book, scores } = makeCase(79, 100, 9, 0.5);
    const other = makeCase(79, 100, 9, 0.5).book;
    const at = (one: Codebook, seed: number, position: number) =>
      one.draw(scores, { temperature: 1, seed, position });
    const first = Array.from({ length: 40 }, (_, position) => at(book, 2 ** 40 + 1, position));
    const backwards = Array.from({ length: 40 }, (_, i) => at(other, 2 ** 40 + 1, 39 - i)).reverse();
    expect(backwards).toEqual(first);
    expect(Array.from({ length: 40 }, (_, position) => at(book, 1, position))).not.toEqual(first);
  });
});

describe("a codebook refuses", () => {
  it("codes and biases that are out of range", () => {
    expect(() => new Codebook(2, [0, 2], [0, 0])).toThrow('"codes[1]" must be an integer from 0 to 1, got 2');
    expect(() => new Codebook(2, [0, 1], [0, NaN])).toThrow(
      '"bias[1]" must be a number from -2048 to 2048, got NaN',
    );
    expect(() => new Codebook(2, [0, 1], [0])).toThrow("bias.length");
    expect(() => new Codebook(70_000, [0], [0])).toThrow(
      '"codes" must be an integer from 1 to 65536, got 70000',
    );
  });

  it("edits that are not ascending tokens", () => {
    const { book, scores } = makeCase(1, 5, 2, 0.5);
    expect(() => book.argmax(scores, { tokens: [3, 3], logits: [0, 0] })).toThrow(
      '"edits.tokens[1]" must be an integer from 4 to 4, got 3',
    );
    expect(() => book.top(scores, 1, { tokens: [5], logits: [0] })).toThrow(RangeError);
  });
});
