import type { PlacedRow } from "../../backend/fuse-kernels.ts";
import { STAGE, uniform } from "../../philox.ts";
import { leaveRows, placedRow } from "../placed-rows.ts";
import type { Call, Rows, Session, SessionOptions, Source } from "../source.ts";
import type { FusedInput } from "./inputs.ts";

/** The tokens that a fused session computes in one call, behind its `start` others. */
export interface CallNodes {
  /** Position of a node without a parent. */
  readonly start: number;
  readonly tokens: readonly number[];
  /** One per token, each before it; −1: what the session held before. */
  readonly parents: readonly number[];
}

/** A source's part of a call; `answer` is told of the result. */
export interface MemberCall extends Call {
  readonly source: Source;
  answer(rows: Rows): void;
}

/** What a member computed of the fused session's call. */
interface Part {
  /** In order; all their ancestors are among them. */
  readonly nodes: readonly number[];
  /** The first one that has a row; all behind it have. */
  readonly firstRow: number;
  /** Tokens before the first node in the session's call: those it had to catch up. */
  readonly lead: number;
  readonly rows: Rows;
}

/**
 * One source's session in a fused one. It runs when its rows are needed, and then catches up in the same pass; so it may
 * lie behind, never ahead.
 */
export class FusedMember {
  readonly input: FusedInput;
  readonly #index: number;
  readonly #session: Session;
  /** Leading tokens of prefix and text that the session has in their place; what else it holds is to be taken back. */
  #valid: number;
  #part: Part | null = null;

  /**
   * @param index Of the source in the plan.
   * @throws {MemoryError | RangeError} If the source has no room for it.
   */
  static open(
    input: FusedInput,
    index: number,
    {
      capacity,
      promptLength,
      seed,
      signal,
      lease,
    }: SessionOptions & { capacity: number; promptLength: number; seed: number },
  ): FusedMember {
    const before = input.prefix.length;
    const session = input.source.open({
      capacity: before + capacity,
      promptLength: before + promptLength,
      seed: seedWithin(seed, index),
      signal,
      lease,
    });
    return new FusedMember(input, index, session, 0);
  }

  private constructor(input: FusedInput, index: number, session: Session, valid: number) {
    this.input = input;
    this.#index = index;
    this.#session = session;
    this.#valid = valid;
    if (input.staysOnDevice) leaveRows(session);
  }

  /** Whether the rows after all of `nodes` are there. */
  covers(nodes: readonly number[]): boolean {
    const part = this.#part;
    return (
      part !== null &&
      nodes.every((node) => part.nodes.includes(node) && part.nodes.indexOf(node) >= part.firstRow)
    );
  }

  /** The row after a node. A view, gone with the next call of this member, or of others in the same memory. */
  row(node: number): Float32Array | PlacedRow {
    const { nodes, firstRow, rows } = this.#part!;
    const index = nodes.indexOf(node) - firstRow;
    return placedRow(rows, index) ?? rows.row(index);
  }

  /**
   * What to call to have the rows after `wanted`.
   *
   * @param text Tokens of the fused session before the call.
   * @param wanted In order. None: compute all of a chain, without rows.
   */
  run(text: readonly number[], call: CallNodes, wanted: readonly number[]): MemberCall {
    const { prefix } = this.input;
    const nodes = wanted.length === 0 ? [...call.tokens.keys()] : withAncestors(call.parents, wanted);
    const start = prefix.length + call.start;
    this.#takeBack();
    const known = Math.max(0, this.#valid - prefix.length);
    const missing = [...prefix.slice(this.#valid), ...text.slice(known, call.start)];
    const lead = missing.length;
    const place = new Map(nodes.map((node, index) => [node, lead + index]));
    const parents = nodes.map((node) => place.get(call.parents[node]) ?? lead - 1);
    const isChain = parents.every((parent, index) => parent === lead + index - 1);
    const firstRow = wanted.length === 0 ? nodes.length : nodes.indexOf(wanted[0]);
    return {
      source: this.input.source,
      session: this.#session,
      tokens: [...missing, ...nodes.map((node) => call.tokens[node])],
      rows: nodes.length - firstRow,
      ...(!isChain && { parents: [...missing.map((_, index) => index - 1), ...parents] }),
      answer: (rows) => {
        this.#valid = start;
        this.#part = { nodes, firstRow, lead, rows };
      },
    };
  }

  /** The fused session's call went wrong: of its nodes nothing stays. */
  undo(): void {
    if (this.#part === null) return;
    this.#part = null;
    this.#takeBack();
  }

  /** The fused session's call is over, and was a chain: its nodes are in their place. */
  settle(): void {
    if (this.#part !== null) this.#valid += this.#part.nodes.length;
    this.#part = null;
  }

  /**
   * The fused session's call was a tree, of which it keeps a path.
   *
   * @param start Position of the first node.
   */
  keep(start: number, path: readonly number[]): void {
    const part = this.#part;
    this.#part = null;
    const before = this.input.prefix.length + start;
    if (part === null) {
      this.#valid = Math.min(this.#valid, before);
      return;
    }
    const ends = path.findIndex((node) => !part.nodes.includes(node));
    const own = path
      .slice(0, ends < 0 ? path.length : ends)
      .map((node) => part.lead + part.nodes.indexOf(node));
    this.#session.truncate(before, own);
    this.#valid = before + own.length;
  }

  /** The first `length` tokens of the text stay. */
  truncate(length: number): void {
    this.#valid = Math.min(this.#valid, this.input.prefix.length + length);
  }

  /** @throws {MemoryError | RangeError} If the source has no room for it. */
  fork({ capacity, seed }: { readonly capacity: number; readonly seed: number }): FusedMember {
    this.#takeBack();
    const session = this.#session.fork({
      capacity: this.input.prefix.length + capacity,
      seed: seedWithin(seed, this.#index),
    });
    return new FusedMember(this.input, this.#index, session, this.#valid);
  }

  close(): void {
    this.#session.close();
  }

  #takeBack(): void {
    if (this.#session.length > this.#valid) this.#session.truncate(this.#valid);
  }
}

function withAncestors(parents: readonly number[], nodes: readonly number[]): number[] {
  const all = new Set<number>();
  for (const node of nodes) {
    for (let at = node; at >= 0 && !all.has(at); at = parents[at]) all.add(at);
  }
  return [...all].sort((a, b) => a - b);
}

/** Where no draw of a plan is addressed. */
const SEEDS = 2 ** 32 - 1;

/** A source may be a fused one itself: what it draws has nothing to do with what is drawn here. */
function seedWithin(seed: number, index: number): number {
  return uniform(seed, index, STAGE.mixture, SEEDS) * 2 ** 53;
}
