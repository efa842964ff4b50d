import type { Draft } from "../../decoding/draft.ts";
import type { Drafter } from "../../decoding/drafter/drafter.ts";
import { expectGamma, expectTokens } from "../../decoding/drafter/drafter.ts";
import { type ShapeNode, treeShape } from "../../decoding/drafter/tree-shape.ts";
import type { Step } from "../../decoding/pipeline.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import type { Lease } from "../lease.ts";
import type { Source } from "../source.ts";
import { chosenChain, sampledChain } from "./draft-chain.ts";
import { DraftSampler, type DraftSampling, lawRows } from "./draft-sampler.ts";
import { DraftSession } from "./draft-session.ts";
import { dynamicTree } from "./dynamic-tree.ts";
import { sampledTree } from "./sampled-tree.ts";

/**
 * How a draft model chooses its tokens.
 *
 *     mode               draft                                        law        for the verifiers
 *     coupled            races with the noise of the target           one-hot    match, gumbel
 *     greedy             the most likely tokens                       one-hot    greedy, target-only, lossy ones
 *     sampled            drawn from its own law                       rows       token, block, and those below
 *     coupled-tree       the most promising paths of the same race    one-hot    match, gumbel
 *     greedy-tree        the most likely paths                        one-hot    greedy, target-only
 *     sampled-tree       siblings drawn, none twice                   rows       sequoia, traversal
 *     independent-tree   siblings drawn, perhaps twice                rows       specinfer
 */
export type DraftMode =
  | "coupled"
  | "greedy"
  | "sampled"
  | "coupled-tree"
  | "greedy-tree"
  | "sampled-tree"
  | "independent-tree";

export interface ModelDrafterOptions extends DraftSampling {
  /** Positions of the target's session. Beyond the draft model's own context nothing is drafted. */
  readonly capacity: number;
  /** Default "coupled". */
  readonly mode?: DraftMode;
  /** Tokens of the prompt, which penalties may tell from the output. Default: those of the first `append`. */
  readonly promptLength?: number;
  /**
   * Draft no further where the draft model is less sure than this, 0 … 1: of a chosen token, of the path to it in a tree,
   * of the likeliest token where tokens are drawn. Default 0: never.
   */
  readonly minProbability?: number;
  /** Trees: most children of a node. Default 4. */
  readonly branches?: number;
  /** Trees: longest path. Default 8. */
  readonly depth?: number;
  /** Stops the reading of a long prompt. */
  readonly signal?: AbortSignal;
  /** Of the text that is drafted for. */
  readonly lease?: Lease;
}

const TREE_NODES = 64;
/** Tokens that chosen ones are chosen from: a vocabulary is long, and what is wanted is nearly always among the best. */
const RACERS = 64;
const BRANCHES = 4;
const DEPTH = 8;

/**
 * Drafts with a smaller model of the same vocabulary.
 *
 * It runs the request's pipeline on its own rows, its own tokens counted as emitted. "coupled" draws with the random
 * numbers that the target will use at the same positions: where the two models nearly agree, so do their draws (Daliri,
 * Musco, Suresh 2024, arXiv:2408.07978).
 *
 * @example
 * ```ts
 * const drafter = new ModelDrafter(small, { capacity: 256, steps: pipeline.steps, seed: 1 });
 * drafter.append(prompt);
 * await drafter.prepare();
 * await drafter.draft(4); // { tokens: [314, 15, 9, 26], law: "one-hot" }
 * ```
 */
export class ModelDrafter implements Drafter {
  readonly vocab: number;
  readonly mode: DraftMode;
  readonly #session: DraftSession;
  readonly #sampler: DraftSampler;
  readonly #seed: number;
  readonly #greedy: boolean;
  readonly #minProbability: number;
  readonly #branches: number;
  readonly #depth: number;
  readonly #shape: readonly ShapeNode[];
  readonly #committed: number[] = [];
  #promptLength: number | undefined;

  /** @throws {MemoryError} If there is no room for the draft model's session. */
  constructor(model: Source, options: ModelDrafterOptions) {
    const { mode = "coupled", minProbability = 0, branches = BRANCHES, depth = DEPTH } = options;
    this.vocab = model.vocab;
    this.mode = mode;
    this.#seed = expectInteger("seed", options.seed, 0, Number.MAX_SAFE_INTEGER);
    this.#minProbability = expectNumber("minProbability", minProbability, 0, 1);
    this.#branches = expectInteger("branches", branches, 1, TREE_NODES);
    this.#depth = expectInteger("depth", depth, 1, TREE_NODES);
    this.#promptLength = options.promptLength;
    this.#greedy = isGreedy(options.steps);
    const isTree = mode.endsWith("tree");
    this.#shape = isTree ? treeShape({ nodes: TREE_NODES, depth, branches }) : [];
    this.#sampler = new DraftSampler(this.#committed, { ...options, steps: stepsOf(mode, options.steps) });
    // A tree stands in the session as a whole for a moment, though only one path of it stays.
    const room = options.capacity + (isTree ? Math.max(TREE_NODES, branches * depth) : 0);
    const capacity = Math.min(room, model.contextLength);
    const { signal, lease } = options;
    this.#session = new DraftSession(model.open({ capacity, lease }), signal);
  }

  get length(): number {
    return this.#committed.length;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) this.#committed.push(tokens[i]);
    this.#promptLength ??= this.length;
    this.#sampler.promptLength = this.#promptLength;
  }

  truncate(length: number): void {
    this.#committed.length = expectInteger("length", length, 0, this.length);
    this.#session.forget(length);
  }

  /** Reads what was appended, so that the first draft does not take the time that the prompt does. */
  async prepare(): Promise<void> {
    if (this.length > 0 && this.length <= this.#session.capacity) await this.#session.follow(this.#committed);
  }

  async draft(gamma: number): Promise<Draft> {
    const room = this.#session.capacity - this.length;
    const most = Math.min(expectGamma(gamma), this.#shape.length > 0 ? TREE_NODES : room + 1);
    if (most <= 0 || room < 0 || this.length === 0) return this.#nothing();
    const options = {
      vocab: this.vocab,
      session: this.#session,
      sampler: this.#sampler,
      committed: this.#committed,
      gamma: most,
      minProbability: this.#minProbability,
    };
    switch (this.mode) {
      case "coupled":
      case "greedy":
        return chosenChain(options, this.mode === "coupled");
      case "sampled":
        return sampledChain(options, this.#seed);
      case "coupled-tree":
      case "greedy-tree": {
        const branches = this.#branches;
        // Of a layer's call all ancestors are part: one more node per branch and layer.
        const depth = Math.min(this.#depth, Math.floor(room / branches) + 1);
        const raceSeed = this.mode === "coupled-tree" && !this.#greedy ? this.#seed : undefined;
        return dynamicTree({ ...options, branches, depth, raceSeed });
      }
      default: {
        const siblings = this.mode === "sampled-tree" ? "drawn" : "independent";
        return sampledTree(options, this.#shape.slice(0, Math.min(most, room)), siblings, this.#seed);
      }
    }
  }

  close(): void {
    this.#session.close();
  }

  /** An empty draft has the law of its mode too: a verifier may take no other. */
  #nothing(): Draft {
    const isDrawn =
      this.mode === "sampled" || this.mode === "sampled-tree" || this.mode === "independent-tree";
    return { tokens: [], law: isDrawn ? { rows: lawRows(this.vocab, []) } : "one-hot" };
  }
}

function isGreedy(steps: readonly Step[]): boolean {
  return steps.some((step) => step.step === "temperature" && step.temperature === 0);
}

/** What is made of the draft model's rows. A chosen token may come from any law, so there it may be a simpler one. */
function stepsOf(mode: DraftMode, steps: readonly Step[]): readonly Step[] {
  if (mode === "coupled" || mode === "sampled" || mode === "sampled-tree" || mode === "independent-tree")
    return steps;
  // A greedy law has one token, and a tree of it one branch: the second best are found at temperature 1.
  const warm = steps.filter((step) => !(step.step === "temperature" && step.temperature === 0));
  return [...(mode === "greedy" ? steps : warm), { step: "top-k", k: RACERS }];
}
