import { describe, expect, it } from "vitest";
import { SCORE_NAMES, score } from "../../../src/decoding/score.ts";

const row = [1, 2, 3];
const pair = { row, reference: row };
const identity = { offsets: [0, 1, 2, 3], tokens: [0, 1, 2], weights: [1, 1, 1] };

describe("bad input", () => {
  const cases: readonly (readonly [string, () => unknown, string])[] = [
    ["an unknown score", () => score("guess" as never, { row }), `"score" must be one of nll, rank, `],
    ["a name of Object", () => score("toString" as never, { row }), 'got "toString"'],
    ["no name", () => score(3 as never, { row }), "got number"],
    ["no row", () => score("nll", {} as never), '"row" is needed by this score, got undefined'],
    ["no reference", () => score("kl", { row }), '"reference" is needed by this score, got undefined'],
    ["no token", () => score("nll", { row }), '"token" must be an integer, got undefined'],
    [
      "an empty row",
      () => score("entropy", { row: [] }),
      '"row.length" must be an integer from 1 to 1048576, got 0',
    ],
    [
      "a row that is too long",
      () => score("entropy", { row: new Float32Array(2 ** 20 + 1) }),
      '"row.length" must be',
    ],
    ["a row of text", () => score("entropy", { row: "123" as never }), '"row" must be an array, got string'],
    [
      "integers",
      () => score("entropy", { row: new Int32Array(3) as never }),
      '"row" must be an array, got object',
    ],
    [
      "text in a row",
      () => score("entropy", { row: [1, "2"] as never }),
      '"row[1]" must be a number or "-Infinity", got string',
    ],
    [
      "NaN",
      () => score("kl", { row, reference: Float32Array.of(1, 2, NaN) }),
      '"reference" must have no NaN, got NaN at token 2',
    ],
    [
      "NaN in an array",
      () => score("nll", { row: [NaN, 1], token: 1 }),
      '"row" must have no NaN, got NaN at token 0',
    ],
    [
      "infinity",
      () => score("nll", { row: [0, Infinity], token: 1 }),
      '"row" must have logits of at most 1e+100, got Infinity at token 1',
    ],
    ["too large a logit", () => score("nll", { row: [0, -1e101], token: 1 }), "got -1e+101 at token 1"],
    [
      "no token with a chance",
      () => score("entropy", { row: [-Infinity, -Infinity] }),
      '"row" must have a logit above -Infinity, has none',
    ],
    [
      "another vocabulary",
      () => score("kl", { row, reference: [1, 2] }),
      '"reference" must have as many logits as "row", 3, got 2',
    ],
    [
      "a token outside",
      () => score("nll", { row, token: 3 }),
      '"token" must be an integer from 0 to 2, got 3',
    ],
    [
      "half a token",
      () => score("nll", { row, token: 0.5 }),
      '"token" must be an integer from 0 to 2, got 0.5',
    ],
    [
      "an option out of range",
      () => score("energy", { row }, { temperature: 0 }),
      '"options.temperature" must be a number from 0.001 to 1000, got 0',
    ],
    [
      "an option of another kind",
      () => score("energy", { row }, { temperature: "1" as never }),
      '"options.temperature" must be a number, got string',
    ],
    [
      "an unknown option",
      () => score("energy", { row }, { t: 1 } as never),
      '"options" may have "temperature", got "t"',
    ],
    ["an option of a score without", () => score("nll", { row, token: 0 }, { k: 1 } as never), 'got "k"'],
    ["no options", () => score("energy", { row }, null as never), '"options" must be an object, got null'],
    [
      "a choice there is not",
      () => score("dice", { row, token: 0 }, { denominator: "cubic" as never }),
      '"options.denominator" must be one of "linear", "squared", got "cubic"',
    ],
    [
      "a gate without weights",
      () => score("jei-gate", { row }),
      '"options.maxProbability" must be a number, got undefined',
    ],
    ["a hidden state with infinity", () => score("nan", { row: [1, -Infinity] }), "got -Infinity at token 1"],
    [
      "rows where one is needed",
      () => score("entropy", { row: [row, row] }),
      '"row[0]" must be a number or "-Infinity", got object',
    ],
    [
      "positions of several sizes",
      () => score("graph-on-logits", { row: [row, [1]], reference: [row, row] }),
      '"row[1]" must have 3 logits as the first, got 1',
    ],
    [
      "NaN at a position",
      () => score("graph-on-logits", { row: [row, [1, NaN, 2]], reference: [row, row] }),
      '"row[1]" must have no NaN, got NaN at token 1',
    ],
    [
      "fewer positions",
      () => score("graph-on-logits", { row: [row, row], reference: [row] }),
      '"reference.length" must be an integer from 2 to 2, got 1',
    ],
    ["no projection", () => score("p-kl", pair), '"projection" must be an object, got undefined'],
    [
      "a projection without weights",
      () => score("p-kl", { ...pair, projection: { ...identity, weights: undefined as never } }),
      '"projection.weights" must be an array, got undefined',
    ],
    [
      "a projection of fewer weights",
      () => score("p-kl", { ...pair, projection: { ...identity, weights: [1] } }),
      '"projection.weights.length" must be an integer from 3 to 3, got 1',
    ],
    [
      "a projection of another vocabulary",
      () => score("p-kl", { ...pair, projection: { ...identity, offsets: [0, 3] } }),
      '"projection.offsets.length" must be an integer from 4 to 4, got 2',
    ],
    [
      "offsets that start late",
      () => score("p-kl", { ...pair, projection: { ...identity, offsets: [1, 1, 2, 3] } }),
      '"projection.offsets[0]" must be an integer from 0 to 0, got 1',
    ],
    [
      "offsets that fall",
      () => score("p-kl", { ...pair, projection: { ...identity, offsets: [0, 2, 1, 3] } }),
      '"projection.offsets[2]" must be an integer from 2 to 3, got 1',
    ],
    [
      "offsets that end early",
      () => score("p-kl", { ...pair, projection: { ...identity, offsets: [0, 1, 2, 2] } }),
      '"projection.offsets[3]" must be an integer from 3 to 3, got 2',
    ],
    [
      "a projection to nowhere",
      () => score("p-kl", { ...pair, projection: { ...identity, tokens: [0, 1, 3] } }),
      '"projection.tokens[2]" must be an integer from 0 to 2, got 3',
    ],
    [
      "a negative weight",
      () => score("p-kl", { ...pair, projection: { ...identity, weights: [1, -1, 1] } }),
      '"projection.weights[1]" must be a number from 0 to 1000000, got -1',
    ],
    ["no pairs", () => score("h-kl", pair), '"common" must be an array, got undefined'],
    [
      "a pair of three",
      () => score("h-kl", { ...pair, common: [[0, 1, 2]] as never }),
      '"common[0]" must have at most 2 entries, got 3',
    ],
    [
      "a pair of one",
      () => score("h-kl", { ...pair, common: [[0]] as never }),
      '"common[0].length" must be an integer from 2 to 2, got 1',
    ],
    [
      "a pair outside",
      () => score("h-kl", { ...pair, common: [[0, 3]] }),
      '"common[0][1]" must be an integer from 0 to 2, got 3',
    ],
    [
      "a token twice",
      () =>
        score("h-kl", {
          ...pair,
          common: [
            [0, 1],
            [0, 2],
          ],
        }),
      '"common[1][0]" must be in no other pair, got 0 again',
    ],
    [
      "a reference token twice",
      () =>
        score("h-kl", {
          ...pair,
          common: [
            [0, 1],
            [2, 1],
          ],
        }),
      '"common[1][1]" must be in no other pair, got 1 again',
    ],
  ];
  it.each(cases)("%s", (_, compute, message) => {
    expect(compute).toThrow(message);
  });

  it("of the wrong kind is a TypeError, of the wrong value a RangeError", () => {
    expect(() => score("nll", { row })).toThrow(TypeError);
    expect(() => score("nll", { row, token: 9 })).toThrow(RangeError);
    expect(() => score("nll", { row: [NaN], token: 0 })).toThrow(RangeError);
  });
});

describe("good input", () => {
  it("may be f32, f64 or an array, and stays as it was", () => {
    const f32 = Float32Array.of(0.5, -Infinity, 2);
    const f64 = Float64Array.from(f32);
    const array = [0.5, "-Infinity", 2] as const;
    for (const name of SCORE_NAMES) {
      if (["jei-gate", "nan", "p-kl", "h-kl"].includes(name)) continue;
      const values = [f32, f64, array].map(
        (typed) => score(name, { row: typed, reference: typed, token: 2 }).value,
      );
      expect(values[1], name).toBe(values[0]);
      expect(values[2], name).toBe(values[0]);
    }
    expect(Array.from(f32)).toEqual([0.5, -Infinity, 2]);
    expect(f64).toEqual(Float64Array.from(f32));
  });
});
