import { describe, expect, it } from "vitest";
import { noise, noiseWords, philox4x32, STAGE, uniform } from "../src/philox.ts";

describe("philox4x32", () => {
  // The known answers that its authors publish with the code: kat_vectors of Random123, philox4x32 with 10 rounds.
  it.each([
    {
      counter: [0, 0, 0, 0],
      key: [0, 0],
      answer: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    },
    {
      counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      key: [0xffffffff, 0xffffffff],
      answer: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      answer: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ] as const)("gives the published answer for $counter", ({ counter, key, answer }) => {
    expect(philox4x32(counter, key)).toEqual(answer);
  });

  it("agrees with 64-bit arithmetic on the whole", () => {
    let state: [number, number, number, number] = [1, 2, 3, 4];
    for (let i = 0; i < 200; i++) {
      const key = [state[3], state[0]] as const;
      expect(philox4x32(state, key)).toEqual(exactPhilox(state, key));
      state = philox4x32(state, key);
    }
  });
});

/** The definition with bigint. */
function exactPhilox(counter: readonly number[], key: readonly number[]): number[] {
  const word = 2n ** 32n;
  let [c0, c1, c2, c3] = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 / word) ^ c1 ^ k0, p1 % word, (p0 / word) ^ c3 ^ k1, p0 % word];
    k0 = (k0 + 0x9e3779b9n) % word;
    k1 = (k1 + 0xbb67ae85n) % word;
  }
  return [c0, c1, c2, c3].map(Number);
}

describe("uniform", () => {
  it("is made of the counter's words, 53 bits of the first two", () => {
    const [a, b] = philox4x32([7, STAGE.xtc, 3, 0], [5, 2]);
    const bits = ((BigInt(a) >> 5n) << 26n) | (BigInt(b) >> 6n);
    expect(uniform(2 * 2 ** 32 + 5, 7, STAGE.xtc, 3)).toBe(Number(bits) / 2 ** 53);
  });

  it("is a function of all it takes", () => {
    const draws = [
      uniform(0, 0, 0),
      uniform(1, 0, 0),
      uniform(2 ** 32, 0, 0),
      uniform(Number.MAX_SAFE_INTEGER, 0, 0),
      uniform(0, 1, 0),
      uniform(0, 0, 1),
      uniform(0, 0, 0, 1),
    ];
    expect(new Set(draws).size).toBe(draws.length);
    expect(uniform(0, 0, 0)).toBe(draws[0]);
  });

  it("lies in [0, 1), evenly", () => {
    const cells = new Array<number>(16).fill(0);
    const count = 16_000;
    for (let position = 0; position < count; position++) {
      const value = uniform(42, position, STAGE.xtc);
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThan(1);
      cells[Math.floor(value * 16)]++;
    }
    // The chi-square of 15 degrees of freedom passes 37.7 once in a thousand seeds; this seed is fixed.
    const expected = count / 16;
    const chiSquare = cells.reduce((sum, cell) => sum + (cell - expected) ** 2 / expected, 0);
    expect(chiSquare).toBeLessThan(37.7);
  });
});

describe("noise", () => {
  it("is the token's word of its group of four, in the middle of its step: never 0 or 1", () => {
    const words = new Uint32Array(4);
    for (const seed of [0, 5, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER]) {
      for (const token of [0, 1, 6, 151_935, 2 ** 31 - 1]) {
        const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
        const group = Math.floor(token / 4);
        const expected = philox4x32([9, STAGE.gumbel, group, 0], key);
        expect(noise(seed, 9, token)).toBe((expected[token % 4] + 0.5) / 2 ** 32);
        noiseWords(words, seed, 9, group);
        expect(Array.from(words)).toEqual(expected);
      }
    }
  });
});
