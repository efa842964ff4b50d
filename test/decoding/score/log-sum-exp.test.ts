import { describe, expect, it } from "vitest";
import { type BlockHead, blockNll, OnlineLogSumExp, score } from "../../../src/decoding/score.ts";
import { createRandom } from "../../support/random.ts";

function randomRow(vocab: number, seed: number, scale = 4): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: vocab }, () => scale * random.normal());
}

const headOf = (row: Float32Array | Float64Array): BlockHead => ({
  vocab: row.length,
  logits: (start, end) => row.subarray(start, end),
});

/** max + ln Σ e^(z − max), with the sum of pairs of halves: another order and no running maximum. */
function naive(row: ArrayLike<number>, temperature = 1): number {
  const max = Array.from(row).reduce((a, b) => Math.max(a, b));
  const sum = (from: number, to: number): number => {
    if (to - from === 1) return Math.exp((row[from] - max) / temperature);
    const middle = (from + to) >>> 1;
    return sum(from, middle) + sum(middle, to);
  };
  return max / temperature + Math.log(sum(0, row.length));
}

function online(blocks: readonly ArrayLike<number>[], temperature = 1): OnlineLogSumExp {
  const lse = new OnlineLogSumExp(temperature);
  for (const block of blocks) lse.add(block);
  return lse;
}

describe("OnlineLogSumExp", () => {
  it("has the running maximum and sum of the worked example", () => {
    const lse = online([Float32Array.of(1, 3), Float32Array.of(2, 0), Float32Array.of(-1)]);
    expect(lse.max).toBe(3);
    expect(lse.sum).toBeCloseTo(1.5713174317, 10);
    expect(lse.value).toBeCloseTo(3.4519143959, 10);
    expect(lse.count).toBe(5);
  });

  it.each([1, 2, 3, 5, 16, 1000, 9973])("is the same to the last bit in blocks of %d", (size) => {
    const row = randomRow(9973, 7);
    const blocks = [];
    for (let start = 0; start < row.length; start += size) blocks.push(row.subarray(start, start + size));
    const cut = online(blocks);
    const whole = online([row]);
    expect([cut.max, cut.sum, cut.value]).toEqual([whole.max, whole.sum, whole.value]);
    expect(Math.abs(cut.value - naive(row))).toBeLessThan(1e-12);
  });

  it("keeps its digits over large vocabularies, also where every token is a new maximum", () => {
    const vocab = 262_144;
    const ascending = Float64Array.from({ length: vocab }, (_, i) => i * 1e-6);
    const rows = [randomRow(vocab, 1), ascending, ascending.slice().reverse(), new Float32Array(vocab)];
    for (const row of rows) expect(Math.abs(online([row]).value - naive(row))).toBeLessThan(1e-12);
    // Σ r^i in closed form: a geometric row.
    const geometric = (1 - Math.exp(-vocab * 1e-6)) / (1 - Math.exp(-1e-6));
    expect(online([ascending]).value).toBeCloseTo(ascending[vocab - 1] + Math.log(geometric), 9);
  });

  it("neither overflows nor counts what is impossible", () => {
    expect(online([Float64Array.of(1e4, 1e4)]).value).toBeCloseTo(1e4 + Math.LN2, 10);
    expect(online([Float64Array.of(-1e4, -1e4)]).value).toBeCloseTo(-1e4 + Math.LN2, 10);
    expect(online([[-Infinity, -Infinity], [2], [-Infinity]]).value).toBe(2);
    expect(online([[-Infinity, -Infinity]]).value).toBe(-Infinity);
    expect(online([]).value).toBe(-Infinity);
    expect(online([[1, 2, 5]], 2).value).toBeCloseTo(naive([1, 2, 5], 2), 14);
  });

  it("names the token that is no logit, and takes nothing of its block", () => {
    const lse = online([[1, 2, 3]]);
    const before = lse.value;
    expect(() => lse.add([9, NaN])).toThrow(
      new RangeError("Logits must be numbers below Infinity, got NaN at token 4"),
    );
    expect(() => lse.add([Infinity])).toThrow("got Infinity at token 3");
    expect([lse.value, lse.count]).toEqual([before, 3]);
    expect(() => new OnlineLogSumExp(0)).toThrow('"temperature" must be a number from 0.001 to 1000, got 0');
  });
});

describe("blockNll", () => {
  it.each([1, 7, 100, 4096, 5000])("is the score of the row, bit for bit, in blocks of %d", async (size) => {
    const row = randomRow(4999, 3);
    for (const token of [0, 6, 7, 99, 2500, 4998]) {
      expect(await blockNll(headOf(row), token, size)).toBe(score("nll", { row, token }).value);
    }
  });

  it("asks for each block once, in order, into a buffer that may be reused", async () => {
    const row = randomRow(10, 5);
    const asked: number[][] = [];
    const buffer = new Float32Array(4);
    const head: BlockHead = {
      vocab: 10,
      async logits(start, end) {
        asked.push([start, end]);
        buffer.set(row.subarray(start, end));
        return buffer.subarray(0, end - start);
      },
    };
    expect(await blockNll(head, 5, 4)).toBe(score("nll", { row, token: 5 }).value);
    expect(asked).toEqual([
      [0, 4],
      [4, 8],
      [8, 10],
    ]);
  });

  it("is infinite for a token without a chance", async () => {
    expect(await blockNll(headOf(Float32Array.of(1, -Infinity)), 1)).toBe(Infinity);
  });

  it("refuses what is no head, token or row", async () => {
    const row = Float32Array.of(1, 2, 3);
    await expect(blockNll(headOf(row), 3)).rejects.toThrow('"token" must be an integer from 0 to 2, got 3');
    await expect(blockNll(headOf(row), 0, 0)).rejects.toThrow('"blockSize" must be an integer from 1');
    await expect(blockNll({ vocab: 0, logits: () => row }, 0)).rejects.toThrow('"head.vocab" must be');
    await expect(blockNll({ vocab: 5, logits: () => row }, 0, 2)).rejects.toThrow(
      '"length of logits(0, 2)" must be an integer from 2 to 2, got 3',
    );
    await expect(blockNll(headOf(Float32Array.of(1, 2, NaN)), 0, 2)).rejects.toThrow("got NaN at token 2");
    await expect(blockNll(headOf(Float32Array.of(-Infinity)), 0)).rejects.toThrow(
      "above -Infinity, gave none",
    );
  });
});
