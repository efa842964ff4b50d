/** What must hold whatever the rows are: inequalities, symmetries, limits, the rules for −∞. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  SCORE_NAMES,
  type ScoreInput,
  type ScoreName,
  score,
  scoreInfo,
} from "../../../src/decoding/score.ts";
import { createRandom } from "../../support/random.ts";

/** Sixteenths, so that offsets by integers are exact; one in six tokens has no chance, the first always has one. */
const logit = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: -160, max: 160 }).map((n) => n / 16) },
  { weight: 1, arbitrary: fc.constant(-Infinity) },
);
const pairs = fc
  .integer({ min: 1, max: 40 })
  .chain((vocab) =>
    fc.record({
      row: fc.array(logit, { minLength: vocab, maxLength: vocab }),
      reference: fc.array(logit, { minLength: vocab, maxLength: vocab }),
      token: fc.integer({ min: 0, max: vocab - 1 }),
    }),
  )
  .map(({ row, reference, token }) => ({
    row: Float64Array.of(0.5, ...row),
    reference: Float64Array.of(0.25, ...reference),
    token,
  }));

const value = (name: ScoreName, input: ScoreInput, options: object = {}) =>
  score(name, input, options as never).value;
const swapped = ({ row, reference, token }: ScoreInput): ScoreInput => ({
  row: reference!,
  reference: row,
  token,
});
const GATE = { maxProbability: 1.5, entropy: -0.5, margin: 0.25, escortEntropy: -1, bias: 0.1 };
const optionsOf = (name: ScoreName) => (name === "jei-gate" ? GATE : {});

/** What all but the scores of two vocabularies take. */
const PLAIN = SCORE_NAMES.filter((name) => !["p-kl", "h-kl", "nan"].includes(name));
const same = (name: ScoreName, a: number, b: number) => {
  if (Number.isFinite(a) || Number.isFinite(b)) {
    expect(Math.abs(a - b), name).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(a)));
  } else expect(a, name).toBe(b);
};

describe("for all rows", () => {
  it("a score is a number or infinite, never NaN", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const ids = Array.from(input.row, (_, i) => i);
        const projection = { offsets: [...ids, ids.length], tokens: ids, weights: ids.map(() => 1) };
        const all = { ...input, projection, common: [[0, 0]] as const };
        for (const name of SCORE_NAMES) {
          if (name === "nan") continue;
          expect(value(name, all, optionsOf(name)), name).not.toBeNaN();
        }
      }),
    );
  });

  it("divergences are at least 0, and 0 of a row to itself", () => {
    const names = [
      "kl",
      "reverse-kl",
      "jeffreys",
      "jensen-shannon",
      "total-variation",
      "k3",
      "binary-kl",
      "dhkd",
      "standardized-kd",
      "graph-on-logits",
    ] as const;
    fc.assert(
      fc.property(pairs, (input) => {
        for (const name of names) {
          expect(value(name, input), name).toBeGreaterThanOrEqual(0);
          expect(value(name, { ...input, reference: input.row }), name).toBe(0);
        }
      }),
    );
  });

  it("what is symmetric does not know which row is which", () => {
    const names = [
      "jeffreys",
      "jensen-shannon",
      "total-variation",
      "acceptance",
      "top-k-agreement",
      "dhkd",
    ] as const;
    fc.assert(
      fc.property(pairs, (input) => {
        for (const name of names) same(name, value(name, input), value(name, swapped(input)));
        same("kl", value("kl", input), value("reverse-kl", swapped(input)));
        same("graph-on-logits", value("graph-on-logits", input), value("graph-on-logits", swapped(input)));
      }),
    );
  });

  it("bounds hold: Pinsker, ln 2, ln V, and between total variation and its kin", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const tv = value("total-variation", input);
        expect(tv).toBeLessThanOrEqual(1);
        expect(value("kl", input)).toBeGreaterThanOrEqual(2 * tv * tv - 1e-12);
        same("acceptance", value("acceptance", input), 1 - tv);
        const js = value("jensen-shannon", input);
        expect(js).toBeLessThanOrEqual(Math.LN2);
        // Lin 1991.
        expect(js).toBeLessThanOrEqual(tv * Math.LN2 + 1e-12);
        expect(js).toBeGreaterThanOrEqual(0.5 * tv * tv - 1e-12);
        const h = value("entropy", input);
        expect(h).toBeLessThanOrEqual(Math.log(input.row.length) + 1e-12);
        same("kl-to-uniform", value("kl-to-uniform", input), Math.log(input.row.length) - h);
        expect(value("nll", input)).toBeGreaterThanOrEqual(0);
        expect(value("dice", input)).toBeGreaterThanOrEqual(0);
        expect(value("dice", input)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("cross-entropy is entropy and divergence", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const h = value("entropy", { row: input.reference });
        same("cross-entropy", value("cross-entropy", input), h + value("kl", input));
        same("entropy", value("cross-entropy", { ...input, reference: input.row }), value("entropy", input));
      }),
    );
  });

  it("Renyi's entropy falls with the order, from the logarithm of the support to that of the best", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const orders = [0, 0.3, 0.5, 0.9, 1 - 1e-9, 1, 1 + 1e-9, 1.2, 1.5, 2, 10, 1000];
        const entropies = orders.map((order) => value("renyi-entropy", input, { order }));
        entropies.slice(1).forEach((entropy, i) => {
          expect(entropy, `order ${orders[i + 1]}`).toBeLessThanOrEqual(entropies[i] + 1e-12);
        });
        same("renyi-entropy", entropies[0], Math.log(input.row.filter((z) => z > -Infinity).length));
        same("renyi-entropy", entropies[5], value("entropy", input));
        expect(Math.abs(entropies[4] - entropies[6])).toBeLessThan(1e-7);
        const least = -Math.log(value("max-probability", input));
        expect(entropies[11]).toBeGreaterThanOrEqual(least - 1e-12);
        expect(entropies[11]).toBeLessThanOrEqual((1000 / 999) * least + 1e-12);
      }),
    );
  });

  it("an offset changes nothing, but in the scores of the logits themselves", () => {
    const changed = new Set<ScoreName>([
      "max-logit",
      "log-partition",
      "energy",
      "palm-z-loss",
      "binary-kl",
      "dhkd",
      "graph-on-logits",
    ]);
    fc.assert(
      fc.property(pairs, fc.integer({ min: -1000, max: 1000 }), (input, offset) => {
        const moved = { ...input, row: input.row.map((z) => z + offset) };
        for (const name of PLAIN.filter((candidate) => !changed.has(candidate))) {
          same(name, value(name, input, optionsOf(name)), value(name, moved, optionsOf(name)));
        }
        same("max-logit", value("max-logit", moved), value("max-logit", input) + offset);
        expect(Math.abs(value("energy", moved) - value("energy", input) + offset)).toBeLessThan(1e-12 * 2048);
      }),
    );
  });

  it("a permutation of the tokens changes nothing, where none are equal", () => {
    const distinct = fc.integer({ min: 1, max: 30 }).map((vocab) => {
      const random = createRandom(vocab);
      const shuffled = () => {
        const list = Array.from({ length: vocab }, (_, i) => i / 4 - 3);
        for (let i = vocab - 1; i > 0; i--) {
          const j = random.below(i + 1);
          [list[i], list[j]] = [list[j], list[i]];
        }
        return list;
      };
      return { row: shuffled(), reference: shuffled(), token: random.below(vocab) };
    });
    fc.assert(
      fc.property(distinct, ({ row, reference, token }) => {
        const reversed = {
          row: [...row].reverse(),
          reference: [...reference].reverse(),
          token: row.length - 1 - token,
        };
        for (const name of PLAIN) {
          const options = optionsOf(name);
          same(name, value(name, { row, reference, token }, options), value(name, reversed, options));
        }
      }),
    );
  });

  it("standardized scores do not know the scale either", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const scaled = { ...input, row: input.row.map((z) => 8 * z - 3) };
        same("z-loss", value("z-loss", input), value("z-loss", scaled));
        const options = { epsilon: 0 };
        same(
          "standardized-kd",
          value("standardized-kd", input, options),
          value("standardized-kd", scaled, options),
        );
      }),
    );
  });

  it("a temperature is a scale", () => {
    fc.assert(
      fc.property(pairs, (input) => {
        const halved = {
          ...input,
          row: input.row.map((z) => z / 2),
          reference: input.reference.map((z) => z / 2),
        };
        for (const name of ["kl", "reverse-kl", "entropy", "total-variation", "cross-entropy"] as const) {
          same(name, value(name, input, { temperature: 2 }), value(name, halved));
        }
        same("energy", value("energy", input, { temperature: 2 }), 2 * value("energy", halved));
        same("escort-entropy", value("escort-entropy", halved), value("entropy", input));
      }),
    );
  });
});

describe("tokens without a chance", () => {
  const NONE = -Infinity;
  it.each<readonly [ScoreName, number, ScoreInput]>([
    // 0 · ln 0 = 0
    ["entropy", 0, { row: [3, NONE, NONE] }],
    ["kl", Math.LN2, { reference: [0, NONE], row: [0, 0] }],
    ["kl", 0, { reference: [0, NONE], row: [5, NONE] }],
    ["jensen-shannon", Math.LN2, { reference: [0, NONE], row: [NONE, 0] }],
    ["total-variation", 1, { reference: [0, NONE], row: [NONE, 0] }],
    ["acceptance", 0, { reference: [0, NONE], row: [NONE, 0] }],
    ["renyi-entropy", 0, { row: [3, NONE] }],
    // Not covered.
    ["kl", Infinity, { reference: [0, 0], row: [0, NONE] }],
    ["reverse-kl", Infinity, { reference: [0, NONE], row: [0, 0] }],
    ["jeffreys", Infinity, { reference: [0, NONE], row: [0, 0] }],
    ["cross-entropy", Infinity, { reference: [0, 0], row: [0, NONE] }],
    // By the support, not by what underflows: e^-2000 is 0 in f64.
    ["kl", Infinity, { reference: [0, -2000], row: [0, NONE] }],
    ["nll", 2000, { row: [0, -2000], token: 1 }],
    ["nll", Infinity, { row: [0, NONE], token: 1 }],
    ["k3", 0, { reference: [0, NONE], row: [0, NONE], token: 1 }],
    ["k3", Infinity, { reference: [0, 0], row: [0, NONE], token: 1 }],
    ["z-loss", Infinity, { row: [0, 1, NONE], token: 2 }],
    ["z-loss", Math.LN2, { row: [1, 1, NONE], token: 0 }],
    ["dice", 1 - 1e-4 / 1.0001, { row: [0, NONE], token: 1 }],
    ["rank", 3, { row: [0, NONE, NONE], token: 2 }],
    ["top-k-accuracy", 0, { row: [0, NONE], token: 1 }],
    ["lp-reg", 0, { row: [0, NONE], token: 1 }],
    ["margin", 1, { row: [0, NONE] }],
    ["logit-gap", Infinity, { row: [0, NONE] }],
    ["max-probability", 1, { row: [-7] }],
    ["kurtosis", 0, { row: [1, 1, 1] }],
    ["significant-tokens", 1, { row: [0, NONE] }],
    // Masked in both is no difference; masked in one is all of it.
    ["dhkd", 0, { reference: [1, NONE], row: [1, NONE] }],
    ["dhkd", Infinity, { reference: [1, NONE], row: [1, 0] }],
    ["binary-kl", Infinity, { reference: [1, 0], row: [1, NONE] }],
    ["binary-kl", 4 * Math.LN2, { reference: [1, NONE], row: [1, 0] }],
    ["standardized-kd", 0, { reference: [1, 2, NONE], row: [10, 30, NONE] }],
    ["standardized-kd", Infinity, { reference: [1, 2, 3], row: [10, 30, NONE] }],
    ["standardized-kd", 0, { reference: [4], row: [9] }],
    ["nkd", 0, { reference: [0], row: [3], token: 0 }],
    ["nkd", Infinity, { reference: [0, 0], row: [0, NONE], token: 0 }],
    ["nkd", 0, { reference: [0, NONE], row: [0, NONE], token: 0 }],
    ["uskd", 0, { reference: [0], row: [3], token: 0 }],
    ["uskd", Infinity, { reference: [0, 0], row: [0, NONE], token: 0 }],
    ["pld", 0, { reference: [0], row: [3], token: 0 }],
    ["pld", Infinity, { reference: [0, 0], row: [0, NONE], token: 0 }],
    ["pld", 0, { reference: [0, NONE], row: [0, NONE], token: 0 }],
    ["graph-on-logits", 0, { reference: [2, NONE], row: [NONE, 2] }],
    ["h-kl", Infinity, { reference: [0, 0], row: [0, NONE], common: [[1, 1]] }],
    ["nan", 0, { row: [0, 0] }],
  ])("%s is %d", (name, expected, input) => {
    // Of p-KL alike numbers differ in the last bit.
    expect(value(name, input)).toBeCloseTo(expected, 12);
  });

  it("top-k agreement is that of the tokens that are there", () => {
    expect(value("top-k-agreement", { row: [1, 2, NONE], reference: [2, 1, NONE] }, { k: 3 })).toBe(1);
    expect(value("top-k-agreement", { row: [1, 2, NONE], reference: [2, 1, 0] }, { k: 3 })).toBe(2 / 3);
    expect(value("top-k-agreement", { row: [1, 1, 1], reference: [0, 1, 2] }, { k: 1 })).toBe(0);
  });
});

describe("extremes", () => {
  it("rows of ±1e4 and of one hot token neither overflow nor are NaN", () => {
    const rows = [
      [1e4, -1e4, 0],
      [-1e4, 1e4, 1e4],
      [0, 0, 1e4],
      [3e38, -3e38, 0],
    ];
    for (const row of rows) {
      for (const reference of rows) {
        for (const name of PLAIN) {
          expect(value(name, { row, reference, token: 1 }, optionsOf(name)), name).not.toBeNaN();
        }
      }
    }
    expect(value("kl", { row: [1e4, 0], reference: [0, 1e4] })).toBe(1e4);
  });

  it("a vocabulary of 262,144: uniform, and against a permutation of itself", () => {
    const vocab = 262_144;
    const uniform = new Float32Array(vocab);
    const random = createRandom(9);
    const row = Float32Array.from({ length: vocab }, () => 3 * random.normal());
    const reference = row.slice().reverse();
    for (const name of SCORE_NAMES) {
      if (!scoreInfo(name).needs.every((need) => ["row", "reference", "token"].includes(need))) continue;
      const input = { row, reference, token: 5 };
      expect(value(name, input, optionsOf(name)), name).toBeGreaterThan(-Infinity);
    }
    expect(value("entropy", { row: uniform })).toBeCloseTo(18 * Math.LN2, 12);
    expect(value("nll", { row: uniform, token: vocab - 1 })).toBeCloseTo(18 * Math.LN2, 12);
    expect(value("kl-to-uniform", { row: uniform })).toBeCloseTo(0, 12);
    expect(value("significant-tokens", { row: uniform }, { epsilon: 2 ** -18 })).toBe(vocab);
    // The entropy of both is the same, so the divergences differ by nothing.
    const forward = value("kl", { row, reference });
    expect(Math.abs(forward - value("reverse-kl", { row, reference }))).toBeLessThan(1e-11);
    expect(value("graph-on-logits", { row, reference }, { k: 100 })).toBeLessThan(1e-12);
  });
});
