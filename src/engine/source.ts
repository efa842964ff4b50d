/**
 * Source and Session: the two words everything composes over.
 *
 * A Source gives rows (the logits over the vocabulary for one position) for a token sequence; a Session is one
 * sequence on one Source. `forward` with several rows and `truncate` are the primitives that speculation needs, `fork`
 * and `forwardAll` those of several texts at once.
 *
 * One rule holds for all of them: a row depends on the tokens before it and on nothing else. It is bit for bit the same
 * computed alone, with others in one call, on a path of a tree, in a fork, or in a batch with other sequences.
 */

import type { Drawn, DrawTask, Scanned, ScanTask } from "../backend/draw-kernels.ts";
import type { LawKernels } from "../backend/law-kernels.ts";
import type { FuseAudit } from "../decoding/fuse.ts";
import type { SparedRow } from "../decoding/pipeline.ts";
import type { Lease } from "./lease.ts";

/**
 * Logits after tokens of one call, (count, vocab) row-major f32.
 *
 * Valid until the next `forward` of the session they came from, or its `close`; what other sessions do in between, and
 * `truncate` and `fork` of this one, do not matter. Everything here throws a TypeError afterwards.
 */
export interface Rows {
  readonly count: number;
  readonly vocab: number;
  /**
   * Row `index` as a view, (vocab). Memory may move whenever a session is called: use the view at once and ask again
   * later, or copy it.
   */
  row(index: number): Float32Array;
  /** Token with the largest logit of row `index`; the lowest id wins ties. */
  argmax(index: number): number;
  /** The `count` largest logits of row `index`, best first, and their tokens; the lowest id wins ties. */
  top(index: number, count: number): { ids: Uint32Array; logits: Float32Array };
  /** log Σ exp of row `index`: what a logit exceeds its log-probability by. */
  logSumExp(index: number): number;
  /** Kernels over row `index`, as it then is, that draw from its law. Absent where rows are not within their reach. */
  law?(index: number): LawKernels;
  /**
   * What can be told of row `index` without making it: rows that have this are made when they are first looked at, and
   * `argmax` and `top` do without them. Absent where rows are there anyway.
   */
  spared?(index: number): SparedRow;
}

/** Rows that stay on the device that made them. Until they are loaded, what `Rows` has throws a TypeError. */
export interface DrawnRows extends Rows {
  /** What was drawn from each, or listed of it; null: nothing can be told without the row. */
  readonly drawn: readonly (Drawn | null)[];
  /** What was decided on a draft, where that was asked for; null: nothing can be told without rows. */
  readonly scanned?: Scanned | null;
  /** The rows, as `forward` would have given them, and as long as those. */
  load(): Promise<Rows>;
}

/** How a sequence begins. Rows of a fused plan may depend on more than tokens; models look at the capacity only. */
export interface SessionOptions {
  /** Positions to reserve memory for. Default: the source's `contextLength`. */
  capacity?: number;
  /** Of what a plan draws. Default 0. */
  seed?: number;
  /** Tokens before the output, at least 1: schedules count from there. Default 1. */
  promptLength?: number;
  /** Whether to keep how each row came about. Default false. */
  audit?: boolean;
  /** Ends calls that wait for a server. What computes here takes no notice. */
  signal?: AbortSignal;
  /** Whom the session is for, who may go away without closing it. Forks have it too. Default: it is closed in any case. */
  lease?: Lease;
}

export interface Session {
  /** Tokens held, which is also the position of the next one. All nodes of a tree count. */
  readonly length: number;
  /** Largest `length` this session can reach. */
  readonly capacity: number;
  /** Logits of a row. Told where `draw` is. */
  readonly vocab?: number;
  /**
   * Appends `tokens` and returns the logits that follow each of the last `rows` of them.
   *
   * With `parents` the tokens are the nodes of a tree: token i follows the path to token parents[i] of this call, or what
   * the session held before if that is −1. Where it is not a chain, the session holds a tree afterwards and takes no more
   * tokens until `truncate` has kept one path of it.
   *
   * @param rows 0 … tokens.length, default 1. A row is bit for bit the same however the tokens were split into calls.
   * @param parents One per token, each less than its own index. Default: a chain, −1, 0, 1, …
   * @throws {RangeError} If a token is not below `vocab`, the sequence would pass `capacity`, `parents` are no tree or one
   *   with more than 256 nodes from its first branching on, or the session holds a tree; nothing is appended then.
   * @throws {MemoryError} If rows, a tree, or pages that a fork still shares need more memory than there is; the same.
   *
   * @example
   * ```ts
   * // Two guesses for what follows `pending`, the first of them two tokens long.
   * const rows = await session.forward([pending, 11, 12, 21], 4, [-1, 0, 1, 0]);
   * // rows.row(3) follows … pending 21. Keep that path:
   * session.truncate(session.length - 4, [0, 3]);
   * ```
   */
  forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows>;
  /**
   * Appends `tokens`, as `forward` does, and has tokens drawn where the rows are: a few words come back instead of each. Absent
   * where rows are at hand.
   *
   * @param tasks What is asked of the rows that follow the last `tasks.length` tokens, as a pipeline's `drawTask` gives it.
   * @param scan A draft to decide on instead of drawing from each row: the last `tasks.length` − 1 tokens, a chain.
   * @throws {RangeError | TypeError | MemoryError} What `forward` throws, or if a task is out of range; nothing is appended then.
   *
   * @example
   * ```ts
   * const where = { history: text, promptLength: text.length, seed: 1 };
   * const task = pipeline.drawTask(session.vocab, where); // null: this pipeline needs the row
   * const answer = await session.draw([pending], [task]);
   * const choice = answer.drawn[0] && pipeline.sampleDrawn(answer.drawn[0], session.vocab, where);
   * const row = choice ?? (await answer.load()).row(0); // hardly ever
   * ```
   */
  draw?(
    tokens: ArrayLike<number>,
    tasks: readonly DrawTask[],
    parents?: ArrayLike<number>,
    scan?: ScanTask,
  ): Promise<DrawnRows>;
  /**
   * Appends `tokens`, as `forward` does, and tells how likely `targets[i]` was after each tokens[i]: −ln p in nats, bit for
   * bit the score "nll" of the row there. No row is ever in memory, but a tile of the vocabulary (Cut Cross-Entropy), so a
   * call may be as long as the session. Absent where rows come from elsewhere.
   *
   * @param targets One per token; of a text, tokens[1], tokens[2], … and what follows.
   * @throws {RangeError} What `forward` throws; if a target is not below `vocab`, or there is not one for each token. Nothing
   *   is appended then.
   *
   * @example
   * ```ts
   * const nlls = await session.nll(text.slice(0, -1), text.slice(1));
   * ```
   */
  nll?(tokens: ArrayLike<number>, targets: ArrayLike<number>): Promise<Float64Array>;
  /**
   * Forgets everything from position `length` on; the next `forward` continues from there.
   *
   * With `path`, nodes of the last call are kept and stand at `length`, `length` + 1, …: each must be the child of the one
   * before, and the first must follow the token at `length` − 1. Of a tree, `length` may be no further than where it
   * branches first.
   *
   * @throws {RangeError} If `length` is not from 0 to there, or `path` is no path; the session is as before then.
   */
  truncate(length: number, path?: ArrayLike<number>): void;
  /**
   * A second session that begins with the same tokens. Takes no time: what both have in common is stored once, until one
   * of them truncates into it and goes on from there.
   *
   * @param options.capacity Positions to reserve memory for, from `length` to the source's `contextLength`; default:
   *   this session's. What is shared needs no memory of its own.
   * @param options.seed Of what is drawn from now on; default: this session's.
   * @throws {RangeError} If the session holds a tree, or the memory does not suffice (MemoryError).
   */
  fork(options?: Pick<SessionOptions, "capacity" | "seed">): Session;
  /**
   * How the rows of the output so far came about, first to last, where the session was opened to keep that. Sources that
   * fuse nothing have none.
   */
  audits?(): readonly FuseAudit[];
  /** Gives the memory back, but for what forks share. The session cannot be used afterwards. */
  close(): void;
}

/** One session's part of a `forwardAll`: the arguments of its `forward`, or of its `draw`. */
export interface Call {
  readonly session: Session;
  readonly tokens: ArrayLike<number>;
  readonly rows?: number;
  readonly parents?: ArrayLike<number>;
  /** Of `draw`, whose answer the call then has. */
  readonly tasks?: readonly DrawTask[];
  readonly scan?: ScanTask;
}

export interface Source {
  readonly vocab: number;
  readonly contextLength: number;
  /**
   * Tokens of a row whose probability is known, the likeliest: all others share what is left. Absent: all are. What is drawn
   * of such rows is of that law, which is not the model's beyond those tokens.
   */
  readonly known?: number;
  /** @throws {RangeError} If an option is out of range, or the memory does not suffice (MemoryError). */
  open(options?: SessionOptions): Session;
  /**
   * `forward` of several sessions of this source, with one pass over the weights for all. Absent where that gains nothing.
   *
   * @throws {RangeError | TypeError} What `forward` throws for one of the calls, or if a session is another source's or is
   *   named twice; nothing is appended to any of them then.
   */
  forwardAll?(calls: readonly Call[]): Promise<Rows[]>;
}
