/**
 * verify: how much of a draft survives, and which token follows.
 *
 * Rules that all verifiers keep: a token of probability 0 is never accepted and never drawn; where rounding leaves no
 * mass to draw a correction from, it is drawn from the target's row; rows are taken as p / Σp; a draft token outside the
 * vocabulary is dropped with all that follows it; a row that is not reached is not looked at.
 */

import { referenceRowMath } from "../../backend/reference/row-math.ts";
import type { RowMath, VerifyRandom } from "../../backend/row-math.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import { STAGE } from "../../philox.ts";
import type { DraftLaw, Row } from "../draft.ts";
import { findVerifier } from "./registry.ts";
import { lawKind, Round, readWeights, residualOf } from "./round.ts";
import { type DraftTree, readDraft } from "./tree.ts";
import type { Verdict, VerifyRequest } from "./types.ts";
import type { Verifier } from "./verifier.ts";

/**
 * Ends a round of speculative decoding.
 *
 * @throws {TypeError | RangeError} If the verifier cannot work with the draft's shape or law, an option is out of range,
 *   rows are missing, or one that is needed is not probabilities (NaN, ∞, logits).
 *
 * @example
 * ```ts
 * const rows = { count: 2, vocab: 2, row: (i: number) => Float32Array.of(i, 1 - i) }; // token 1, then token 0
 * verify({
 *   rows,
 *   draft: { tokens: [1], law: "one-hot" },
 *   start: 7,
 *   random: seededRandom(1),
 *   policy: { verifier: "token" },
 * }).emitted; // [1, 0]
 * ```
 */
export function verify(request: VerifyRequest): Verdict {
  const { rows, draft, policy } = request;
  const verifier = findVerifier(policy.verifier);
  expectInteger("rows.vocab", rows.vocab, 1, 2 ** 31 - 1);
  expectInteger("start", request.start, 0, 2 ** 32 - 1);
  const tree = readDraft(draft, rows.vocab);
  expectInteger("rows.count", rows.count, tree.drafted + 1, Number.MAX_SAFE_INTEGER);
  checkShape(policy.verifier, verifier, tree);
  checkLaw(policy.verifier, verifier, draft.law, tree, rows.vocab);
  const { math = referenceRowMath } = request;
  return givingBack(math, () => verifier.decide(new Round({ ...request, math }, tree), policy));
}

export interface CorrectionRequest {
  /** p of the place that `Verdict.pending` names, (vocab). */
  readonly target: Row;
  /** q of the same place, (vocab): what the rejected token was drawn from. */
  readonly draft: Row;
  /** As in `verify`. */
  readonly start: number;
  readonly random: VerifyRandom;
  readonly math?: RowMath;
}

/** The token that ends a round whose verdict is pending; the one `verify` would have drawn, had it had the row. */
export function drawCorrection(request: CorrectionRequest): number {
  const { target, draft, start, random, math = referenceRowMath } = request;
  if (target.length !== draft.length) {
    throw new RangeError(
      `"draft" must have as many values as "target", ${target.length}, got ${draft.length}`,
    );
  }
  expectInteger("start", start, 0, 2 ** 32 - 1);
  return givingBack(math, () => {
    const p = readWeights(math, target, 0, "target");
    const q = readWeights(math, draft, 0, "draft");
    return math.draw(residualOf(math, p, q), random.uniform(start, STAGE.residual, 0));
  });
}

/** Gives back the rows that `body` makes, those of rows it asks the caller for included. */
function givingBack<T>(math: RowMath, body: () => T): T {
  const mark = math.mark();
  try {
    return body();
  } finally {
    math.release(mark);
  }
}

function checkShape(name: string, { shape }: Verifier, tree: DraftTree): void {
  if (shape === "tree") return;
  const fork = tree.parents.findIndex((parent, node) => parent !== node - 1);
  if (fork >= 0) {
    throw new RangeError(
      `Verifier "${name}" needs a chain, got node ${fork} with parent ${tree.parents[fork]}`,
    );
  }
}

function checkLaw(name: string, { laws }: Verifier, law: DraftLaw, tree: DraftTree, vocab: number): void {
  const isLaw = law === "one-hot" || (typeof law === "object" && law !== null);
  if (!isLaw || !(law === "one-hot" || "scalars" in law || "rows" in law)) {
    throw new TypeError(`"draft.law" must be "one-hot", { scalars } or { rows }, got ${JSON.stringify(law)}`);
  }
  // An empty draft was drawn from anything.
  if (tree.drafted === 0) return;
  if (!laws.includes(lawKind(law))) {
    throw new RangeError(`Verifier "${name}" needs a draft law of ${laws.join(" or ")}, got ${lawKind(law)}`);
  }
  if (law === "one-hot") return;
  if ("scalars" in law) {
    expectInteger("draft.law.scalars.length", law.scalars?.length, tree.drafted, tree.drafted);
    for (let node = 0; node < tree.drafted; node++) {
      expectNumber(`draft.law.scalars[${node}]`, law.scalars[node], 0, 1);
    }
    return;
  }
  expectInteger("draft.law.rows.vocab", law.rows?.vocab, vocab, vocab);
  const needed = tree.parents.reduce((most, parent) => Math.max(most, parent + 2), 0);
  expectInteger("draft.law.rows.count", law.rows.count, needed, Number.MAX_SAFE_INTEGER);
}
