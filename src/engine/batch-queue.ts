import { nextTask } from "../decoding/next-task.ts";
import { nextRound, WaitingCall } from "./batch-round.ts";
import type { Call, Rows, Source } from "./source.ts";

/** Calls of many streams on their way to one source, round by round: see batch.ts. */
export class BatchQueue {
  readonly #source: Source;
  readonly #active = new Set<object>();
  #queue: readonly WaitingCall[] = [];
  #running = false;
  /** What the task that is waited for must find here; null when none is. */
  #wait: object | null = null;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Puts a call of `stream` in the queue. */
  forward(stream: object, call: Call): Promise<Rows> {
    return new Promise((resolve, reject) => {
      this.#queue = [...this.#queue, new WaitingCall(stream, call, resolve, reject)];
      this.#active.add(stream);
      this.#proceed();
    });
  }

  /** Whether a call of `stream` has not been answered. */
  isWaiting(stream: object): boolean {
    return this.#queue.some((call) => call.stream === stream);
  }

  /** Nobody waits for `stream` any more; its calls fail. */
  leave(stream: object): void {
    this.#active.delete(stream);
    const calls = this.#queue.filter((call) => call.stream === stream);
    this.#queue = this.#queue.filter((call) => call.stream !== stream);
    for (const call of calls) call.fail(new RangeError("Cannot use session: it is closed"));
    this.#proceed();
  }

  /** Runs a round if everybody is there, else sees to it that one runs with the next task. */
  #proceed(): void {
    if (this.#running || this.#queue.length === 0) return;
    if (this.#late().length === 0) {
      void this.#run();
      return;
    }
    if (this.#wait !== null) return;
    const wait = {};
    this.#wait = wait;
    void nextTask().then(() => {
      if (this.#wait !== wait) return;
      for (const stream of this.#late()) this.#active.delete(stream);
      this.#wait = null;
      this.#proceed();
    });
  }

  /** Active streams without a call. */
  #late(): object[] {
    const waiting = new Set(this.#queue.map(({ stream }) => stream));
    return [...this.#active].filter((stream) => !waiting.has(stream));
  }

  async #run(): Promise<void> {
    this.#running = true;
    this.#wait = null;
    const round = nextRound(this.#queue, this.#active.size === 1);
    const results = await this.#forwardEach(round.map(({ call, columns }) => call.piece(columns)));
    for (const [index, { call, columns }] of round.entries()) {
      // Its session was closed meanwhile, and its caller knows.
      if (!this.#queue.includes(call)) continue;
      const result = results[index];
      if (result.status === "fulfilled" && !call.advance(columns, result.value)) {
        // The rest, and what its stream wants after it, let others go first.
        this.#queue = sorted(this.#queue, ({ stream }) => stream === call.stream);
        continue;
      }
      this.#queue = this.#queue.filter((each) => each !== call);
      if (result.status === "rejected") call.fail(result.reason);
    }
    this.#running = false;
    this.#proceed();
  }

  /** All at once; if that is refused, nothing was appended, and halves of them are tried: a wrong call harms itself only. */
  async #forwardEach(calls: readonly Call[]): Promise<PromiseSettledResult<Rows>[]> {
    if (calls.length === 1 || this.#source.forwardAll === undefined) {
      return await Promise.allSettled(
        calls.map(({ session, tokens, rows, parents }) => session.forward(tokens, rows, parents)),
      );
    }
    try {
      const all = await this.#source.forwardAll(calls);
      return all.map((value) => ({ status: "fulfilled", value }));
    } catch {
      const middle = calls.length >> 1;
      const first = await this.#forwardEach(calls.slice(0, middle));
      return [...first, ...(await this.#forwardEach(calls.slice(middle)))];
    }
  }
}

/** Those that are `last` behind all others; otherwise in the order they were. */
function sorted<T>(all: readonly T[], last: (each: T) => boolean): T[] {
  return [...all.filter((each) => !last(each)), ...all.filter(last)];
}
