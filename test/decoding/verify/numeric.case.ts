/** Rows at the edge: what every verifier does with them. */
import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import type { RowMath } from "../../../src/backend/row-math.ts";
import type { Draft, DraftLaw, Row, RowSet } from "../../../src/decoding/draft.ts";
import { type Policy, VERIFIERS, type VerifierName } from "../../../src/decoding/verify/registry.ts";
import { drawCorrection, verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";

const rowSet = (rows: readonly Row[], vocab = rows[0].length): RowSet => ({
  count: rows.length,
  vocab,
  row: (index) => rows[index],
});
const row = (...values: number[]) => Float64Array.from(values);
const LAST_U = 1 - 2 ** -53;

/** Every verifier with some valid options; matching draws from the row as given. */
const POLICIES: Record<VerifierName, (u: number) => Policy> = {
  greedy: () => ({ verifier: "greedy" }),
  match: (u) => ({
    verifier: "match",
    sample: (values) => referenceRowMath.draw({ values, mass: 1 }, u),
  }),
  gumbel: () => ({ verifier: "gumbel" }),
  token: () => ({ verifier: "token" }),
  block: () => ({ verifier: "block" }),
  specinfer: () => ({ verifier: "specinfer" }),
  sequoia: () => ({ verifier: "sequoia" }),
  "target-only": () => ({ verifier: "target-only" }),
  traversal: () => ({ verifier: "traversal" }),
  "target-only-threshold": () => ({
    verifier: "target-only-threshold",
    acceptThreshold: 0,
    singleThreshold: 0,
  }),
  threshold: () => ({ verifier: "threshold", threshold: 0 }),
  typical: () => ({ verifier: "typical", epsilon: 0 }),
  relaxed: () => ({ verifier: "relaxed", topK: 100, ratio: 0 }),
  reverse: () => ({ verifier: "reverse", threshold: 0 }),
};
const NAMES = Object.keys(VERIFIERS) as VerifierName[];
const READS_PROBABILITIES = NAMES.filter((name) => name !== "greedy" && name !== "match");

export function testNumeric(math: RowMath): void {
  /** `law` if the verifier takes it, or else one-hot. */
  function play(
    name: VerifierName,
    u: number,
    rows: readonly Row[],
    tokens: number[],
    q: readonly Row[],
    vocab?: number,
  ) {
    const takesRows = VERIFIERS[name].laws.includes("rows");
    const law: DraftLaw = takesRows ? { rows: rowSet(q, vocab) } : "one-hot";
    return verify({
      rows: rowSet(rows, vocab),
      draft: { tokens, law },
      start: 3,
      random: { uniform: () => u, noise: () => u },
      policy: POLICIES[name](u),
      math,
    });
  }

  describe.each(NAMES)("%s", (name) => {
    it("never accepts nor draws a token of probability 0, whatever the number", () => {
      const p = row(0, 0.25, 0, 0.75, 0);
      const q = row(0.2, 0.2, 0.2, 0.2, 0.2);
      for (const u of [0, 1e-300, 0.5, LAST_U]) {
        for (const token of [0, 2, 4]) {
          const { accepted, emitted } = play(name, u, [p, p], [token], [q, q]);
          expect(accepted).toEqual([]);
          expect(p[emitted[0]]).toBeGreaterThan(0);
        }
      }
    });

    it("accepts all of a draft that is certain to be right", () => {
      const rows = [row(0, 1, 0), row(0, 0, 1), row(1, 0, 0)];
      for (const u of [0, 0.5, LAST_U]) {
        expect(play(name, u, rows, [1, 2], rows).emitted).toEqual([1, 2, 0]);
      }
    });

    it("never lets padding win", () => {
      const padded = Float32Array.from([0.5, 0.25, 0.25, 1e9, NaN, 7]);
      for (const u of [0, 0.5, LAST_U]) {
        const { emitted } = play(name, u, [padded, padded], [1], [padded, padded], 3);
        expect(Math.max(...emitted)).toBeLessThan(3);
      }
    });

    it("drops a token outside the vocabulary, and what follows it, without looking at rows beyond", () => {
      const p = row(0.5, 0.5, 0);
      const bad = row(NaN, NaN, NaN);
      for (const token of [-1, 3, 2 ** 40]) {
        for (const u of [0, 0.5, LAST_U]) {
          const { accepted, emitted, stats } = play(name, u, [p, bad, bad], [token, 0], [p, bad, bad]);
          expect(accepted).toEqual([]);
          expect(emitted).toHaveLength(1);
          expect(p[emitted[0]]).toBe(0.5);
          expect(stats).toEqual({ drafted: 2, tested: 0, accepted: 0, bonus: true });
        }
      }
    });

    it("draws from p where supports are disjoint", () => {
      const [p, q] = [row(0.5, 0.5, 0, 0), row(0, 0, 0.9, 0.1)];
      for (const u of [0, 0.5, LAST_U]) {
        expect(play(name, u, [p, p], [2], [q, q]).emitted[0]).toBeLessThan(2);
      }
    });

    it("asks for a row once at most, and for none that it does not reach", () => {
      const asked: number[] = [];
      const p = row(0.5, 0.5, 0);
      const counted: RowSet = {
        count: 4,
        vocab: 3,
        row(index) {
          asked.push(index);
          return p;
        },
      };
      // The second token has no chance, so that the row after the third is out of reach.
      const draft: Draft = { tokens: [0, 2, 1], law: "one-hot" };
      const law = { rows: rowSet([p, p, p]) };
      const request = {
        rows: counted,
        start: 0,
        random: { uniform: () => 0, noise: () => 0 },
        policy: POLICIES[name](0),
        math,
      };
      verify({ ...request, draft: VERIFIERS[name].laws.includes("one-hot") ? draft : { ...draft, law } });
      expect(new Set(asked).size).toBe(asked.length);
      expect(asked).not.toContain(3);
    });

    it("ends an empty draft with one token", () => {
      const { accepted, emitted, pending, stats } = play(name, 0.5, [row(0, 1)], [], [row(0, 1)]);
      expect({ accepted, emitted, pending }).toEqual({ accepted: [], emitted: [1], pending: null });
      expect(stats).toEqual({ drafted: 0, tested: 0, accepted: 0, bonus: true });
    });
  });

  describe.each(READS_PROBABILITIES)("%s, of a row that is no distribution", (name) => {
    const good = row(0.5, 0.5, 0);
    it.each([
      ["NaN", row(0.5, NaN, 0.5), "a negative number or NaN among them"],
      ["∞", row(0, Infinity, 0), "a sum of Infinity"],
      ["−∞", row(0, -Infinity, 1), "a negative number or NaN among them"],
      ["negative", row(1.5, -0.5, 0), "a negative number or NaN among them"],
      ["empty", row(0, 0, 0), "a sum of 0"],
      ["logits", row(3, 1, 0.5), "a sum of 4.5"],
    ])("says so: %s", (_kind, bad, got) => {
      const message = `Row 0 of "rows" must be probabilities that sum to 1, got ${got}`;
      expect(() => play(name, 0.5, [bad, good], [0], [good, good])).toThrow(new RangeError(message));
    });

    it("but does not look at what it does not need", () => {
      const p = row(0, 1, 0);
      const bad = row(NaN, 0, 0);
      expect(play(name, 0.5, [p, bad], [0], [good, bad]).emitted).toEqual([1]);
    });
  });

  describe("greedy", () => {
    const draft: Draft = { tokens: [], law: "one-hot" };
    const emitted = (values: Row) =>
      verify({
        rows: rowSet([values]),
        draft,
        start: 0,
        random: { uniform: () => 0, noise: () => 0 },
        policy: { verifier: "greedy" },
        math,
      }).emitted;

    it("takes logits, infinities too", () => {
      expect(emitted(row(-3, -1, -Infinity))).toEqual([1]);
      expect(emitted(row(-3, Infinity, NaN))).toEqual([1]);
    });
    it("says when there is no best", () => {
      const message = 'Row 0 of "rows" must have a number above −∞, has none';
      expect(() => emitted(row(NaN, -Infinity))).toThrow(new RangeError(message));
    });
  });

  describe("match", () => {
    const request = {
      rows: rowSet([row(1, 0), row(1, 0), row(1, 0)]),
      draft: { tokens: [1, 0], law: "one-hot" },
      start: 7,
      random: { uniform: () => 0, noise: () => 0 },
      math,
    } as const;

    it("asks the sampler once per emitted token, in order", () => {
      const calls: [number, readonly number[]][] = [];
      const sample = (_row: Row, position: number, emitted: readonly number[]) => {
        calls.push([position, emitted]);
        return 1;
      };
      expect(verify({ ...request, policy: { verifier: "match", sample } }).emitted).toEqual([1, 1]);
      expect(calls).toEqual([
        [7, []],
        [8, [1]],
      ]);
    });

    it.each([-1, 2, 0.5, NaN, undefined])("refuses %s as a token", (token) => {
      const policy = { verifier: "match", sample: () => token as number } as const;
      expect(() => verify({ ...request, policy })).toThrow('"result of "policy.sample"" must be an integer');
    });

    it("needs the sampler", () => {
      const policy = { verifier: "match" } as Policy;
      expect(() => verify({ ...request, policy })).toThrow(
        new TypeError('"policy.sample" must be a function, got undefined'),
      );
    });
  });

  describe("a residual without mass", () => {
    it("is drawn from the target: p = q, had rounding ever rejected a token", () => {
      const p = row(0.5, 0.5);
      const never = { ...math, accepts: () => false };
      for (const verifier of ["token", "block", "specinfer", "sequoia"] as const) {
        const draw = (u: number) =>
          verify({
            rows: rowSet([p, p]),
            draft: { tokens: [0], law: { rows: rowSet([p, p]) } },
            start: 0,
            random: { uniform: () => u, noise: () => u },
            policy: { verifier },
            math: never,
          }).emitted;
        expect([0.2, 0.7].map(draw)).toEqual([[0], [1]]);
      }
    });

    it("of a one-hot target and a one-hot draft is the target", () => {
      const p = row(0, 1, 0);
      const never = { ...math, accepts: () => false };
      for (const verifier of ["token", "block", "target-only"] as const) {
        const draft = { tokens: [1], law: "one-hot" } as const;
        const request = {
          rows: rowSet([p, p]),
          draft,
          start: 0,
          random: { uniform: () => 0.5, noise: () => 0.5 },
          math: never,
        };
        // Target-only accepts what has probability 1 without a coin.
        const expected = verifier === "target-only" ? [1, 1] : [1];
        expect(verify({ ...request, policy: { verifier } }).emitted).toEqual(expected);
      }
    });
  });

  describe("rows in f32", () => {
    it("are taken as p / Σp: a sum of 0.9999 biases nothing", () => {
      const p = Float32Array.from([0.25, 0.4999, 0.25]);
      const correction = (u: number) =>
        verify({
          rows: rowSet([p, p]),
          draft: { tokens: [1], law: { rows: rowSet([row(0, 1, 0)]) } },
          start: 0,
          random: { uniform: (_position, stage) => (stage === STAGE.accept ? LAST_U : u), noise: () => u },
          policy: { verifier: "token" },
          math,
        }).emitted[0];
      expect([0, 0.4999, 0.5001, LAST_U].map(correction)).toEqual([0, 0, 2, 2]);
    });
  });

  describe("pending corrections", () => {
    const p = row(0.1, 0.5, 0.2, 0.2);
    const q = row(0.7, 0.1, 0.1, 0.1);
    const request = (u: number, law: DraftLaw) => ({
      rows: rowSet([p, p]),
      draft: { tokens: [0], law },
      start: 5,
      random: {
        uniform: (_position: number, stage: number) => (stage === STAGE.accept ? 0.9 : u),
        noise: () => u,
      },
      policy: { verifier: "token" } as const,
      math,
    });

    it("are drawn where the draft row is, and are what would have been drawn here", () => {
      for (let u = 0; u < 1; u += 0.1) {
        const there = verify(request(u, { scalars: [0.7] }));
        expect(there).toMatchObject({ accepted: [], emitted: [], pending: 0 });
        expect(there.stats).toEqual({ drafted: 1, tested: 1, accepted: 0, bonus: false });
        const { start, random } = request(u, "one-hot");
        const token = drawCorrection({ target: p, draft: q, start, random, math });
        const here = verify(request(u, { rows: rowSet([q, q]) }));
        expect(here.emitted).toEqual([token]);
        expect(here.pending).toBeNull();
      }
    });

    it("are not needed of a token whose own law gives it no chance", () => {
      expect(verify(request(0.3, { scalars: [0] }))).toMatchObject({ emitted: [1], pending: null });
    });

    it("need rows of one length", () => {
      const { start, random } = request(0, "one-hot");
      expect(() => drawCorrection({ target: p, draft: row(1), start, random, math })).toThrow(
        new RangeError('"draft" must have as many values as "target", 4, got 1'),
      );
    });
  });
}
