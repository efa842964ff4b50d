/** Plain decoding, one token at a time on a session of its own: the truth for trees, forks and batches. */
import type { Model, Rows, Session } from "../../src/node.ts";
import type { Random } from "../support/random.ts";

export class PlainDecoding {
  readonly #session: Session;
  #held: number[] = [];
  readonly #rows = new Map<string, Float32Array>();

  constructor(model: Model) {
    this.#session = model.open();
  }

  /** The row after `tokens`, of which there is at least one. */
  async rowAfter(tokens: readonly number[]): Promise<Float32Array> {
    const key = tokens.join();
    const known = this.#rows.get(key);
    if (known !== undefined) return known;
    let common = 0;
    while (common < tokens.length - 1 && tokens[common] === this.#held[common]) common++;
    this.#session.truncate(common);
    let row = new Float32Array();
    for (let at = common; at < tokens.length; at++) {
      row = (await this.#session.forward([tokens[at]])).row(0).slice();
      this.#rows.set(tokens.slice(0, at + 1).join(), row);
    }
    this.#held = [...tokens];
    return row;
  }
}

export const copyRows = (rows: Rows) =>
  Array.from({ length: rows.count }, (_, index) => rows.row(index).slice());

/** A tree of `count` nodes: mostly chains, with branchings anywhere. */
export function randomParents(random: Random, count: number): number[] {
  const often = random.below(4);
  return Array.from({ length: count }, (_, node) =>
    random.below(4) < often ? random.below(node + 1) - 1 : node - 1,
  );
}

/** Nodes from the first of the tree to `node`. */
export function pathTo(parents: readonly number[], node: number): number[] {
  const path: number[] = [];
  for (let at = node; at >= 0; at = parents[at]) path.unshift(at);
  return path;
}

/** How many sessions of `capacity` fit: the same as before if nothing was lost. */
export function sessionsThatFit(model: Model, capacity: number): number {
  const held: Session[] = [];
  try {
    for (;;) held.push(model.open({ capacity }));
  } catch {
    return held.length;
  } finally {
    for (const session of held) session.close();
  }
}
