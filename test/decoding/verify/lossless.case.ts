/**
 * Every verifier marked lossless reproduces the target's joint law, by exact enumeration: the specification of a
 * RowMath as verifiers use it.
 */
import { describe, expect, it } from "vitest";
import type { RowMath } from "../../../src/backend/row-math.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { VERIFIERS } from "../../../src/decoding/verify/registry.ts";
import { drawCorrection, verify } from "../../../src/decoding/verify/verify.ts";
import {
  BINARY,
  chain,
  compareRound,
  type Draw,
  type Drawing,
  drawBy,
  greedyModel,
  type Model,
  type RoundRequest,
  randomModel,
  type Setting,
  STAR,
  UNEVEN,
  withPolicy,
} from "./models.ts";

type Lossless = { [Name in keyof typeof VERIFIERS]: (typeof VERIFIERS)[Name]["lossless"] };
const LOSSLESS = (Object.keys(VERIFIERS) as (keyof Lossless)[]).filter((name) => VERIFIERS[name].lossless);

/** The ordinary sampler, in the position-keyed randomness of the enumeration. */
export const matching = (request: RoundRequest) =>
  verify({
    ...request,
    policy: {
      verifier: "match",
      sample: (values, position) =>
        request.math!.draw({ values, mass: 1 }, request.random.uniform(position, 0, 0)),
    },
  });

interface Case {
  readonly verifier: keyof Lossless;
  readonly law?: "one-hot" | "scalars";
  readonly drawing: Drawing;
  readonly parents: readonly number[];
  readonly run?: Setting["run"];
  /** Temperature 0: the target's best token is its law. */
  readonly greedy?: boolean;
}

const CHAIN = chain(3);

const CASES: readonly Case[] = [
  { verifier: "greedy", drawing: "independent", parents: CHAIN, greedy: true },
  { verifier: "greedy", drawing: "independent", parents: UNEVEN, greedy: true },
  { verifier: "match", law: "one-hot", drawing: "best", parents: CHAIN, run: matching },
  { verifier: "match", drawing: "independent", parents: CHAIN, run: matching },
  { verifier: "match", law: "one-hot", drawing: "best", parents: UNEVEN, run: matching },
  { verifier: "gumbel", law: "one-hot", drawing: "best", parents: CHAIN },
  { verifier: "gumbel", law: "one-hot", drawing: "best", parents: UNEVEN },
  { verifier: "token", law: "one-hot", drawing: "best", parents: CHAIN },
  { verifier: "token", law: "one-hot", drawing: "independent", parents: CHAIN },
  { verifier: "token", law: "scalars", drawing: "independent", parents: CHAIN },
  { verifier: "token", drawing: "independent", parents: CHAIN },
  { verifier: "block", law: "one-hot", drawing: "best", parents: CHAIN },
  { verifier: "block", drawing: "independent", parents: CHAIN },
  { verifier: "specinfer", drawing: "independent", parents: CHAIN },
  { verifier: "specinfer", drawing: "independent", parents: STAR },
  { verifier: "specinfer", drawing: "independent", parents: UNEVEN },
  { verifier: "sequoia", drawing: "distinct", parents: CHAIN },
  { verifier: "sequoia", drawing: "distinct", parents: STAR },
  { verifier: "sequoia", drawing: "distinct", parents: UNEVEN },
  { verifier: "sequoia", drawing: "distinct", parents: BINARY },
  { verifier: "sequoia", drawing: "independent", parents: UNEVEN },
  { verifier: "target-only", law: "one-hot", drawing: "best", parents: BINARY },
  { verifier: "target-only", law: "one-hot", drawing: "distinct", parents: UNEVEN },
  { verifier: "target-only", law: "one-hot", drawing: "independent", parents: UNEVEN },
  { verifier: "traversal", drawing: "distinct", parents: CHAIN },
  { verifier: "traversal", drawing: "distinct", parents: STAR },
  { verifier: "traversal", drawing: "distinct", parents: UNEVEN },
  { verifier: "traversal", drawing: "distinct", parents: BINARY },
  { verifier: "traversal", drawing: "independent", parents: UNEVEN },
  { verifier: "traversal", drawing: "independent", parents: STAR },
];

/** As a device does that kept its draft rows. */
function completing({ target, draft }: { target: Model; draft: Model }, verifier: "token"): Setting["run"] {
  return (request) => {
    const verdict = verify({ ...request, policy: { verifier } });
    if (verdict.pending === null) return verdict;
    const { start, random, math } = request;
    const context = verdict.emitted;
    const token = drawCorrection({ target: target(context), draft: draft(context), start, random, math });
    return { ...verdict, emitted: [...verdict.emitted, token] };
  };
}

/** @param limit On the error of the probability of one sequence. */
export function testLossless(math: RowMath, limit: number): void {
  describe("lossless verifiers", () => {
    it("are all enumerated", () => {
      expect([...new Set(CASES.map(({ verifier }) => verifier))].sort()).toEqual([...LOSSLESS].sort());
    });

    for (const { verifier, law, drawing, parents, run, greedy } of CASES) {
      it(`${verifier}: ${law ?? "rows"}, ${drawing} drafts, parents ${parents}`, () => {
        for (const [seed, vocab, zeros] of [
          [1, 3, 0],
          [2, 3, 0],
          [3, 3, 0.4],
          [4, parents.length > 3 ? 3 : 4, 0.2],
        ]) {
          const plain = randomModel(seed, vocab, zeros);
          const target = greedy ? greedyModel(plain) : plain;
          const draft = randomModel(seed + 100, vocab, zeros);
          const play =
            run ??
            (law === "scalars" ? completing({ target, draft }, "token") : withPolicy({ verifier } as Policy));
          const { maxError } = compareRound({
            target,
            draft,
            parents,
            draw: drawBy(drawing),
            law,
            run: play,
            math,
          });
          expect(maxError).toBeLessThan(limit);
        }
      });
    }
  });

  describe("a draft row truncated after drawing", () => {
    // What was drawn from the rest has q = 0, and is corrected from p itself.
    const truncate =
      (model: Model): Model =>
      (context) => {
        const row = model(context);
        const least = Math.min(...row);
        return row.map((value) => (value === least ? 0 : value / (1 - least)));
      };
    for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
      it(`changes nothing for ${verifier} verification`, () => {
        const [target, draft] = [randomModel(1, 3), randomModel(101, 3)];
        const { maxError } = compareRound({
          target,
          draft,
          claimed: truncate(draft),
          parents: chain(3),
          draw: drawBy("independent"),
          run: withPolicy({ verifier }),
          math,
        });
        expect(maxError).toBeLessThan(limit);
      });
    }
  });

  describe("a draft that ends early", () => {
    const draw: Draw = (chance, draft, committed, parents) => {
      const tokens: number[] = [];
      while (tokens.length < parents.length) {
        const q = draft([...committed, ...tokens]);
        if (tokens.length > 0 && Math.max(...q) < 0.6) break;
        tokens.push(chance.pick(q));
      }
      return tokens;
    };
    for (const verifier of ["token", "block", "sequoia", "traversal"] as const) {
      it(`changes nothing for ${verifier} verification, if what was drawn so far decides`, () => {
        const [target, draft] = [randomModel(1, 3), randomModel(101, 3)];
        const setting = { target, draft, parents: chain(3), draw, run: withPolicy({ verifier }), math };
        const { maxError } = compareRound(setting);
        expect(maxError).toBeLessThan(limit);
      });
    }
  });
}
