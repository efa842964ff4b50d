/** All verifiers by name. */

import type { LawKind } from "../draft.ts";
import { block } from "./block.ts";
import { greedy } from "./greedy.ts";
import { gumbel } from "./gumbel.ts";
import { match } from "./match.ts";
import { sequoia, specinfer } from "./multi-round.ts";
import { relaxed } from "./relaxed.ts";
import { reverse } from "./reverse.ts";
import { targetOnly, targetOnlyThreshold } from "./target-only.ts";
import { threshold } from "./threshold.ts";
import { token } from "./token.ts";
import { traversal } from "./traversal.ts";
import { typical } from "./typical.ts";
import type { Verifier } from "./verifier.ts";

export const VERIFIERS = {
  // The text depends on target and seed alone.
  greedy,
  match,
  gumbel,
  // The target's law, but another text for another drafter.
  token,
  block,
  specinfer,
  sequoia,
  "target-only": targetOnly,
  traversal,
  // Lossy.
  "target-only-threshold": targetOnlyThreshold,
  threshold,
  typical,
  relaxed,
  reverse,
} as const;

export type VerifierName = keyof typeof VERIFIERS;

/** A verifier by name, with its options: `{ verifier: "typical", epsilon: 0.1 }`. */
export type Policy = {
  [Name in VerifierName]: { readonly verifier: Name } & OptionsOf<(typeof VERIFIERS)[Name]>;
}[VerifierName];

type OptionsOf<V> = V extends Verifier<infer Options> ? Options : never;

/** Both keep the text independent of the drafter; gumbel accepts more of what a draft model sampled. */
export function defaultVerifier(law: LawKind): "match" | "gumbel" {
  return law === "one-hot" ? "match" : "gumbel";
}

/** @throws {RangeError} If there is none of that name. */
export function findVerifier(name: string): Verifier {
  if (!Object.hasOwn(VERIFIERS, name)) {
    const names = Object.keys(VERIFIERS).join(", ");
    throw new RangeError(`"policy.verifier" must be one of ${names}, got ${JSON.stringify(name)}`);
  }
  // The options are those of the verifier that `Policy` names; each checks them again.
  return VERIFIERS[name as VerifierName] as Verifier;
}
