/**
 * Golden vectors and worked examples of the fusion catalogue (../shared/vectors/fusion.json, ten digits), and what JSON
 * goes in and out.
 */
import { describe, expect, it } from "vitest";
import { nodeFeatures } from "../../src/decoding/score/graph-on-logits.ts";
import { standardized } from "../../src/decoding/score/standardize.ts";
import { projected } from "../../src/decoding/score/x-token.ts";
import {
  SCORE_NAMES,
  type ScoreInput,
  type ScoreName,
  score,
  scoreInfo,
  scoreJson,
} from "../../src/decoding/score.ts";

/** Logits with these probabilities, up to a factor. */
const ln = (...weights: number[]) => Float64Array.from(weights, Math.log);

/** Half a unit of the tenth digit. */
const TEN_DIGITS = 5.0001e-11;

/** Name of the vector, of the score, the value; what it is of. */
type Golden = readonly [string, ScoreName, number, ScoreInput, object?];

const P = ln(0.5, 0.25, 0.25);
const Q = ln(0.25, 0.25, 0.5);
const CONFIDENCE = { row: ln(8, 1, 1) };
const STUDENT = { row: ln(1, 2, 5), reference: ln(2, 6, 2) };
const ONLINE = { row: Float64Array.of(1, 3, 2, 0, -1) };
const CLAMPED = { row: ln(8, 1, 1), reference: ln(1, 1, 1) };

const GOLDEN: readonly Golden[] = [
  // KL(tuned ‖ base) of Dynamic Logits Fusion, and the other way round; the reference is what is summed over.
  ["dlf_single", "kl", 0.1732867951, { reference: P, row: Q }],
  ["dlf_single", "reverse-kl", 0.1732867951, { reference: P, row: Q }],
  ["dlf_single k1", "kl", 0.1226399292, { reference: ln(8, 2, 1), row: P }],
  ["dlf_single k2", "reverse-kl", 0.145166936, { reference: ln(8, 2, 1), row: P }],
  ["dlf_clamped c1", "reverse-kl", 0.459580429, CLAMPED],
  ["dlf_clamped c2", "kl", 0.5108256238, CLAMPED],
  ["dlf_multi e1", "kl", 0.4032066025, { reference: ln(1, 4, 1), row: ln(1, 1, 2) }],
  ["dlf_multi e2", "reverse-kl", 0.4054651081, { reference: ln(1, 4, 1), row: ln(1, 1, 2) }],
  ["confidence", "max-logit", 2.0794415417, CONFIDENCE],
  ["confidence", "max-probability", 0.8, CONFIDENCE],
  ["confidence", "energy", -Math.LN10, CONFIDENCE],
  ["confidence", "energy", -3.1490415352, CONFIDENCE, { temperature: 2 }],
  ["confidence", "entropy", 0.6390318597, CONFIDENCE],
  ["confidence", "margin", 0.7, CONFIDENCE],
  ["confidence", "escort-entropy", 0.1567984188, CONFIDENCE],
  ["amu", "kurtosis", 0.6666666667, CONFIDENCE],
  [
    "jei_gate",
    "jei-gate",
    0.7318776054,
    CONFIDENCE,
    { maxProbability: 3, entropy: -1, margin: 2, escortEntropy: -1, bias: -2 },
  ],
  ["nan_norm", "nan", 2, { row: Float32Array.of(2, 0, 1, 0, 3) }],
  ["nudging", "max-probability", 0.25, { row: ln(1, 1, 1, 1) }],
  ["nudging", "max-probability", 0.4, { row: ln(4, 3, 2, 1) }],
  [
    "truncated_source",
    "total-variation",
    0.0979477612,
    {
      row: ln(
        0.4477611940298507,
        0.4029850746268657,
        0.0895522388059701,
        0.0298507462686567,
        0.0298507462686567,
      ),
      reference: ln(100, 90, 45, 4, 1),
    },
  ],
  ["aligndistil", "total-variation", 0.4 / 2, { row: ln(4, 4, 2), reference: ln(6, 3, 1) }],
  ["specdec", "acceptance", 0.705, { row: ln(0.7, 0.005, 0.295), reference: ln(0.5, 0.3, 0.2) }],
  [
    "spec_contrastive",
    "acceptance",
    0.2719512195,
    {
      row: ln(0.6, 0.1, 0.05, 0.05, 0.2),
      reference: ln(5, 18, 18, 0, 0),
    },
  ],
  ["rsd", "threshold-acceptance", 0.7, { row: ln(0.7, 0.005, 0.295), reference: ln(0.5, 0.3, 0.2) }],
  ["cce_online", "log-partition", 3.4519143959, ONLINE],
  ["cce_online", "nll", 1.4519143959, { ...ONLINE, token: 2 }],
  ["cce_filter", "significant-tokens", 1, { row: Float64Array.of(10, 0, -1, -2) }],
  ["logit_zloss_palm", "palm-z-loss", 0.0011915713, ONLINE],
  ["nkd", "nkd", 2.3123373862, { ...STUDENT, token: 1 }],
  ["pld", "pld", 1.1901285105, { ...STUDENT, token: 1 }],
  ["dhkd_binarykl_norm", "dhkd", 0.3128109694, STUDENT],
  ["dhkd_binarykl", "binary-kl", 0.2904498666, STUDENT],
  ["logitstd_kd_T2", "standardized-kd", 0.7617581623, STUDENT],
  ["zscore", "standardized-kd", 0.1168909618, { row: [2, 1, 3], reference: [1, 2, 6] }],
  ["zloss_a1_b0", "z-loss", 0.222656868, { row: [1, 2, 6], token: 2 }],
  ["zloss_a1_b0", "z-loss", 1.2595789134, { row: [1, 2, 6], token: 0 }],
  ["dice_self_adj", "dice", 0.3714285714, { row: ln(1, 3), token: 0 }, { alpha: 1, smooth: 1 }],
  // Of the proxy that min-p 0.1 leaves.
  ["k3_estimator", "lp-reg", 0.0002054559, { row: ln(0.6, 0.3, 0.08, 0.015, 0.005), token: 2 }, { rho: 0.1 }],
  [
    "k3_estimator",
    "k3",
    0.0002054559,
    {
      row: ln(0.6, 0.3, 0.08, 0.015, 0.005),
      reference: ln(0.6, 0.3, 0.08, 0, 0),
      token: 2,
    },
  ],
  [
    "gld",
    "graph-on-logits",
    0.75,
    {
      row: [
        [3, 1, 0, 0],
        [0, 2, 2, 1],
      ],
      reference: [
        [2, 2, 0, 1],
        [1, 0, 1, 0],
      ],
    },
    { k: 2 },
  ],
  [
    "gld",
    "graph-on-logits",
    0.875,
    {
      row: [
        [3, 1, 0, 0],
        [0, 2, 2, 1],
      ],
      reference: [
        [2, 2, 0, 1],
        [1, 0, 1, 0],
      ],
    },
    { k: 2, order: 2 },
  ],
  [
    "xtoken_pkl_topk2",
    "p-kl",
    0.0077958082,
    {
      row: ln(0.55, 0.3, 0.1, 0.05),
      reference: ln(0.6, 0.25, 0.1, 0.05),
      projection: { offsets: [0, 1, 2, 3, 4], tokens: [0, 1, 2, 3], weights: [1, 1, 1, 1] },
    },
    { k: 2 },
  ],
];

describe("golden vectors", () => {
  for (const [vector, name, expected, input, options] of GOLDEN) {
    it(`${vector}: ${name} = ${expected}`, () => {
      const { value } = score(name, input, options as never);
      // The vectors have ten decimals.
      expect(Math.abs(value - expected)).toBeLessThanOrEqual(TEN_DIGITS);
    });
  }

  it("of scores in parts", () => {
    const { parts } = score("nkd", { ...STUDENT, token: 1 });
    expect(Math.abs(parts!.target - 0.8317766167)).toBeLessThanOrEqual(TEN_DIGITS);
    expect(Math.abs(parts!.nonTarget - 1.4805607695)).toBeLessThanOrEqual(TEN_DIGITS);
    const gate = { maxProbability: 3, entropy: -1, margin: 2, escortEntropy: -1, bias: -2 };
    const { logit } = score("jei-gate", CONFIDENCE, gate).parts!;
    expect(Math.abs(logit - 1.0041697216)).toBeLessThanOrEqual(TEN_DIGITS);
  });

  it("of H-KL's tail", () => {
    // What is not common sums to 0.08 of 1 and 0.1 of 1: the rest is common.
    const row = ln(0.92, 0.01, 0.05, 0.02);
    const reference = ln(0.9, 0.07, 0.03);
    const { value, parts } = score("h-kl", { row, reference, common: [[0, 0]] });
    expect(parts!.uncommon).toBeCloseTo(0.04, 12);
    expect(value).toBeCloseTo(0.04 + 0.9 * Math.log(0.9 / 0.92), 12);
  });

  it("of intermediate results", () => {
    expect(
      Array.from(nodeFeatures([Float64Array.of(3, 1, 0, 0), Float64Array.of(0, 2, 2, 1)], 2, 4)),
    ).toEqual([3, 3, 2, 0]);
    expect(
      Array.from(nodeFeatures([Float64Array.of(2, 2, 0, 1), Float64Array.of(1, 0, 1, 0)], 2, 4)),
    ).toEqual([2.5, 2, 0.5, 0]);
    const unbiased = standardized(Float64Array.of(1, 2, 6), 1, 0);
    [-0.7559289174, -0.3779644587, 1.1338933762].forEach((z, i) => {
      // 1e-7 is part of the published formula, and of the vector's last digits.
      expect(Math.abs(unbiased[i] - z)).toBeLessThan(1e-7);
    });
    const biased = standardized(Float64Array.of(1, 2, 6), 0, 0);
    [-0.9258200998, -0.4629100499, 1.3887301497].forEach((z, i) => {
      expect(Math.abs(biased[i] - z)).toBeLessThanOrEqual(TEN_DIGITS);
    });
    const projection = { offsets: [0, 1, 3, 4], tokens: [0, 1, 2, 3], weights: [1, 10 / 11, 1 / 11, 1] };
    [0.5, 0.2727272727, 0.0272727273, 0.2].forEach((p, i) => {
      const projectedRow = projected(ln(0.5, 0.3, 0.2), projection, 4, 1);
      expect(Math.abs(projectedRow[i] - p)).toBeLessThanOrEqual(TEN_DIGITS);
    });
  });
});

describe("closed forms by hand, to 1e-12", () => {
  const cases: readonly (readonly [string, number, number])[] = [
    ["kl", score("kl", { reference: P, row: Q }).value, Math.LN2 / 4],
    ["entropy", score("entropy", CONFIDENCE).value, Math.log(10) - 0.8 * Math.log(8)],
    ["energy", score("energy", CONFIDENCE).value, -Math.log(10)],
    ["energy", score("energy", CONFIDENCE, { temperature: 2 }).value, -2 * Math.log(Math.sqrt(8) + 2)],
    ["margin", score("margin", CONFIDENCE).value, 0.7],
    ["logit-gap", score("logit-gap", CONFIDENCE).value, Math.log(8)],
    ["escort-entropy", score("escort-entropy", CONFIDENCE).value, Math.log(66) - (64 / 66) * Math.log(64)],
    ["renyi-entropy", score("renyi-entropy", CONFIDENCE).value, -Math.log(0.66)],
    ["kl-to-uniform", score("kl-to-uniform", CONFIDENCE).value, Math.log(0.3) + 0.8 * Math.log(8)],
    ["kurtosis", score("kurtosis", CONFIDENCE).value, 2 / 3],
    ["kurtosis", score("kurtosis", CONFIDENCE, { ddof: 0 }).value, 1.5],
    [
      "nkd",
      score("nkd", { ...STUDENT, token: 1 }).value,
      0.6 * Math.log(4) - 0.75 * (Math.log(1 / 6) + Math.log(5 / 6)),
    ],
    ["pld", score("pld", { ...STUDENT, token: 1 }).value, 0.6 * Math.log(4) + 0.2 * Math.log(6)],
    ["dice", score("dice", { row: ln(1, 3), token: 0 }, { alpha: 1, smooth: 1 }).value, 13 / 35],
    [
      "lp-reg",
      score("lp-reg", { row: ln(60, 30, 8, 1.5, 0.5), token: 2 }, { rho: 0.1 }).value,
      1 / 0.98 - 1 + Math.log(0.98),
    ],
    ["rank", score("rank", { row: [5, 7, 5, 7, 9], token: 2 }).value, 5],
    ["cross-entropy", score("cross-entropy", { reference: P, row: Q }).value, 1.75 * Math.LN2],
    ["acceptance", score("acceptance", { reference: P, row: Q }).value, 0.75],
    ["jensen-shannon", score("jensen-shannon", { row: ln(1, 0), reference: ln(0, 1) }).value, Math.LN2],
    [
      "top-k-agreement",
      score("top-k-agreement", { row: [4, 3, 2, 1], reference: [1, 4, 3, 2] }, { k: 2 }).value,
      0.5,
    ],
  ];
  it.each(cases)("%s", (_, value, expected) => {
    expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-12);
  });

  it("USKD of three tokens", () => {
    // q = 1/8, 2/8, 5/8; w = 2/10, 6/10, 2/10; token 1. By ln q the order is 1, 2, 0, so the others have 1/2 and 1/3.
    const { value, parts } = score("uskd", { ...STUDENT, token: 1 });
    const target = Math.log(4);
    const nonTarget = 0.1 * (0.6 * Math.log(6 / 5) + 0.4 * Math.log(6));
    const weak = 0.005 * -((0.9 + 0.1 / 3) * Math.log(0.6) + (0.2 / 3) * Math.log(0.2));
    expect(parts!.target).toBeCloseTo(target, 12);
    expect(parts!.nonTarget).toBeCloseTo(nonTarget, 12);
    expect(parts!.weak).toBeCloseTo(weak, 12);
    expect(value).toBeCloseTo(target + nonTarget + weak, 12);
    const batch = score("uskd", { ...STUDENT, token: 1 }, { meanSquare: 0.5, beta: 0, mu: 0 });
    expect(batch.value).toBeCloseTo((1 + 1 / 16 - 1 / 2) * Math.log(4), 12);
    // By q the order is 2, 1, 0: 5/8/(1 − 2/8) + 0.2/0.4 is above 2/8/(1 − 2/8) + 0.6/0.4? 1.33 < 1.83: again 1, 2, 0.
    const byProbability = score("uskd", { ...STUDENT, token: 1 }, { ranking: "probability" });
    expect(byProbability.parts!.nonTarget).toBeCloseTo(nonTarget, 12);
  });
});

describe("scoreInfo", () => {
  it("says what every score needs, and that is enough", () => {
    const all: ScoreInput = {
      row: [0.5, 2, 1],
      reference: [1, 2, 0],
      token: 1,
      projection: { offsets: [0, 1, 2, 3], tokens: [0, 1, 2], weights: [1, 1, 1] },
      common: [[0, 0]],
    };
    for (const name of SCORE_NAMES) {
      const { needs, source, formula, options } = scoreInfo(name);
      expect(source, name).toMatch(/^\w.{7,}/);
      expect(formula, name).toMatch(/^.{5,}/);
      const input = Object.fromEntries(needs.map((field) => [field, all[field]])) as unknown as ScoreInput;
      const given = options ?? { maxProbability: 1, entropy: 1, margin: 1, escortEntropy: 1, bias: 1 };
      expect(Number.isFinite(score(name, input, given as never).value), name).toBe(true);
      for (const field of needs) {
        expect(() => score(name, { ...input, [field]: undefined }, given as never), name).toThrow(
          `"${field}"`,
        );
      }
    }
  });

  it("has the options with the constants of their sources", () => {
    expect(scoreInfo("nkd").options).toEqual({ gamma: 1.5, temperature: 1 });
    expect(scoreInfo("standardized-kd").options).toEqual({ temperature: 2, ddof: 1, epsilon: 1e-7 });
    expect(scoreInfo("nll").options).toEqual({});
    expect(scoreInfo("jei-gate").options).toBeNull();
  });
});

describe("scoreJson", () => {
  it("computes several scores of one position", () => {
    const request = {
      scores: ["nll", { score: "energy", temperature: 2 }, { score: "nkd" }],
      row: [0, Math.log(2), Math.log(5)],
      reference: [Math.log(2), Math.log(6), Math.log(2)],
      token: 1,
    };
    const results = scoreJson(JSON.parse(JSON.stringify(request)));
    expect(results.map(({ score: name }) => name)).toEqual(["nll", "energy", "nkd"]);
    expect(results[0].value).toBeCloseTo(Math.log(4), 12);
    expect(results[1]).toEqual(score("energy", { row: request.row }, { temperature: 2 }));
    expect(results[2]).toEqual(score("nkd", request));
  });

  it("writes and reads what JSON has no number for", () => {
    const request = { scores: ["nll", "kl"], row: [0, "-Infinity"], reference: [0, 0], token: 1 };
    expect(scoreJson(request)).toEqual([
      { score: "nll", value: "Infinity" },
      { score: "kl", value: "Infinity" },
    ]);
    expect(scoreJson({ ...request, scores: ["reverse-kl"] })).toEqual([
      { score: "reverse-kl", value: Math.LN2 },
    ]);
  });

  it("leaves the request as it was", () => {
    const request = { scores: ["entropy"], row: [0, "-Infinity", 1] };
    scoreJson(request);
    expect(request).toEqual({ scores: ["entropy"], row: [0, "-Infinity", 1] });
  });

  it.each([
    [null, 'request" must be an object, got null'],
    [{ row: [1] }, '"scores" must be an array, got undefined'],
    [{ scores: ["entropy"], rows: [[1]] }, '"request" may have "scores", "row"'],
    [{ scores: ["entropy"], row: [1, null] }, '"row[1]" must be a number or "-Infinity", got null'],
    [{ scores: ["entropy", "guess"], row: [1] }, '"scores[1].score" must be one of "nll"'],
    [{ scores: [{ score: "energy", temperature: 0 }], row: [1] }, '"scores[0].temperature" must be a number'],
    [
      { scores: [{ score: "energy", t: 0 }], row: [1] },
      '"scores[0]" may have "score", "temperature", got "t"',
    ],
    [{ scores: new Array(65).fill("entropy"), row: [1] }, '"scores" must have at most 64 entries, got 65'],
  ])("refuses %j", (request, message) => {
    expect(() => scoreJson(request)).toThrow(message);
  });
});
