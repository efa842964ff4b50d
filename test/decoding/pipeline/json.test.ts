/** What comes from outside: steps as JSON, and contexts. */
import { describe, expect, it } from "vitest";
import {
  createPipeline,
  fingerprint,
  type Row,
  STEP_NAMES,
  type Step,
} from "../../../src/decoding/pipeline.ts";
import { context, type Where } from "./support.ts";

/** One of each, with every field. */
const EVERY: Step[] = [
  { step: "bitmask" },
  { step: "allowed-ids", ids: [0, 1, 2, 3] },
  { step: "bad-words", words: [[1, 2], [3]], scope: "output", lastN: 5 },
  { step: "min-tokens", count: 3, endTokens: [0] },
  { step: "logit-bias", bias: { 0: -1.5, 2: 0.25 } },
  { step: "repetition-penalty", penalty: 1.1, scope: "all", lastN: 64 },
  { step: "frequency-penalty", penalty: 0.5, scope: "output", lastN: 0 },
  { step: "presence-penalty", penalty: -0.5, scope: "all", lastN: 0 },
  { step: "dry", multiplier: 0.8, base: 1.75, allowedLength: 2, lastN: 0, breakers: [[13], [1, 2]] },
  { step: "no-repeat-ngram", size: 3, scope: "all", lastN: 0 },
  { step: "dynamic-temperature", temperature: 1, range: 0.5, exponent: 1 },
  { step: "top-n-sigma", n: 2 },
  { step: "top-k", k: 40, ties: "lowest" },
  { step: "top-h", h: 0.9 },
  { step: "p-less" },
  { step: "typical", p: 0.9 },
  { step: "top-p", p: 0.95 },
  { step: "min-p", p: 0.05 },
  { step: "epsilon-cutoff", epsilon: 0.001 },
  { step: "eta-cutoff", epsilon: 0.001 },
  { step: "xtc", probability: 0.5, threshold: 0.1 },
  { step: "temperature", temperature: 0.8 },
  { step: "mirostat", tau: 5, eta: 0.1, m: 100 },
  { step: "mirostat-2", tau: 5, eta: 0.1 },
  { step: "confidence-limit", maxProbability: 0.9, minEntropy: 0.5 },
];

describe("createPipeline", () => {
  it("knows all steps, and gives back as JSON what it was given", () => {
    expect(EVERY.map(({ step }) => step).sort()).toEqual([...STEP_NAMES].sort());
    const pipeline = createPipeline(EVERY);
    expect(pipeline.steps).toEqual(EVERY);
    const again = createPipeline(JSON.parse(JSON.stringify(pipeline)));
    expect(again.steps).toEqual(EVERY);
    expect(fingerprint(again)).toBe(fingerprint(pipeline));
    expect(fingerprint(pipeline)).toMatch(/^[0-9a-f]{16}$/);
  });

  it("fills in defaults, and leaves out what changes nothing", () => {
    expect(createPipeline([{ step: "top-k", k: 3 }]).steps).toEqual([
      { step: "top-k", k: 3, ties: "lowest" },
    ]);
    const neutral: Step[] = [
      { step: "bad-words", words: [] },
      { step: "min-tokens", count: 0, endTokens: [1] },
      { step: "min-tokens", count: 4, endTokens: [] },
      { step: "logit-bias", bias: { 3: 0 } },
      { step: "repetition-penalty", penalty: 1 },
      { step: "frequency-penalty", penalty: 0 },
      { step: "presence-penalty", penalty: 0 },
      { step: "dry", multiplier: 0 },
      { step: "no-repeat-ngram", size: 0 },
      { step: "dynamic-temperature", temperature: 1, range: 0 },
      { step: "top-n-sigma", n: 0 },
      { step: "top-k", k: 0 },
      { step: "typical", p: 1 },
      { step: "top-p", p: 1 },
      { step: "min-p", p: 0 },
      { step: "epsilon-cutoff", epsilon: 0 },
      { step: "eta-cutoff", epsilon: 0 },
      { step: "xtc", probability: 0, threshold: 0.1 },
      { step: "xtc", probability: 1, threshold: 0.51 },
      { step: "temperature", temperature: 1 },
      { step: "confidence-limit" },
      { step: "confidence-limit", maxProbability: 1, minEntropy: 0 },
    ];
    expect(createPipeline(neutral).steps).toEqual([]);
    expect(fingerprint(createPipeline(neutral))).toBe(fingerprint(createPipeline([])));
  });

  it("has a fingerprint of order and values", () => {
    const steps: Step[][] = [
      [],
      [
        { step: "top-k", k: 3 },
        { step: "top-p", p: 0.5 },
      ],
      [
        { step: "top-p", p: 0.5 },
        { step: "top-k", k: 3 },
      ],
      [
        { step: "top-k", k: 4 },
        { step: "top-p", p: 0.5 },
      ],
      [
        { step: "top-k", k: 3, ties: "all" },
        { step: "top-p", p: 0.5 },
      ],
      [{ step: "logit-bias", bias: { 1: 2 } }],
      [{ step: "logit-bias", bias: { 2: 2 } }],
    ];
    expect(new Set(steps.map((list) => fingerprint(createPipeline(list)))).size).toBe(steps.length);
    const print = (step: Step) => fingerprint(createPipeline([step]));
    expect(print({ step: "allowed-ids", ids: [3, 1, 3] })).toBe(print({ step: "allowed-ids", ids: [1, 3] }));
  });

  it("cannot be changed behind its back", () => {
    const words = [[1]];
    const pipeline = createPipeline([{ step: "bad-words", words }]);
    words[0][0] = 2;
    words.push([3]);
    expect(pipeline.steps).toMatchObject([{ words: [[1]] }]);
    expect(() => Object.assign(pipeline.steps[0], { step: "top-k" })).toThrow(TypeError);
  });

  it.each<[unknown, string]>([
    [null, '"pipeline" must be an array, got null'],
    [{}, '"pipeline" must be an array, got object'],
    [new Array(65).fill({ step: "p-less" }), '"pipeline" must have at most 64 entries, got 65'],
    [[null], '"pipeline[0]" must be an object, got null'],
    [[[]], '"pipeline[0]" must be an object, got array'],
    [["top-k"], '"pipeline[0]" must be an object, got string'],
    [[{}], '"pipeline[0].step" must be one of "allowed-ids", '],
    [[{ step: "top-q" }], 'got "top-q"'],
    [[{ step: "constructor" }], 'got "constructor"'],
    [[{ step: 3 }], "got number"],
    [[{ step: "top-k" }], '"pipeline[0].k" must be an integer, got undefined'],
    [[{ step: "top-k", k: "3" }], '"pipeline[0].k" must be an integer, got string'],
    [[{ step: "top-k", k: -1 }], '"pipeline[0].k" must be an integer from 0 to 2147483647, got -1'],
    [
      [{ step: "top-k", k: 3, ties: "some" }],
      '"pipeline[0].ties" must be one of "lowest", "all", got "some"',
    ],
    [[{ step: "top-k", k: 3, p: 1 }], '"pipeline[0]" may have "step", "k", "ties", got "p"'],
    [
      [{ step: "p-less" }, { step: "top-p", p: 1.5 }],
      '"pipeline[1].p" must be a number from 0 to 1, got 1.5',
    ],
    [[{ step: "top-p", p: NaN }], "got NaN"],
    [[{ step: "temperature", temperature: Infinity }], "got Infinity"],
    [[{ step: "allowed-ids", ids: [1, -1] }], '"pipeline[0].ids[1]" must be an integer from 0'],
    [[{ step: "allowed-ids", ids: "1" }], '"pipeline[0].ids" must be an array, got string'],
    [[{ step: "bad-words", words: [[1], []] }], '"pipeline[0].words[1]" must have a token'],
    [[{ step: "bad-words", words: [1] }], '"pipeline[0].words[0]" must be an array, got number'],
    [[{ step: "dry", multiplier: 1, breakers: [new Array(21).fill(1)] }], "at most 20 entries, got 21"],
    [[{ step: "logit-bias", bias: { x: 1 } }], '"pipeline[0].bias" must have token ids as keys, got "x"'],
    [[{ step: "logit-bias", bias: { 1: Infinity } }], '"pipeline[0].bias.1" must be a number from -1000000'],
    [[{ step: "logit-bias", bias: [1] }], '"pipeline[0].bias" must be an object, got array'],
    [[{ step: "logit-bias", bias: { "01": 1 } }], 'got "01"'],
    [
      [{ step: "confidence-limit", maxProbability: 0 }],
      '"pipeline[0].maxProbability" must be a number from 1e-9',
    ],
    [[{ step: "confidence-limit", maxProbability: 1.1 }], "to 1, got 1.1"],
    [
      [{ step: "confidence-limit", minEntropy: -1 }],
      '"pipeline[0].minEntropy" must be a number from 0 to 20',
    ],
    [[{ step: "confidence-limit", minEntropy: "1" }], "must be a number, got string"],
  ])("refuses %j", (json, message) => {
    expect(() => createPipeline(json)).toThrow(message);
  });

  it("refuses lists without end", () => {
    const words = new Array(40_000).fill([1]);
    expect(() => createPipeline([{ step: "bad-words", words }])).toThrow("at most 32768 entries, got 40000");
  });
});

describe("context", () => {
  const row = new Float32Array(40);
  it.each<[Row, Step[], Where, string]>([
    [row, [], { promptLength: 1 }, '"promptLength" must be an integer from 0 to 0, got 1'],
    [row, [], { position: -1 }, '"position" must be an integer from 0 to 4294967295, got -1'],
    [row, [], { position: 2 ** 32 }, '"position" must be an integer from 0'],
    [row, [], { seed: -1 }, '"seed" must be an integer from 0 to 9007199254740991, got -1'],
    [row, [], { seed: 0.5 }, '"seed" must be an integer'],
    [row, [], { bitmask: Uint32Array.of(1, 1) }, '"bitmask" needs a step "bitmask" in the pipeline'],
    [
      row,
      [{ step: "bitmask" }],
      { bitmask: Uint32Array.of(1) },
      '"bitmask" must have 2 words for 40 tokens, got 1',
    ],
    [row, [{ step: "bitmask" }], { bitmask: new Uint32Array(2) }, 'step "bitmask" leaves no token'],
    [
      row,
      [{ step: "allowed-ids", ids: [40] }],
      { position: 7 },
      "Cannot sample the token at position 7: step",
    ],
    [new Float32Array(0), [], {}, "no logit of the row is above −∞"],
    [Float32Array.of(NaN, -Infinity), [], {}, "no logit of the row is above −∞"],
  ])("%#: is refused where it does not fit", (logits, steps, where, message) => {
    const pipeline = createPipeline(steps);
    expect(() => pipeline.distribution(logits, context(where))).toThrow(message);
  });

  it("of one call leaves nothing behind for the next, whatever its vocabulary", () => {
    const pipeline = createPipeline([
      { step: "frequency-penalty", penalty: 1 },
      { step: "top-k", k: 2 },
    ]);
    const before = pipeline.distribution(Float32Array.of(1, 2, 3), context({ history: [2, 2] }));
    const copy = structuredClone(before);
    pipeline.distribution(Float32Array.of(5, 4, 3, 2, 1), context({ history: [0, 4] }));
    expect(() => pipeline.distribution(Float32Array.of(NaN), context({ history: [0] }))).toThrow(RangeError);
    expect(pipeline.distribution(Float32Array.of(1, 2, 3), context({ history: [2, 2] }))).toEqual(copy);
    expect(before).toEqual(copy);
  });
});
