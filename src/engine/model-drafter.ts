/**
 * Opens the drafter for a draft model: by its tokens where it shares the target's vocabulary, else by its text.
 */
import type { Drafter } from "../decoding/drafter/drafter.ts";
import { VERIFIERS, type VerifierName } from "../decoding/verify/registry.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { type DraftMode, ModelDrafter, type ModelDrafterOptions } from "./drafter/model-drafter.ts";
import { TextBridgeDrafter } from "./drafter/text-bridge.ts";
import type { Model } from "./model.ts";

export interface OpenModelDrafterOptions extends Omit<ModelDrafterOptions, "mode"> {
  /** Who will verify the drafts. */
  readonly verifier: VerifierName;
  /** Whether to draft trees, if the verifier takes them. Default false. */
  readonly tree?: boolean;
}

/** A drafter with a session of its own. */
export interface OpenDrafter extends Drafter {
  /** Reads what was appended, so that the first draft does not take the time that the prompt does. */
  prepare(): Promise<void>;
  close(): void;
}

/**
 * @throws {RangeError} If the verifier needs the laws of the drafted tokens, and the draft model has another vocabulary.
 * @throws {MemoryError} If there is no room for the draft model's session.
 */
export function openModelDrafter(target: Model, draft: Model, options: OpenModelDrafterOptions): OpenDrafter {
  const { verifier, tree } = options;
  if (sharesVocabulary(target, draft)) {
    return new ModelDrafter(draft, { ...options, mode: draftMode(verifier, tree) });
  }
  if (!VERIFIERS[verifier].laws.includes("one-hot")) {
    throw new RangeError(
      `"draft" must be a model of the target's vocabulary for the verifier "${verifier}", got one with another`,
    );
  }
  return new TextBridgeDrafter(target.tokenizer, draft, { vocab: target.vocab, ...options });
}

/** The mode that gets the most out of a verifier. */
export function draftMode(verifier: VerifierName, tree = false): DraftMode {
  const { reproducible, lossless, laws, siblings, shape } = VERIFIERS[verifier];
  const branching = tree && shape === "tree";
  if (verifier === "greedy" || !lossless || !laws.includes("rows"))
    return branching ? "greedy-tree" : "greedy";
  if (reproducible) return branching ? "coupled-tree" : "coupled";
  if (!branching) return "sampled";
  return siblings === "independent" ? "independent-tree" : "sampled-tree";
}

/** Pairs that were compared. */
const knownPairs = new WeakMap<Model, WeakMap<Model, boolean>>();

/** Whether every token stands for the same bytes in both models. */
export function sharesVocabulary(target: Model, draft: Model): boolean {
  const pairs = knownPairs.get(target) ?? new WeakMap<Model, boolean>();
  knownPairs.set(target, pairs);
  const known = pairs.get(draft);
  if (known !== undefined) return known;
  const shared = target.vocab === draft.vocab && spellAlike(target.tokenizer, draft.tokenizer);
  pairs.set(draft, shared);
  return shared;
}

/**
 * Whether the tokens that both have stand for the same bytes. Rows that only pad the embedding have no token, hence no
 * spelling to compare.
 */
export function spellAlike(ours: Tokenizer, theirs: Tokenizer): boolean {
  const known = Math.min(ours.vocab, theirs.vocab);
  for (let token = 0; token < known; token++) {
    const [a, b] = [ours.bytes(token), theirs.bytes(token)];
    if (a.length !== b.length || a.some((byte, i) => byte !== b[i])) return false;
  }
  return true;
}
