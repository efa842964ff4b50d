/**
 * tree: the tokens of one call as nodes, each after the path to its parent, and how a pass looks at paths.
 *
 * The nodes up to the first branching, the stem, are where they would be in a chain. All others keep their keys and
 * values waiting in slots; a node's path is moved to consecutive positions behind the stem when the node is computed, so
 * attention sees what it would see in plain decoding, in the same order: hence the same bits.
 */
import type { KvCache } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import type { Run } from "../model/llama.ts";

/** Most nodes behind a stem. */
export const MAX_BRANCHING = 256;

export class Tree {
  /** Nodes 0 … stem − 1 are a chain that all others follow. */
  readonly stem: number;
  readonly #parents: readonly number[];
  /** Node i stands `depths[i]` positions behind where the call began. */
  readonly #depths: readonly number[];

  /**
   * @param count Tokens of the call.
   * @returns null for a chain.
   * @throws {RangeError | TypeError} If `parents` are not one per token, each before it, or branch over too many.
   */
  static read(parents: ArrayLike<number>, count: number): Tree | null {
    if (parents.length !== count) {
      throw new RangeError(`"parents" must have one entry per token, ${count}, got ${parents.length}`);
    }
    let stem = count;
    for (let node = 0; node < count; node++) {
      const parent = expectInteger(`parents[${node}]`, parents[node], -1, node - 1);
      if (parent !== node - 1) stem = Math.min(stem, parent + 1);
    }
    if (stem === count) return null;
    if (count - stem > MAX_BRANCHING) {
      throw new RangeError(
        `"parents" must have at most ${MAX_BRANCHING} nodes from the first branching on, got ${count - stem}`,
      );
    }
    return new Tree(Array.from(parents), stem);
  }

  private constructor(parents: readonly number[], stem: number) {
    this.#parents = parents;
    this.stem = stem;
    const depths: number[] = [];
    for (const parent of parents) depths.push(parent < 0 ? 0 : depths[parent] + 1);
    this.#depths = depths;
  }

  /** Slots that nodes wait in. */
  get slots(): number {
    return this.#parents.length - this.stem;
  }

  slot(node: number): number {
    return node - this.stem;
  }

  parent(node: number): number {
    return this.#parents[node];
  }

  /**
   * How to compute nodes `from` … `to` − 1.
   *
   * @param start Position of a node of depth 0.
   * @param path The branch's nodes that are in place, by distance from the stem. Becomes what is there afterwards: hand it
   *   to the next call.
   */
  runs(from: number, to: number, start: number, waiting: KvCache, path: number[]): Run[] {
    const runs: Run[] = [];
    for (let first = from; first < to; ) {
      let end = first + 1;
      while (end < to && end !== this.stem && this.#parents[end] === end - 1) end++;
      const columns = end - first;
      const position = start + this.#depths[first];
      if (first < this.stem) runs.push({ columns, position });
      else {
        const moves = this.#place(first, end, path).map((nodes) => ({
          source: this.slot(nodes[0]),
          position: start + this.#depths[nodes[0]],
          columns: nodes.length,
        }));
        runs.push({ columns, position, branch: { waiting, slot: this.slot(first), moves } });
      }
      first = end;
    }
    return runs;
  }

  /** Brings `path` to end with nodes `first` … `end` − 1; returns what must be moved, as lists of consecutive nodes. */
  #place(first: number, end: number, path: number[]): number[][] {
    const missing: number[] = [];
    for (let node = this.#parents[first]; node >= this.stem; node = this.#parents[node]) {
      if (path[this.#depths[node] - this.stem] === node) break;
      missing.push(node);
    }
    missing.reverse();
    for (let node = first; node < end; node++) missing.push(node);
    path.length = this.#depths[missing[0]] - this.stem;
    path.push(...missing);
    const moves: number[][] = [];
    for (const node of missing) {
      const last = moves.at(-1);
      if (last?.at(-1) === node - 1) last.push(node);
      else moves.push([node]);
    }
    return moves;
  }
}
