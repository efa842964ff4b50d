/**
 * The enumeration sees what is not lossless: verifiers that say so, known defects of other implementations, and
 * lossless verifiers whose conditions are broken.
 */
import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { probability } from "../../../src/backend/row-math.ts";
import { clippedRatio, keepProbability } from "../../../src/decoding/verify/block.ts";
import { Round, residualOf } from "../../../src/decoding/verify/round.ts";
import { readDraft } from "../../../src/decoding/verify/tree.ts";
import type { Verdict } from "../../../src/decoding/verify/types.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import { distanceOf, type Play, testLossyVerifiers } from "./lossy.case.ts";
import { BINARY, chain, type Draw, drawBy, type Model, type Setting, STAR, withPolicy } from "./models.ts";

/** A rule of the test's own, over the production round. */
const deciding =
  (decide: (round: Round) => Verdict): Setting["run"] =>
  (request) =>
    decide(new Round(request, readDraft(request.draft, request.rows.vocab)));

testLossyVerifiers(referenceRowMath, 1e-12);

describe("broken conditions", () => {
  const expectLossy = (play: Play, least = 0.01) => expect(distanceOf(play)).toBeGreaterThan(least);

  it("q of the softmax for a token that was its best, not drawn", () => {
    for (const verifier of ["token", "block"] as const) {
      expectLossy({ parents: chain(3), draw: drawBy("best"), run: withPolicy({ verifier }) });
    }
    expectLossy({ parents: BINARY, draw: drawBy("best"), run: withPolicy({ verifier: "sequoia" }) });
  });

  it("the rule for independent siblings, with siblings drawn without replacement", () => {
    expectLossy({ parents: STAR, draw: drawBy("distinct"), run: withPolicy({ verifier: "specinfer" }) });
  });

  it("a draft that was drawn at another temperature than its rows say", () => {
    const sharpen =
      (model: Model): Model =>
      (context) => {
        const squares = model(context).map((value) => value * value);
        const sum = squares.reduce((a, b) => a + b);
        return squares.map((value) => value / sum);
      };
    for (const verifier of ["token", "block"] as const) {
      const draw = drawBy("independent");
      expectLossy({ parents: chain(3), draw, claim: sharpen, run: withPolicy({ verifier }) });
    }
  });

  it("a draft whose last token is dropped for being unlikely", () => {
    const draw: Draw = (chance, draft, committed, parents) => {
      const tokens: number[] = [];
      while (tokens.length < parents.length) {
        const q = draft([...committed, ...tokens]);
        const token = chance.pick(q);
        if (q[token] < 0.3) break;
        tokens.push(token);
      }
      return tokens;
    };
    for (const verifier of ["token", "block"] as const) {
      expectLossy({ parents: chain(3), draw, run: withPolicy({ verifier }) });
    }
  });

  it("a bonus token from the row before", () => {
    const run: Setting["run"] = (request) => {
      const { rows } = request;
      const late = { ...rows, row: (index: number) => rows.row(Math.min(index, rows.count - 2)) };
      return verify({ ...request, rows: late, policy: { verifier: "token" } });
    };
    expectLossy({ parents: chain(3), draw: drawBy("independent"), run });
  });

  it("acceptance that is one per cent too low", () => {
    const run: Setting["run"] = (request) => {
      const math = request.math!;
      const biased = {
        ...math,
        accepts: (u: number, p: number, q: number) => math.accepts(u, 0.99 * p, q),
      };
      return verify({ ...request, math: biased, policy: { verifier: "token" } });
    };
    expectLossy({ parents: chain(3), draw: drawBy("independent"), run }, 1e-5);
  });

  it("a correction drawn with the number that rejected the draft", () => {
    const run: Setting["run"] = (request) => {
      let used: [number, number, number] = [0, 0, 0];
      const random = {
        ...request.random,
        uniform(...address: [number, number, number]) {
          if (address[1] === STAGE.accept) used = address;
          return request.random.uniform(...used);
        },
      };
      return verify({ ...request, random, policy: { verifier: "token" } });
    };
    expectLossy({ parents: chain(3), draw: drawBy("best"), law: "one-hot", run });
  });
});

describe("defective rules", () => {
  const expectLossy = (
    run: Setting["run"],
    parents: readonly number[] = chain(3),
    drawing: "independent" | "best" = "independent",
  ) => {
    expect(distanceOf({ parents, draw: drawBy(drawing), run })).toBeGreaterThan(0.01);
  };
  const range = (gamma: number) => Array.from({ length: gamma }, (_, node) => node);

  /** Token verification with another correction. */
  const correcting = (correct: (p: number, q: number) => number) =>
    deciding((round) => {
      for (const node of range(3)) {
        const [p, q] = [round.target(node - 1), round.proposal(node - 1)];
        const x = round.tree.tokens[node];
        if (round.accepts(node, probability(p, x), probability(q, x))) continue;
        const values = Float64Array.from(p.values, (value, id) => correct(value, q.values[id]));
        return round.draw(range(node), { values, mass: values.reduce((a, b) => a + b) });
      }
      return round.draw(range(3), round.target(2));
    });

  it("the control: (p − q)+ is right in the same frame", () => {
    const run = correcting((p, q) => Math.max(0, p - q));
    expect(distanceOf({ parents: chain(3), draw: drawBy("independent"), run })).toBeLessThan(1e-12);
  });

  it("a correction from p, or from |p − q|", () => {
    expectLossy(correcting((p) => p));
    expectLossy(correcting((p, q) => Math.abs(p - q)));
  });

  it("a ratio of the draft's own probabilities, which accepts all", () => {
    expectLossy(deciding((round) => round.draw(range(3), round.target(2))));
  });

  it("block verification with the mass of the row before", () => {
    const run = (shift: number) =>
      deciding((round) => {
        const weights = [1];
        let kept = 0;
        for (const node of range(3)) {
          const p = probability(round.target(node - 1), round.tree.tokens[node]);
          const weight = clippedRatio(weights[node] * p, round.draftProbability(node));
          weights.push(weight);
          const at = node - shift;
          const keep =
            node === 2
              ? weight
              : keepProbability(
                  round.math.residualMass(round.target(at), round.proposal(at), weight),
                  weight,
                );
          if (round.accepts(node, keep, 1)) kept = node + 1;
        }
        if (kept === 3) return round.draw(range(3), round.target(2));
        const [p, q] = [round.target(kept - 1), round.proposal(kept - 1)];
        return round.draw(range(kept), residualOf(round.math, p, q, weights[kept]));
      });
    expectLossy(run(1));
    expect(distanceOf({ parents: chain(3), draw: drawBy("independent"), run: run(0) })).toBeLessThan(1e-12);
  });

  it("siblings that are all tested against the same p and q", () => {
    const run = deciding((round) => {
      const [p, q] = [round.target(-1), round.proposal(-1)];
      for (const node of range(3)) {
        const x = round.tree.tokens[node];
        if (round.accepts(node, probability(p, x), probability(q, x))) {
          return round.draw([node], round.target(node));
        }
      }
      return round.draw([], residualOf(round.math, p, q));
    });
    expectLossy(run, STAR);
    expectLossy(run, STAR, "best");
  });
});
