import { expectInteger } from "../../errors.ts";
import { seededRandom } from "./random.ts";
import { findVerifier, type Policy } from "./registry.ts";
import { verify } from "./verify.ts";

/**
 * Has a verifier check its options, which it else does when it decides, by then in the middle of a text.
 *
 * @param nameOf What errors call an option of the policy.
 * @param vocab Every token is below it; unknown, options that are tokens are not looked at.
 * @throws {TypeError | RangeError} If there is no such verifier, or an option is wrong.
 */
export function tryPolicy(policy: Policy, nameOf: (option: string) => string, vocab?: number): void {
  try {
    const { reproducible, laws } = findVerifier(policy.verifier);
    // Those have no options, or take drafts with rows only.
    if (reproducible || !laws.includes("one-hot")) return;
    const boundary = "boundary" in policy ? policy.boundary : undefined;
    if (vocab !== undefined && boundary !== undefined)
      expectInteger("policy.boundary", boundary, 0, vocab - 1);
    verify({
      rows: { count: 1, vocab: 1, row: () => Float64Array.of(1) },
      draft: { tokens: [], law: "one-hot" },
      start: 0,
      random: seededRandom(0),
      policy: { ...policy, boundary: 0 } as Policy,
    });
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/^"policy\.(\w+)"/, (_, option: string) => `"${nameOf(option)}"`);
    }
    throw error;
  }
}
