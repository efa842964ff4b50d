/** Small random models whose rows depend on the context, drafts drawn from them, and the laws to compare with. */

import type { RowMath } from "../../../src/backend/row-math.ts";
import type { Draft, Row, RowSet } from "../../../src/decoding/draft.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import type { Verdict, VerifyRequest } from "../../../src/decoding/verify/types.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import { createRandom } from "../../support/random.ts";
import { type Chance, enumerate } from "./enumerate.ts";

/** Tokens so far -> probabilities of the next. */
export type Model = (context: readonly number[]) => Float64Array;

/** Another random row for each context; a share `zeros` of the probabilities is 0. */
export function randomModel(seed: number, vocab: number, zeros = 0): Model {
  const rows = new Map<string, Float64Array>();
  return (context) => {
    const key = context.join();
    let row = rows.get(key);
    if (row === undefined) {
      const { uniform } = createRandom(
        seed * 7919 + context.reduce((hash, token) => hash * 31 + token + 1, 1),
      );
      const values = Array.from({ length: vocab }, () => (uniform() < zeros ? 0 : 0.02 + uniform() ** 2));
      values[Math.floor(uniform() * vocab)] += 0.1;
      const sum = values.reduce((a, b) => a + b);
      row = Float64Array.from(values, (value) => value / sum);
      rows.set(key, row);
    }
    return row;
  };
}

/** Its most likely token, always. */
export function greedyModel(model: Model): Model {
  return (context) => {
    const row = model(context);
    const best = row.indexOf(Math.max(...row));
    return row.map((_, id) => (id === best ? 1 : 0));
  };
}

/** Parents of a chain. */
export const chain = (gamma: number): number[] => Array.from({ length: gamma }, (_, node) => node - 1);

/** Two tokens after the text, two after each of them. */
export const BINARY = [-1, -1, 0, 0, 1, 1];
/** Depth 3, uneven. */
export const UNEVEN = [-1, -1, 0, 0, 2];
export const STAR = [-1, -1, -1];

/** How the children of one place are drawn. */
export type Drawing = "independent" | "distinct" | "best";

/** Gives tokens of the tree `parents` after `committed`, or of its first nodes. */
export type Draw = (
  chance: Chance,
  draft: Model,
  committed: readonly number[],
  parents: readonly number[],
) => number[];

/** Each child drawn from q, or from what q has left, or the likeliest tokens of q without drawing. */
export function drawBy(drawing: Drawing): Draw {
  return (chance, draft, committed, parents) => {
    const tokens: number[] = [];
    for (const parent of parents) {
      const q = Array.from(draft(contextOf(committed, tokens, parents, parent)));
      const elder = tokens.filter((_, sibling) => parents[sibling] === parent);
      if (drawing !== "independent") {
        for (const token of elder) q[token] = 0;
      }
      const left = q.reduce((a, b) => a + b);
      if (drawing === "best") tokens.push(q.indexOf(Math.max(...q)));
      else if (left > 0) tokens.push(chance.pick(q.map((value) => value / left)));
      else tokens.push(q.findIndex((_, token) => !elder.includes(token)));
    }
    return tokens;
  };
}

/** A chain whose tokens are drawn with drafters' numbers: by default those that `random.ts` sets apart for them. */
export const drawAddressed =
  (
    address = (committed: number, node: number): [position: number, item: number] => [committed, node + 1],
  ): Draw =>
  (chance, draft, committed, parents) => {
    const tokens: number[] = [];
    for (const node of parents.keys()) {
      const values = draft([...committed, ...tokens]);
      const [position, item] = address(committed.length, node);
      const u = chance.random.uniform(position, STAGE.draft, item);
      tokens.push(chance.math.draw({ values, mass: 1 }, u));
    }
    return tokens;
  };

/** The committed tokens and those from the root to `node`. */
export function contextOf(
  committed: readonly number[],
  tokens: readonly number[],
  parents: readonly number[],
  node: number,
): number[] {
  const path: number[] = [];
  for (let at = node; at >= 0; at = parents[at]) path.unshift(tokens[at]);
  return [...committed, ...path];
}

/** The rows of a model at the places of a draft. */
export function rowsOf(
  model: Model,
  committed: readonly number[],
  tokens: readonly number[],
  parents: readonly number[],
): RowSet {
  const { length: vocab } = model([]);
  return {
    count: tokens.length + 1,
    vocab,
    row: (index) => model(contextOf(committed, tokens, parents, index - 1)),
  };
}

/** What a round is made of, but for its verifier. */
export type RoundRequest = Omit<VerifyRequest, "policy">;

export const withPolicy =
  (policy: Policy) =>
  (request: RoundRequest): Verdict =>
    verify({ ...request, policy });

export interface Setting {
  readonly target: Model;
  readonly draft: Model;
  readonly parents: readonly number[];
  readonly draw: Draw;
  /** What the verifier is told about the law of the draft. Default: the rows of the draft model. */
  readonly law?: "one-hot" | "scalars";
  /** The rows it is told of, if not those of the draft model. */
  readonly claimed?: Model;
  readonly run: (request: RoundRequest) => Verdict;
  /** Default: the reference. */
  readonly math?: RowMath;
}

/** One round after `committed`: a draft is drawn and verified. */
export function playRound(setting: Setting, chance: Chance, committed: readonly number[]): Verdict {
  const { target, draft, draw, law, claimed = draft, run } = setting;
  const tokens = draw(chance, draft, committed, setting.parents);
  const parents = setting.parents.slice(0, tokens.length);
  const proposals = rowsOf(claimed, committed, tokens, parents);
  const scalars = tokens.map((token, node) => (proposals.row(parents[node] + 1) as Row)[token]);
  const drafted: Draft = {
    tokens,
    parents,
    law: law === "one-hot" ? "one-hot" : law === "scalars" ? { scalars } : { rows: proposals },
  };
  const rows = rowsOf(target, committed, tokens, parents);
  const { random, math } = chance;
  return run({ rows, draft: drafted, start: committed.length, random, math });
}

/** Law of the tokens that one round emits, by the tokens joined. */
export function lawOfRound(setting: Setting): Map<string, number> {
  return enumerate((chance) => playRound(setting, chance, []).emitted.join(), setting.math);
}

export interface Comparison {
  /** Of one sequence. */
  readonly maxError: number;
  /** Total variation distance of the joint laws. */
  readonly distance: number;
  /** Mean number of accepted tokens. */
  readonly accepted: number;
}

/**
 * Compares the joint law of the next `count` tokens with the target's. Where a round ends earlier, the target itself
 * goes on.
 */
export function compare(law: ReadonlyMap<string, number>, target: Model, count: number): Comparison {
  const { length: vocab } = target([]);
  let maxError = 0;
  let distance = 0;
  let accepted = -1;
  for (const [key, probability] of law) accepted += probability * key.split(",").length;
  const visit = (context: number[], expected: number, actual: number): void => {
    // What ends exactly here goes on by the target; what goes on is found below.
    const got = actual + (law.get(context.join()) ?? 0);
    if (context.length === count) {
      maxError = Math.max(maxError, Math.abs(got - expected));
      distance += Math.abs(got - expected) / 2;
      return;
    }
    const row = target(context);
    for (let token = 0; token < vocab; token++) {
      visit([...context, token], expected * row[token], got * row[token]);
    }
  };
  visit([], 1, 0);
  return { maxError, distance, accepted };
}

export function compareRound(setting: Setting): Comparison {
  return compare(lawOfRound(setting), setting.target, depthOf(setting.parents) + 1);
}

function depthOf(parents: readonly number[]): number {
  const depths: number[] = [];
  for (const parent of parents) depths.push(parent < 0 ? 1 : depths[parent] + 1);
  return Math.max(0, ...depths);
}
