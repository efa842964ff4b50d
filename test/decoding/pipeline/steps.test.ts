/** Steps that no published vector covers, against their definition written down once more, slowly. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Step } from "../../../src/decoding/pipeline.ts";
import { STAGE, uniform } from "../../../src/philox.ts";
import { createRandom } from "../../support/random.ts";
import { expectLaw, law, normalized, rowOf, smallestSet, support } from "./support.ts";

describe("temperature", () => {
  it("raises probabilities to 1 / T", () => {
    const p = [0.1, 0.2, 0.7];
    expectLaw(
      law(rowOf(...p), [{ step: "temperature", temperature: 2 }]),
      normalized(...p.map(Math.sqrt)),
      1e-14,
    );
    expectLaw(
      law(rowOf(...p), [{ step: "temperature", temperature: 0.5 }]),
      normalized(0.01, 0.04, 0.49),
      1e-14,
    );
  });

  it("takes the lowest of the best tokens at 0, and next to it", () => {
    for (const temperature of [0, 5e-324, 1e-101]) {
      expect(support(rowOf(0.2, 0.4, 0.4), [{ step: "temperature", temperature }])).toEqual([1]);
    }
  });

  it("goes with the entropy if dynamic", () => {
    const p = [0.1, 0.2, 0.7];
    const entropy = -p.reduce((sum, x) => sum + x * Math.log(x), 0) / Math.log(3);
    for (const exponent of [1, 2, 0.5]) {
      const t = 0.5 + (1.5 - 0.5) * entropy ** exponent;
      const step: Step = { step: "dynamic-temperature", temperature: 1, range: 0.5, exponent };
      expectLaw(law(rowOf(...p), [step]), normalized(...p.map((x) => x ** (1 / t))), 1e-12);
    }
    // The lowest temperature is 0 if the range is larger than the middle, and greedy for a row that is sure.
    const sure = Float64Array.of(0, 800);
    expect(support(sure, [{ step: "dynamic-temperature", temperature: 1, range: 3 }])).toEqual([1]);
    expect(support(Float64Array.of(7), [{ step: "dynamic-temperature", temperature: 0, range: 1 }])).toEqual([
      0,
    ]);
  });
});

describe("top-k", () => {
  it("keeps the lower of equal ones, or all of them", () => {
    const row = Float64Array.of(1, 2, 1, 3, 1);
    expect(support(row, [{ step: "top-k", k: 3 }])).toEqual([0, 1, 3]);
    expect(support(row, [{ step: "top-k", k: 3, ties: "all" }])).toEqual([0, 1, 2, 3, 4]);
    expect(support(row, [{ step: "top-k", k: 2, ties: "all" }])).toEqual([1, 3]);
  });
});

describe("cut-offs", () => {
  const p = [0.5, 0.3, 0.15, 0.05];

  it("epsilon keeps what is likely enough, and the best", () => {
    expect(support(rowOf(...p), [{ step: "epsilon-cutoff", epsilon: 0.1 }])).toEqual([0, 1, 2]);
    expect(support(rowOf(...p), [{ step: "epsilon-cutoff", epsilon: 0.9 }])).toEqual([0]);
  });

  it("eta lowers the bar where the entropy is high", () => {
    const entropy = -p.reduce((sum, x) => sum + x * Math.log(x), 0);
    for (const epsilon of [1e-4, 0.01, 0.04, 0.2, 0.5]) {
      const eta = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropy));
      const expected = p.flatMap((x, id) => (x >= eta ? [id] : []));
      expect(support(rowOf(...p), [{ step: "eta-cutoff", epsilon }]), String(epsilon)).toEqual(expected);
    }
  });

  it("top-n-sigma takes mean and deviation of what is possible", () => {
    const step: Step = { step: "top-n-sigma", n: 1 };
    expect(support(Float64Array.of(1, -Infinity, 2, NaN, 3, 4), [step])).toEqual([4, 5]);
  });
});

describe("typical", () => {
  it("takes the least surprising surprise first", () => {
    const p = [0.6, 0.2, 0.1, 0.06, 0.04];
    const entropy = -p.reduce((sum, x) => sum + x * Math.log(x), 0);
    const order = p.map((_, id) => id).sort((a, b) => distance(a) - distance(b));
    function distance(id: number): number {
      return Math.abs(-Math.log(p[id]) - entropy);
    }
    expect(order[0]).not.toBe(0);
    for (const share of [0, 0.15, 0.25, 0.7, 0.85, 0.999]) {
      const kept = smallestSet(order, p, share);
      expect(support(rowOf(...p), [{ step: "typical", p: share }]), String(share)).toEqual(kept.sort());
    }
  });
});

describe("xtc", () => {
  const row = rowOf(0.4, 0.3, 0.2, 0.1);

  it("throws its coin once per position and step", () => {
    const step: Step = { step: "xtc", probability: 0.3, threshold: 0.15 };
    let fired = 0;
    for (let position = 0; position < 400; position++) {
      const coin = uniform(9, position, STAGE.xtc, 0) < 0.3;
      expect(support(row, [step], { position, seed: 9 })).toEqual(coin ? [2, 3] : [0, 1, 2, 3]);
      fired += Number(coin);
    }
    // Four standard deviations around 120.
    expect(Math.abs(fired - 120)).toBeLessThan(37);
    const other = Array.from({ length: 50 }, (_, position) =>
      support(row, [{ step: "top-p", p: 0.999 }, step], { position, seed: 9 }).includes(0),
    );
    const same = Array.from({ length: 50 }, (_, position) =>
      support(row, [step], { position, seed: 9 }).includes(0),
    );
    expect(other).not.toEqual(same);
  });

  it("spares a single choice, and keeps the lowest of equal ones", () => {
    const always = (threshold: number): Step => ({ step: "xtc", probability: 1, threshold });
    expect(support(row, [always(0.35)])).toEqual([0, 1, 2, 3]);
    expect(support(rowOf(0.3, 0.3, 0.3, 0.1), [always(0.2)])).toEqual([0, 3]);
    expect(support(row, [always(0)])).toEqual([3]);
  });
});

describe("masks", () => {
  const row = rowOf(0.4, 0.3, 0.2, 0.1);

  it("allow the ids given", () => {
    expectLaw(law(row, [{ step: "allowed-ids", ids: [3, 1, 1, 99] }]), normalized(0, 0.3, 0, 0.1), 1e-15);
  });

  it("forbid end tokens before the output is long enough", () => {
    const step: Step = { step: "min-tokens", count: 2, endTokens: [0, 2, 99] };
    const lengths = [0, 1, 2, 3].map((n) =>
      support(row, [step], { history: new Array(5 + n).fill(1), promptLength: 5 }),
    );
    expect(lengths).toEqual([
      [1, 3],
      [1, 3],
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ]);
  });

  it("read a bitmask from the lowest bit of the first word", () => {
    const wide = new Float64Array(70);
    const bitmask = Uint32Array.of(0x80000001, 0, 0x22);
    expect(support(wide, [{ step: "bitmask" }], { bitmask })).toEqual([0, 31, 65, 69]);
    expect(support(wide, [{ step: "bitmask" }])).toHaveLength(70);
  });

  it("bias single tokens", () => {
    const step: Step = { step: "logit-bias", bias: { 1: Math.log(2), 3: -1e6, 50: 3 } };
    expectLaw(law(row, [step]), normalized(0.4, 0.6, 0.2, 0), 1e-15);
  });

  it("work behind a step that left few candidates", () => {
    const few: Step[] = [
      { step: "top-k", k: 3 },
      { step: "logit-bias", bias: { 2: Math.log(2), 3: 50 } },
    ];
    expectLaw(law(row, few), normalized(0.4, 0.3, 0.4, 0), 1e-15);
    expect(
      support(row, [
        { step: "top-k", k: 3 },
        { step: "allowed-ids", ids: [1, 3] },
      ]),
    ).toEqual([1]);
  });
});

describe("no-repeat-ngram", () => {
  it("forbids what would complete an n-gram again", () => {
    const row = new Float64Array(6);
    const forbidden = (size: number, history: number[]) => {
      const kept = support(row, [{ step: "no-repeat-ngram", size }], { history });
      return [0, 1, 2, 3, 4, 5].filter((id) => !kept.includes(id));
    };
    expect(forbidden(2, [1, 2, 3, 1])).toEqual([2]);
    expect(forbidden(2, [1, 2, 1, 3, 1])).toEqual([2, 3]);
    expect(forbidden(3, [1, 2, 3, 1, 2])).toEqual([3]);
    expect(forbidden(3, [1, 2, 3, 2])).toEqual([]);
    expect(forbidden(1, [4, 4, 0])).toEqual([0, 4]);
    expect(forbidden(4, [1, 2])).toEqual([]);
    expect(forbidden(2, [])).toEqual([]);
  });
});

describe("penalties", () => {
  const row = Float64Array.of(1, 1, 1, 1);
  const seen = (step: Step, promptLength = 3) =>
    law(row, [step], { history: [0, 1, 1, 2, 2, 2], promptLength }).map((p) => Math.log(p));

  it("look at what their scope says", () => {
    const step = { step: "presence-penalty", penalty: 1 } as const;
    const lost = (at: Step) => {
      const logs = seen(at);
      return logs.map((log) => Math.round(logs[3] - log));
    };
    expect(lost(step)).toEqual([1, 1, 1, 0]);
    expect(lost({ ...step, scope: "output" })).toEqual([0, 0, 1, 0]);
    expect(lost({ ...step, lastN: 4 })).toEqual([0, 1, 1, 0]);
    expect(lost({ ...step, scope: "output", lastN: 4 })).toEqual([0, 0, 1, 0]);
    expect(lost({ step: "frequency-penalty", penalty: 2 })).toEqual([2, 4, 6, 0]);
  });

  it("do not stumble over tokens that are not in the vocabulary", () => {
    for (const name of ["repetition-penalty", "presence-penalty", "frequency-penalty"] as const) {
      expectLaw(
        law(row, [{ step: name, penalty: 2 }], { history: [77, -1, 1.5] }),
        [0.25, 0.25, 0.25, 0.25],
        1e-15,
      );
    }
  });
});

describe("dry", () => {
  /** Straight from the definition: every place, every length. */
  function lost(history: number[], vocab: number, step: Required<Extract<Step, { step: "dry" }>>): number[] {
    const text = step.lastN > 0 ? history.slice(-step.lastN) : history;
    // The longest breaker that begins at the last place where one does.
    let limit = text.length;
    for (let start = text.length - 1; start >= 0 && limit === text.length; start--) {
      const lengths = step.breakers
        .filter((breaker) => start + breaker.length <= text.length)
        .filter((breaker) => breaker.every((token, i) => text[start + i] === token))
        .map((breaker) => breaker.length);
      if (lengths.length > 0) limit = text.length - start - Math.max(...lengths);
      if (lengths.length > 0) break;
    }
    const result = new Array<number>(vocab).fill(0);
    for (let at = 1; at < text.length; at++) {
      let length = 0;
      while (length < at && text[at - 1 - length] === text[text.length - 1 - length]) length++;
      length = Math.min(length, limit);
      const token = text[at];
      if (length < step.allowedLength || step.breakers.some((b) => b.length === 1 && b[0] === token))
        continue;
      result[token] = Math.max(result[token], step.multiplier * step.base ** (length - step.allowedLength));
    }
    return result;
  }

  it("is what the definition says", () => {
    const token = fc.nat(3);
    fc.assert(
      fc.property(
        fc.array(token, { maxLength: 30 }),
        fc.nat(12),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.array(token, { minLength: 1, maxLength: 3 }), { maxLength: 3 }),
        (history, lastN, allowedLength, breakers) => {
          const step = { step: "dry", multiplier: 0.8, base: 1.25, allowedLength, lastN, breakers } as const;
          const expected = normalized(...lost(history, 5, step).map((penalty) => Math.exp(-penalty)));
          expectLaw(law(new Float64Array(5), [step], { history }), expected, 1e-12);
        },
      ),
      { numRuns: 1000, seed: 5 },
    );
  });

  it("stays finite and quick in a long repetition", () => {
    const history = new Array(20_000).fill(1);
    const row = new Float64Array(3);
    expectLaw(law(row, [{ step: "dry", multiplier: 1, base: 100 }], { history }), [0.5, 0, 0.5], 1e-12);
    const random = createRandom(1);
    const breakers = Array.from({ length: 4000 }, () => Array.from({ length: 20 }, () => random.below(2)));
    const bits = Array.from({ length: 20_000 }, () => random.below(2));
    expect(support(row, [{ step: "dry", multiplier: 1, breakers }], { history: bits })).toContain(2);
  });
});
