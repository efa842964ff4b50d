/**
 * DRY, "don't repeat yourself": a token loses the more, the longer the repetition is that it would continue.
 *
 *     logit − multiplier · base^(n − allowedLength)        if n ≥ allowedLength
 *
 * n: how many of the last tokens also stand before an earlier occurrence of the token, the longest such match. Matches do
 * not reach across a sequence breaker; a breaker of one token is never penalized itself.
 *
 * Source: p-e-w, text-generation-webui pull request 5677; llama.cpp, whose treatment of breakers this is.
 */
import type { TokenEdits } from "./edits.ts";
import { scopeStart } from "./history.ts";
import type { Place, StepKind } from "./step.ts";

export interface DryStep {
  step: "dry";
  /** 0 … 100; 0 switches off. */
  multiplier: number;
  /** 1 … 100. Default 1.75. */
  base?: number;
  /** Repetitions of fewer tokens are free. Default 2. */
  allowedLength?: number;
  /** How far it looks back; 0 for the whole history. Default 0. */
  lastN?: number;
  /** Token sequences, such as those of a line break or of a speaker's name. Default none. */
  breakers?: readonly (readonly number[])[];
}

/** Tokens of a breaker; llama.cpp has the same bound. */
const MAX_BREAKER = 20;
/** The most that a token can lose, the largest f32: base^n soon has no limit. */
const MOST = 3.4028234663852886e38;

export const dry: StepKind<Required<DryStep>> = {
  read: (fields) => ({
    step: "dry",
    multiplier: fields.number("multiplier", 0, 100),
    base: fields.number("base", 1, 100, 1.75),
    allowedLength: fields.integer("allowedLength", 1, 2 ** 31 - 1, 2),
    lastN: fields.integer("lastN", 0, 2 ** 31 - 1, 0),
    breakers: fields.sequences("breakers", [], MAX_BREAKER),
  }),
  isNeutral: ({ multiplier }) => multiplier === 0,
  edit(tokens, values, place) {
    const recent = newestFirst(values, place);
    const tree = treeOf(values.breakers);
    const limit = lengthToBreaker(recent, tree);
    if (limit < values.allowedLength) return;
    for (const [token, length] of continuations(recent, limit, values.allowedLength)) {
      if (tree.next.get(token)?.ends) continue;
      penalize(tokens, token, values, length - values.allowedLength);
    }
  },
};

function newestFirst({ lastN }: Required<DryStep>, place: Place): readonly number[] {
  const { history } = place;
  const length = history.length - scopeStart({ scope: "all", lastN }, place);
  return Array.from({ length }, (_, i) => history[history.length - 1 - i]);
}

/** Breakers as a tree, each a path to a node with `ends`: thousands are looked for at every place of the text. */
interface BreakerTree {
  readonly next: Map<number, BreakerTree>;
  ends: boolean;
}

const trees = new WeakMap<object, BreakerTree>();

function treeOf(breakers: Required<DryStep>["breakers"]): BreakerTree {
  const known = trees.get(breakers);
  if (known !== undefined) return known;
  const root: BreakerTree = { next: new Map(), ends: false };
  for (const breaker of breakers) {
    let node = root;
    for (const token of breaker) {
      let child = node.next.get(token);
      if (child === undefined) {
        child = { next: new Map(), ends: false };
        node.next.set(token, child);
      }
      node = child;
    }
    node.ends = true;
  }
  trees.set(breakers, root);
  return root;
}

/** Tokens after the last breaker. Of breakers that begin at the same place the longest counts. */
function lengthToBreaker(recent: readonly number[], tree: BreakerTree): number {
  if (tree.next.size === 0) return recent.length;
  for (let start = 0; start < recent.length; start++) {
    let end = -1;
    let node = tree.next.get(recent[start]);
    for (let at = start; node !== undefined; node = node.next.get(recent[--at])) if (node.ends) end = at;
    if (end >= 0) return end;
  }
  return recent.length;
}

/** For each token that would continue a repetition of at least `least` tokens, the length of the longest. */
function continuations(recent: readonly number[], limit: number, least: number): Map<number, number> {
  const lengths = new Map<number, number>();
  const common = commonPrefixes(recent);
  for (let at = 1; at < recent.length; at++) {
    const length = Math.min(common[at], limit);
    if (length < least) continue;
    const token = recent[at - 1];
    lengths.set(token, Math.max(length, lengths.get(token) ?? 0));
  }
  return lengths;
}

/** Of each suffix, how many tokens it has in common with the beginning: the Z algorithm, O(n) (Gusfield 1997). */
function commonPrefixes(tokens: readonly number[]): Uint32Array {
  const common = new Uint32Array(tokens.length);
  let left = 0;
  let right = 0;
  for (let at = 1; at < tokens.length; at++) {
    let length = at < right ? Math.min(right - at, common[at - left]) : 0;
    while (at + length < tokens.length && tokens[length] === tokens[at + length]) length++;
    common[at] = length;
    if (at + length > right) {
      left = at;
      right = at + length;
    }
  }
  return common;
}

function penalize(
  tokens: TokenEdits,
  token: number,
  { multiplier, base }: Required<DryStep>,
  excess: number,
): void {
  let penalty = multiplier;
  for (let i = 0; i < excess && base !== 1 && penalty < MOST; i++) penalty *= base;
  penalty = Math.min(penalty, MOST);
  tokens.add(token, -penalty);
}
