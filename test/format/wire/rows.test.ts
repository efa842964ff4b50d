/** What each encoding gives back, how near it is, and in how many bytes: against sums and bit patterns made here. */
import { describe, expect, it } from "vitest";
import { Fingerprint } from "../../../src/format/fingerprint.ts";
import { f16ToNumber } from "../../../src/format/half.ts";
import { decodeRow, type EncodedRow, encodeRow, encodeRows } from "../../../src/format/wire/index.ts";
import { readIds, readLattice, readTopK } from "../../../src/format/wire/sparse.ts";
import type { EncodingSpec } from "../../../src/format/wire/types.ts";
import {
  createRandom,
  holds,
  lawOf,
  maskedRow,
  modelRow,
  narrowBook,
  SPECS,
  totalVariation,
  wideBook,
} from "./support.ts";

const SIZES = [1, 2, 5, 31, 32, 33, 100, 257, 1000];

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const half = (data: Uint8Array, index: number) => f16ToNumber(data[2 * index] | (data[2 * index + 1] << 8));

function roundTrip(row: Float32Array, spec: EncodingSpec): { encoded: EncodedRow; decoded: Float32Array } {
  const encoded = encodeRow(row, spec);
  expect(encoded.vocab).toBe(row.length);
  const decoded = decodeRow(encoded);
  expect(decoded.length).toBe(row.length);
  return { encoded, decoded };
}

/** Calls back with rows of all sizes, with and without tokens that have no chance. */
function eachRow(body: (row: Float32Array) => void): void {
  for (const vocab of SIZES) {
    const random = createRandom(vocab + 5);
    for (let i = 0; i < 4; i++) {
      body(modelRow(random, vocab));
      body(maskedRow(random, vocab));
    }
  }
}

describe("bytes of", () => {
  const row = Float32Array.of(1, -Infinity, -2);

  it.each<[EncodingSpec, string]>([
    ["f32", "0000803f 000080ff 000000c0"],
    ["f16", "003c 00fc 00c0"],
    // −∞ is among them: the scale is above 3 / 254, with its sign set, and codes begin at 1.
    ["int8", "0da2 00c0 ff0001"],
    // 3 / 14 is not a half; the next one above is 0x32dc.
    ["int4", "dcb2 00c0 0f01"],
    // Shares e³ / (e³ + 1) and the rest: ln 0.95257 = −0.048587 and −3.048587, no tail.
    [{ encoding: "top-k", count: 2 }, "10 00000000 02 0001 38aa 19c2"],
    [{ encoding: "top-k", count: 1, precision: "f32" }, "20 a241423d 01 00 880347bd"],
    ["ids", "01 00"],
    [{ encoding: "ids", count: 9 }, "02 00 02"],
  ])("%j are drawn", (spec, expected) => {
    const start = expected.replaceAll(" ", "");
    const got = hex(encodeRow(row, spec).data);
    expect(got).toBe(start);
  });

  it("a lattice are gaps by Rice and counts by Elias", () => {
    // Probabilities 3/4 of token 5, 1/4 of token 0, in quarters.
    const row = new Float32Array(8).fill(-Infinity);
    [row[0], row[5]] = [Math.log(1), Math.log(3)];
    const { data } = encodeRow(row, { encoding: "lattice", resolution: 4 });
    // r = 0: gap 0 is 0, count 1 is 1; gap 4 is 11110, count 3 is 0 1 1.
    // r = 1: gap 0 is 0 0, count 1 is 1; gap 4 is 110 0, count 3 is 0 1 1; the first bit of each byte is the lowest.
    // r = 2: gap 0 is 0 00, count 1 is 1; gap 4 is 10 00, count 3 is 0 1 1.
    const bits = ["0111110011", "0011100011", "00011000011"][data[2]];
    const bytes = [bits.slice(0, 8), bits.slice(8)].map((text) => parseInt([...text].reverse().join(""), 2));
    expect([...data]).toEqual([4, 2, data[2], ...bytes]);
  });
});

it("bytes and what they decode to are those of version 1, in every engine", () => {
  const random = createRandom(9);
  const hash = new Fingerprint();
  for (const row of [modelRow(random, 5003), maskedRow(random, 777), modelRow(random, 64)]) {
    for (const spec of SPECS.filter((spec) => holds(spec, row))) {
      const { encoded, decoded } = roundTrip(row, spec);
      hash.addBytes(encoded.data);
      hash.addBytes(new Uint8Array(decoded.buffer));
      hash.addBytes(encodeRows([encoded]));
    }
  }
  expect(hash.toString()).toBe("4583dfbff2e3d3ec");
});

describe("f32", () => {
  it("is exact, −0 included", () => {
    eachRow((row) => expect(roundTrip(row, "f32").decoded).toEqual(row));
    expect(Object.is(roundTrip(Float32Array.of(-0), "f32").decoded[0], -0)).toBe(true);
  });
});

describe("f16", () => {
  it("is within 1/2048 of a logit", () => {
    eachRow((row) => {
      const { decoded } = roundTrip(row, "f16");
      row.forEach((z, token) => {
        if (z === -Infinity) expect(decoded[token]).toBe(z);
        else expect(Math.abs(decoded[token] - z)).toBeLessThanOrEqual(Math.max(Math.abs(z) / 2048, 2 ** -25));
      });
    });
  });

  it("keeps what lies too low for a half finite", () => {
    const row = Float32Array.of(3, -1e30, -65_520, -Infinity);
    expect([...roundTrip(row, "f16").decoded]).toEqual([3, -65_504, -65_504, -Infinity]);
  });
});

describe.each([
  ["int8", 255, 12],
  ["int4", 15, 10],
] as const)("%s", (encoding, levels, clip) => {
  it("is within half a scale, which the clip bounds, and raises what is clipped to its edge", () => {
    eachRow((row) => {
      const { encoded, decoded } = roundTrip(row, encoding);
      const blocks = Math.ceil(row.length / 32);
      const codes = levels === 255 ? row.length : Math.ceil(row.length / 2);
      expect(encoded.data.length).toBe(4 * blocks + codes);
      for (let block = 0; block < blocks; block++) {
        const some = row.subarray(32 * block, 32 * block + 32);
        const most = Math.max(...some);
        const scale = Math.abs(half(encoded.data, block));
        const minimum = half(encoded.data, blocks + block);
        if (most > -Infinity) {
          const place = Math.max(Math.abs(minimum), 2 ** -14) * 2 ** -9;
          expect(scale).toBeLessThanOrEqual(((clip + place) / (levels - 1)) * (1 + 2 ** -9) + 2 ** -24);
          expect(minimum).toBeLessThanOrEqual(
            Math.max(most - clip, Math.min(...some.filter(Number.isFinite))),
          );
        }
        some.forEach((z, i) => {
          const got = decoded[32 * block + i];
          if (z === -Infinity) expect(got).toBe(z);
          else if (z < minimum) expect(got).toBe(minimum);
          else
            expect(Math.abs(got - z)).toBeLessThanOrEqual(scale * 0.5001 + 2e-6 * Math.max(1, Math.abs(z)));
        });
      }
    });
  });

  it("adds at most 31 · e^−clip of a block's best by raising what is clipped", () => {
    const row = new Float32Array(32).fill(-1000);
    row[7] = 10;
    const { decoded } = roundTrip(row, encoding);
    const added = 1 - lawOf(decoded)[7];
    expect(added).toBeGreaterThan(0);
    expect(added).toBeLessThanOrEqual(31 * Math.exp(-clip) * 1.05);
  });

  it("keeps equal logits equal, and one that is alone", () => {
    const { decoded } = roundTrip(new Float32Array(40).fill(7.25), encoding);
    expect([...new Set(decoded)]).toEqual([7.25]);
    const alone = new Float32Array(33).fill(-Infinity);
    alone[32] = 1.5;
    expect(roundTrip(alone, encoding).decoded).toEqual(alone);
  });
});

describe("vq", () => {
  it.each([narrowBook, wideBook])("takes the nearest sum of codewords, stage after stage", (codebook) => {
    const { stages, count, dim, values } = codebook;
    const word = (stage: number, code: number) =>
      values.subarray((stage * count + code) * dim, (stage * count + code + 1) * dim);
    const row = modelRow(createRandom(3), 203);
    const { encoded, decoded } = roundTrip(row, { encoding: "vq", codebook });
    const groups = Math.ceil(row.length / dim);
    expect(encoded.data.length).toBe(4 + stages * groups * (count > 256 ? 2 : 1));
    const top = Math.max(...row);
    for (let group = 0; group < groups; group++) {
      let left = Array.from({ length: dim }, (_, d) => row[Math.min(group * dim + d, 202)] - top);
      for (let stage = 0; stage < stages; stage++) {
        const distances = Array.from({ length: count }, (_, code) =>
          word(stage, code).reduce((sum, value, d) => sum + (left[d] - value) ** 2, 0),
        );
        const at = stage * groups + group;
        const code =
          count > 256 ? encoded.data[4 + 2 * at] | (encoded.data[5 + 2 * at] << 8) : encoded.data[4 + at];
        expect(distances[code]).toBeLessThanOrEqual(Math.min(...distances) * (1 + 1e-5) + 1e-5);
        left = left.map((value, d) => value - word(stage, code)[d]);
      }
      for (let d = 0; d < dim && group * dim + d < row.length; d++) {
        expect(decoded[group * dim + d]).toBeCloseTo(row[group * dim + d] - left[d], 4);
      }
    }
  });

  it("has no place for −∞", () => {
    const spec = { encoding: "vq", codebook: narrowBook } as const;
    expect(() => encodeRow([0, -Infinity], spec)).toThrow(
      '"row" must have logits above −∞ for "vq", got −∞ at token 1',
    );
  });
});

describe("top-k", () => {
  it.each([
    ["f16", 2 ** -11],
    ["f32", 1e-6],
  ] as const)(
    "keeps the likeliest, with log-probabilities in %s, and the mass of the rest",
    (precision, error) => {
      eachRow((row) => {
        const count = 12;
        const { encoded, decoded } = roundTrip(row, { encoding: "top-k", count, precision });
        const law = lawOf(row);
        const possible = [...row.keys()].filter((token) => row[token] > -Infinity);
        const best = possible.sort((a, b) => row[b] - row[a] || a - b).slice(0, count);
        const { ids, logProbabilities, tailMass } = readTopK("row.data", encoded.data, row.length);
        expect([...ids]).toEqual(best.sort((a, b) => a - b));
        ids.forEach((token, i) => {
          const expected = Math.log(law[token]);
          expect(Math.abs(logProbabilities[i] - expected)).toBeLessThanOrEqual(
            error * Math.max(1e-3, -expected) + 1e-7,
          );
          expect(decoded[token]).toBe(logProbabilities[i]);
        });
        const rest = 1 - best.reduce((sum, token) => sum + law[token], 0);
        expect(tailMass).toBeCloseTo(rest, 6);
        if (possible.length <= count) expect(tailMass).toBe(0);
        const others = [...row.keys()].filter((token) => !best.includes(token));
        for (const token of others) {
          expect(Math.exp(decoded[token])).toBeCloseTo(tailMass / others.length, 7);
        }
        expect(totalVariation(row, decoded)).toBeLessThanOrEqual(rest + 0.005);
      });
    },
  );

  it("takes 2 bytes of log-probability and one or two of gap a token", () => {
    const { data } = encodeRow(modelRow(createRandom(1), 32_000), { encoding: "top-k", count: 64 });
    expect(data.length).toBeGreaterThanOrEqual(6 + 64 * 3);
    expect(data.length).toBeLessThanOrEqual(6 + 64 * 4);
  });
});

describe("lattice", () => {
  it("has multiples that sum to 1, each within one of its own probability", () => {
    eachRow((row) => {
      for (const [resolution, count] of [
        [1, undefined],
        [10, undefined],
        [1000, undefined],
        [100, 5],
      ]) {
        const { encoded, decoded } = roundTrip(row, { encoding: "lattice", resolution, count });
        const all = lawOf(row);
        const kept = [...row.keys()]
          .filter((token) => all[token] > 0)
          .sort((a, b) => row[b] - row[a] || a - b);
        const possible = new Set(count === undefined ? kept : kept.slice(0, count));
        const sum = [...possible].reduce((sum, token) => sum + all[token], 0);
        const lattice = readLattice("row.data", encoded.data, row.length);
        expect(lattice.counts.reduce((sum, count) => sum + count, 0)).toBe(resolution);
        const counts = new Map(Array.from(lattice.ids, (token, i) => [token, lattice.counts[i]]));
        for (const token of row.keys()) {
          const exact = possible.has(token) ? (all[token] / sum) * resolution! : 0;
          const got = counts.get(token) ?? 0;
          expect(Math.abs(got - exact)).toBeLessThan(1 + 1e-9);
          expect(decoded[token]).toBe(got === 0 ? -Infinity : Math.fround(Math.log(got / resolution!)));
        }
      }
    });
  });

  it("is the nearest point, of all there are", () => {
    for (let seed = 0; seed < 40; seed++) {
      const row = modelRow(createRandom(seed), 4);
      const law = lawOf(row);
      const resolution = 6;
      const distance = (counts: readonly number[]) =>
        counts.reduce((sum, count, i) => sum + Math.abs(count / resolution - law[i]), 0);
      let least = Infinity;
      for (let a = 0; a <= 6; a++)
        for (let b = 0; a + b <= 6; b++)
          for (let c = 0; a + b + c <= 6; c++) least = Math.min(least, distance([a, b, c, 6 - a - b - c]));
      const { ids, counts } = readLattice(
        "data",
        encodeRow(row, { encoding: "lattice", resolution }).data,
        4,
      );
      const point = [0, 0, 0, 0];
      ids.forEach((id, i) => {
        point[id] = counts[i];
      });
      expect(distance(point)).toBeCloseTo(least, 12);
    }
  });

  it("comes near the bits that its points take", () => {
    // log2 C(32000, 64) + log2 C(99, 63) bits are 832; a code that can be written as it comes takes some more.
    const row = modelRow(createRandom(2), 32_000);
    const { data } = encodeRow(row, { encoding: "lattice", resolution: 100, count: 64 });
    expect(data.length).toBeLessThan(135);
  });
});

describe("ids", () => {
  it("are the best ones, best first, and then equally likely", () => {
    eachRow((row) => {
      const { encoded, decoded } = roundTrip(row, { encoding: "ids", count: 4 });
      const best = [...row.keys()]
        .filter((token) => row[token] > -Infinity)
        .sort((a, b) => row[b] - row[a] || a - b);
      expect([...readIds("data", encoded.data, row.length)]).toEqual(best.slice(0, 4));
      const chosen = best.slice(0, 4);
      expect([...decoded]).toEqual([...row.keys()].map((token) => (chosen.includes(token) ? 0 : -Infinity)));
    });
    expect(encodeRow(modelRow(createRandom(2), 151_936), "ids").data.length).toBeLessThanOrEqual(4);
  });
});

describe("any encoding", () => {
  it("decodes to a row that encodes to itself, where it is exact on what it gives", () => {
    eachRow((row) => {
      for (const spec of SPECS.filter(({ encoding }) =>
        ["f32", "f16", "lattice", "ids"].includes(encoding),
      )) {
        const once = roundTrip(row, spec).decoded;
        if (holds(spec, once)) expect(roundTrip(once, spec).decoded).toEqual(once);
      }
    });
  });

  it("keeps the best token where its margin is above the error", () => {
    eachRow((row) => {
      const best = row.indexOf(Math.max(...row));
      const clear = row.map((z, token) => (token === best ? z + 4 : z));
      for (const spec of SPECS.filter(
        ({ encoding, ...rest }) => encoding !== "vq" && !("count" in rest && encoding === "ids"),
      )) {
        const { decoded } = roundTrip(clear, spec);
        expect(decoded.indexOf(Math.max(...decoded)), spec.encoding).toBe(best);
      }
    });
  });

  it.each([
    [[1, NaN, 2], "int8", '"row" must have logits below ∞, got NaN at token 1'],
    [[1, Infinity], "top-k", '"row" must have logits below ∞, got Infinity at token 1'],
    [[-Infinity, -Infinity], "f32", '"row" must have a logit above −∞, has none'],
    [[], "f16", '"row.length" must be an integer from 1 to 1048576, got 0'],
    ["logits", "f16", '"row" must be an array of logits, got string'],
    [[70_000, 1], "f16", '"row" must have its largest logit within ±60000 for "f16", got 70000'],
    [[-70_000], "int4", '"row" must have its largest logit within ±60000 for "int4", got -70000'],
    [[1], "f64", '"encoding" must be one of f32, f16, int8, int4, vq, top-k, lattice, ids, got "f64"'],
    [[1], null, '"encoding" must be one of f32, f16, int8, int4, vq, top-k, lattice, ids, got undefined'],
    [[1], { encoding: "int8", clip: -1 }, '"clip" must be a number from 0 to 1000, got -1'],
    [[1], { encoding: "top-k", count: 0 }, '"count" must be an integer from 1 to 1048576, got 0'],
    [[1], { encoding: "top-k", precision: "f64" }, '"precision" must be "f16" or "f32", got "f64"'],
    [
      [1],
      { encoding: "lattice", resolution: 0.5 },
      '"resolution" must be an integer from 1 to 16777216, got 0.5',
    ],
    [[1], { encoding: "vq" }, '"codebook" must be a codebook, got undefined'],
  ])("refuses %j as %j", (row, spec, message) => {
    expect(() => encodeRow(row as number[], spec as EncodingSpec)).toThrow(message);
  });
});
