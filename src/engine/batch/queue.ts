import { nextTask } from "../../decoding/next-task.ts";
import { answer } from "../drawn-rows.ts";
import type { Call, Rows, Source } from "../source.ts";
import { nextRound, WaitingCall } from "./round.ts";

/**
 * Tasks that a round waits for active streams without a call. A service has one task or two between a stream's token and its
 * next call; a pass over the weights for fewer columns than it could have had costs more than all of that.
 */
const PATIENCE = 3;

/** Calls of many streams on their way to one source, round by round: see batch.ts. */
export class BatchQueue {
  readonly #source: Source;
  readonly #active = new Set<object>();
  #queue: readonly WaitingCall[] = [];
  /** Ends with the round that runs; null while none does. */
  #round: Promise<void> | null = null;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Answers a call of `stream` when its turn has come. */
  async forward(stream: object, call: Call): Promise<Rows> {
    this.#active.add(stream);
    if (this.#active.size === 1 && this.#queue.length === 0 && this.#round === null) return this.#alone(call);
    const waiting = new WaitingCall(stream, call);
    this.#queue = [...this.#queue, waiting];
    this.#proceed();
    // Every stream sees to it itself that things go on. In an edge worker each is another request, which may be cut off,
    // and then nothing that it has begun ever ends.
    for (let tasks = 0; this.#queue.includes(waiting); ) {
      if (this.#round !== null) {
        await this.#round;
        tasks = 0;
      } else {
        await Promise.race([waiting.answer, nextTask()]);
        if (++tasks >= PATIENCE) this.#waitNoMore(waiting);
      }
    }
    return await waiting.answer;
  }

  /** Whoever is not there by now is late. */
  #waitNoMore(waiting: WaitingCall): void {
    if (this.#round !== null || !this.#queue.includes(waiting)) return;
    for (const late of this.#late()) this.#active.delete(late);
    this.#proceed();
  }

  /** Without a copy, and without waiting for anything. */
  #alone(call: Call): Promise<Rows> {
    const answered = answer(call);
    const end = () => {
      this.#round = null;
      this.#proceed();
    };
    this.#round = answered.then(end, end);
    return answered;
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

  /** Runs a round if everybody is there. */
  #proceed(): void {
    if (this.#round !== null || this.#queue.length === 0 || this.#late().length > 0) return;
    this.#round = this.#run();
  }

  /** Active streams without a call. */
  #late(): object[] {
    const waiting = new Set(this.#queue.map(({ stream }) => stream));
    return [...this.#active].filter((stream) => !waiting.has(stream));
  }

  async #run(): Promise<void> {
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
    this.#round = null;
    this.#proceed();
  }

  /** All at once; if that is refused, nothing was appended, and halves of them are tried: a wrong call harms itself only. */
  async #forwardEach(calls: readonly Call[]): Promise<PromiseSettledResult<Rows>[]> {
    if (calls.length === 1 || this.#source.forwardAll === undefined) {
      return await Promise.allSettled(calls.map(answer));
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
