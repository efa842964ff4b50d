import { CHUNK } from "../../model/llama.ts";
import type { Call, Rows, Session } from "../source.ts";

/** A long call gets at least this many columns of a round, however many short ones there are. */
const LEAST_PIECE = 8;

/** A call that waits for its turn, whole or what is left of it. */
export class WaitingCall {
  readonly session: Session;
  /** Whose call it is: they keep their order. */
  readonly stream: object;
  readonly #tokens: readonly number[];
  readonly #rows: number | undefined;
  readonly #parents: readonly number[] | undefined;
  /** What is asked of the rows. */
  readonly #ask: Pick<Call, "tasks" | "scan">;
  readonly answer: Promise<Rows>;
  #resolve!: (rows: Rows) => void;
  #reject!: (reason: unknown) => void;
  /** Tokens that are appended already, and where the first of them is. */
  #done = 0;
  #start = 0;

  /** @param call Copied: it may change while it waits. */
  constructor(stream: object, { session, tokens, rows, parents, tasks, scan }: Call) {
    this.stream = stream;
    this.session = session;
    this.#tokens = Array.from(tokens);
    this.#rows = rows;
    this.#parents = parents && Array.from(parents);
    this.#ask = { tasks, scan };
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever waits may look at it later.
    this.answer.catch(() => {});
  }

  get columns(): number {
    return this.#tokens.length - this.#done;
  }

  /** Columns that may go in an earlier call: a tree and the tokens whose rows are wanted stay together. */
  get cuttable(): number {
    if (this.#parents !== undefined) return 0;
    return Math.max(0, this.columns - (this.#rows ?? 1));
  }

  /** The next `columns` of it as a call. */
  piece(columns: number): Call {
    const tokens = this.#tokens.slice(this.#done, this.#done + columns);
    if (columns < this.columns) return { session: this.session, tokens, rows: 0 };
    return { session: this.session, tokens, rows: this.#rows, parents: this.#parents, ...this.#ask };
  }

  /** @returns Whether all of it is done; its caller has the rows then. */
  advance(columns: number, rows: Rows): boolean {
    if (this.#done === 0) this.#start = this.session.length - columns;
    this.#done += columns;
    if (this.columns > 0) return false;
    this.#resolve(rows);
    return true;
  }

  /** Takes back what was appended. */
  fail(reason: unknown): void {
    try {
      if (this.#done > 0) this.session.truncate(this.#start);
    } catch {
      // It is closed, which is probably the reason.
    }
    this.#reject(reason);
  }
}

export interface Piece {
  readonly call: WaitingCall;
  readonly columns: number;
}

/**
 * What goes next: short calls in the order they came, up to CHUNK columns; then pieces of long ones, in what room is left.
 *
 * Of each stream only the first call is looked at. One that is served in part must go behind the others, so that long ones
 * take turns.
 *
 * @param whole Nobody else has to wait for these: nothing is cut.
 */
export function nextRound(queue: readonly WaitingCall[], whole: boolean): Piece[] {
  const streams = new Set<object>();
  const first = queue.filter(({ stream }) => !streams.has(stream) && streams.add(stream));
  if (whole) return first.map((call) => ({ call, columns: call.columns }));
  const isShort = (call: WaitingCall) => call.columns <= CHUNK;
  const round: Piece[] = [];
  let room = CHUNK;
  for (const call of first.filter(isShort)) {
    if (call.columns > room) break;
    round.push({ call, columns: call.columns });
    room -= call.columns;
  }
  let least = LEAST_PIECE;
  for (const call of first.filter((each) => !isShort(each))) {
    const share = Math.max(room, least);
    if (share === 0) break;
    // What cannot be cut goes as it is: every call has its turn.
    const columns = Math.min(call.cuttable, share) || call.columns;
    round.push({ call, columns });
    room = Math.max(0, room - columns);
    least = 0;
  }
  return round;
}
