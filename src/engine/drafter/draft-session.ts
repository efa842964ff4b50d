import { nextTask } from "../../decoding/next-task.ts";
import { PIECE } from "../../decoding/read-tokens.ts";
import type { Rows, Session } from "../source.ts";

/** Nodes behind the computed sequence; −1 is its last token. Parents come first. */
export interface Nodes {
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
}

/**
 * A draft model's session, kept in step with the committed tokens: drafts that turned out right stay computed, all else
 * is taken back.
 */
export class DraftSession {
  readonly #session: Session;
  readonly #signal: AbortSignal | undefined;
  /** The sequence that is computed. */
  readonly #held: number[] = [];
  /** Leading tokens of it that are known to be committed. */
  #agreed = 0;
  /** What the last call computed behind it, if that was a tree. */
  #tree: Nodes | null = null;

  constructor(session: Session, signal?: AbortSignal) {
    this.#session = session;
    this.#signal = signal;
  }

  get capacity(): number {
    return this.#session.capacity;
  }

  /** Committed tokens from `length` on were taken back or have changed. */
  forget(length: number): void {
    this.#agreed = Math.min(this.#agreed, length);
  }

  /** Computes what is committed and not computed yet. Row 0 follows the last of `committed`, at least one. */
  async follow(committed: readonly number[]): Promise<Rows> {
    this.#keepTreePath(committed);
    // The last one is computed anew if need be: its row is what the draft begins with.
    const kept = Math.min(this.#agreeing(committed), committed.length - 1);
    this.#session.truncate(kept);
    this.#held.length = kept;
    this.#agreed = kept;
    for (let at = kept; ; at += PIECE) {
      const piece = committed.slice(at, at + PIECE);
      const isLast = at + PIECE >= committed.length;
      const rows = await this.#session.forward(piece, isLast ? 1 : 0);
      for (const token of piece) this.#held.push(token);
      if (isLast) return rows;
      await nextTask();
      this.#signal?.throwIfAborted();
    }
  }

  /** Goes on with a drafted token. Row 0 follows it. */
  async step(token: number): Promise<Rows> {
    const rows = await this.#session.forward([token], 1);
    this.#held.push(token);
    return rows;
  }

  /** Computes a tree behind the sequence, in place of the tree before. Rows of its last `rows` nodes. */
  async grow(nodes: Nodes, rows: number): Promise<Rows> {
    if (this.#tree !== null) this.#session.truncate(this.#held.length);
    this.#tree = null;
    const result = await this.#session.forward(nodes.tokens, rows, nodes.parents);
    this.#tree = nodes;
    return result;
  }

  close(): void {
    this.#session.close();
  }

  /** Of the last tree, what was committed since becomes part of the sequence. */
  #keepTreePath(committed: readonly number[]): void {
    const tree = this.#tree;
    if (tree === null) return;
    this.#tree = null;
    const base = this.#held.length;
    const path: number[] = [];
    if (this.#agreeing(committed) === base) {
      for (let at = -1; base + path.length < committed.length; ) {
        const wanted = committed[base + path.length];
        at = tree.tokens.findIndex((token, i) => token === wanted && tree.parents[i] === at);
        if (at < 0) break;
        path.push(at);
      }
    }
    this.#session.truncate(base, path);
    for (const node of path) this.#held.push(tree.tokens[node]);
  }

  /** How many of the computed tokens are committed. */
  #agreeing(committed: readonly number[]): number {
    const most = Math.min(this.#held.length, committed.length);
    while (this.#agreed < most && this.#held[this.#agreed] === committed[this.#agreed]) this.#agreed++;
    return Math.min(this.#agreed, most);
  }
}
