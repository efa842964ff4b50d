/** Any request gets a sound verdict, or an error that names the row. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RowMath } from "../../../src/backend/row-math.ts";
import type { Row, RowSet } from "../../../src/decoding/draft.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { type Policy, VERIFIERS, type VerifierName } from "../../../src/decoding/verify/registry.ts";
import type { VerifyRequest } from "../../../src/decoding/verify/types.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";

export function testAnyRequest(math: RowMath, runs: number): void {
  describe("any request", () => {
    const VOCAB = 3;
    const names = Object.keys(VERIFIERS) as VerifierName[];
    const odd = fc.constantFrom(NaN, Infinity, -Infinity, -1, 0, 1, 1e-320, 1e300);
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    const goodRow = fc
      .array(fc.oneof(share, fc.constant(0)), { minLength: VOCAB, maxLength: VOCAB })
      .map((values) => {
        const sum = values.reduce((a, b) => a + b);
        return sum > 1e-300 ? values.map((value) => value / sum) : [1, 0, 0];
      });
    const badRow = fc.array(fc.oneof(odd, share), { minLength: 0, maxLength: VOCAB + 1 });
    const rowsOf = (row: fc.Arbitrary<number[]>) => fc.array(row, { minLength: 5, maxLength: 5 });
    const token = fc.integer({ min: 0, max: VOCAB - 1 });
    const oddToken = fc.oneof(token, fc.constantFrom(-1, VOCAB, 2 ** 31, -(2 ** 40)));

    const set = (rows: number[][], single: boolean): RowSet => ({
      count: rows.length,
      vocab: VOCAB,
      row: (index) => (single ? Float32Array.from(rows[index]) : Float64Array.from(rows[index])),
    });

    const arbitrary = (row: fc.Arbitrary<number[]>, anyToken: fc.Arbitrary<number>) =>
      fc.record({
        name: fc.constantFrom(...names),
        p: rowsOf(row),
        q: rowsOf(row),
        single: fc.boolean(),
        tokens: fc.array(anyToken, { maxLength: 4 }),
        shape: fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }),
        law: fc.constantFrom("one-hot", "scalars", "rows"),
        option: share,
        seed: fc.nat(),
      });

    type Parts = typeof arbitrary extends (...args: never[]) => fc.Arbitrary<infer T> ? T : never;

    function build({ name, p, q, single, tokens, shape, law, option, seed }: Parts): VerifyRequest {
      const { laws, shape: kind } = VERIFIERS[name];
      const parents = kind === "tree" ? tokens.map((_, node) => (shape[node] % (node + 1)) - 1) : undefined;
      const used = (laws as readonly string[]).includes(law) ? law : laws[0];
      const options: Record<string, unknown> = {
        threshold: option,
        acceptThreshold: option,
        singleThreshold: option,
        epsilon: option,
        delta: option,
        ratio: option,
        sample: (values: ArrayLike<number>) => (values[1] > values[0] ? 1 : 0),
      };
      return {
        rows: set(p, single),
        draft: {
          tokens,
          parents,
          law:
            used === "rows"
              ? { rows: set(q, single) }
              : used === "scalars"
                ? { scalars: tokens.map((_, node) => Math.min(1, Math.abs(q[node][0]) || 0)) }
                : "one-hot",
        },
        start: 5,
        random: seededRandom(seed),
        policy: { verifier: name, ...options } as Policy,
        math,
      };
    }

    function expectSound({ draft, rows, policy }: VerifyRequest, verdict: ReturnType<typeof verify>): void {
      const { accepted, emitted, pending, stats } = verdict;
      const parents = draft.parents ?? Array.from(draft.tokens, (_, node) => node - 1);
      let last = -1;
      accepted.forEach((node, index) => {
        expect(parents[node]).toBe(last);
        expect(emitted[index]).toBe(draft.tokens[node]);
        last = node;
      });
      expect(emitted.length).toBe(accepted.length + (pending === null ? 1 : 0));
      expect(stats.accepted).toBe(accepted.length);
      expect(stats.tested).toBe(accepted.length + (stats.bonus ? 0 : 1));
      expect(stats.drafted).toBe(draft.tokens.length);
      if (pending !== null) expect(pending).toBe(last + 1);
      emitted.forEach((id, index) => {
        expect(Number.isInteger(id) && id >= 0 && id < VOCAB).toBe(true);
        const before = index === 0 ? -1 : accepted[index - 1];
        if (policy.verifier !== "match" && policy.verifier !== "greedy") {
          expect((rows.row(before + 1) as Row)[id]).toBeGreaterThan(0);
        }
      });
    }

    it("with sound rows gets a sound verdict, the same each time", () => {
      fc.assert(
        fc.property(arbitrary(goodRow, oddToken), (parts) => {
          const built = build(parts);
          const verdict = verify(built);
          expectSound(built, verdict);
          expect(verify(built)).toEqual(verdict);
        }),
        { numRuns: runs },
      );
    });

    it("with any rows gets a sound verdict or an error that names the row", () => {
      fc.assert(
        fc.property(arbitrary(fc.oneof(goodRow, badRow), oddToken), (parts) => {
          const built = build(parts);
          let verdict: ReturnType<typeof verify>;
          try {
            verdict = verify(built);
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
            expect((error as Error).message).toMatch(/^Row \d of "(rows|draft\.law\.rows)" must /);
            return;
          }
          expectSound(built, verdict);
        }),
        { numRuns: runs },
      );
    });
  });
}
