/**
 * RemoteSource: rows from a server, in the contract of every Source.
 *
 * Sessions hold token ids and nothing else: a call sends the whole text, and the server finds its beginning in its own cache.
 * So `truncate` and `fork` cost nothing, and a server that was restarted in between is no concern.
 *
 * Where the server tells the likeliest tokens of a row only, the others share what is left of its probability (`known`
 * says so). Greedy decoding, and sampling among fewer tokens than are known, are then what the server's model would do, up
 * to the rounding of its numbers; whatever reaches further is drawn from that law, not from the model's.
 *
 * A row is as reproducible as the server: others than Edgewise may give other last bits when they compute several at once.
 */
import { argmax, logSumExp, top } from "../../backend/reference/row.ts";
import { checkRow } from "../../decoding/fuse/rows.ts";
import { expectInteger } from "../../errors.ts";
import { exp } from "../../math.ts";
import { HeldText } from "../held-text.ts";
import { checkCall, expectChain } from "../session-checks.ts";
import type { Rows, Session, SessionOptions, Source } from "../source.ts";
import type { KnownTokens, RowServer } from "./server.ts";

/** What a source needs beside its server. */
export interface RemoteSourceOptions {
  readonly vocab: number;
  readonly contextLength: number;
  /** Tokens that must not be chosen. Default: none. */
  readonly unspeakable?: readonly number[];
}

export class RemoteSource implements Source {
  readonly vocab: number;
  readonly contextLength: number;
  /** Tokens of a row whose probability is known; absent: all. */
  readonly known?: number;
  readonly server: RowServer;
  readonly #unspeakable: readonly number[];

  constructor(server: RowServer, { vocab, contextLength, unspeakable = [] }: RemoteSourceOptions) {
    this.server = server;
    this.vocab = vocab;
    this.contextLength = contextLength;
    if (server.known !== undefined && server.known < vocab) this.known = server.known;
    this.#unspeakable = unspeakable;
  }

  open({ capacity = this.contextLength, signal }: SessionOptions = {}): Session {
    return new RemoteSession(this, expectInteger("capacity", capacity, 1, this.contextLength), [], signal);
  }

  /** (count, vocab) The rows of a call; what cannot be had is in their place, for who looks at it. */
  async rows(call: Parameters<RowServer["rows"]>[0], signal: AbortSignal) {
    const served = call.rows === 0 ? [] : await this.server.rows(call, signal);
    return served.map((row) => {
      if (row instanceof RangeError) return row;
      const values = row instanceof Float32Array ? row : this.#spread(row);
      for (const id of this.#unspeakable) values[id] = -Infinity;
      return values;
    });
  }

  #spread({ ids, logProbabilities }: KnownTokens): Float32Array {
    const told = logProbabilities.reduce((sum, value) => sum + exp(value), 0);
    const tailMass = Math.min(1, Math.max(0, 1 - told));
    const source = { name: "remote", vocabulary: "", vocab: this.vocab, extra: 0 };
    const { values } = checkRow(source, { ids, logProbabilities, tailMass, vocab: this.vocab });
    return Float32Array.from(values);
  }
}

class RemoteSession implements Session {
  readonly capacity: number;
  readonly #source: RemoteSource;
  readonly #signal: AbortSignal | undefined;
  readonly #ending = new AbortController();
  readonly #text: HeldText;
  #calls = 0;
  #isBusy = false;

  constructor(source: RemoteSource, capacity: number, text: readonly number[], signal?: AbortSignal) {
    this.#source = source;
    this.capacity = capacity;
    this.#text = new HeldText(text);
    this.#signal = signal;
  }

  get length(): number {
    return this.#text.length;
  }

  async forward(given: ArrayLike<number>, wanted?: number, parents?: ArrayLike<number>): Promise<Rows> {
    this.#expectIdle("append");
    const { vocab } = this.#source;
    const call = checkCall(this, vocab, this.#text.last, { tokens: given, rows: wanted, parents });
    const { tokens, rows, tree } = call;
    const signals = [this.#signal, this.#ending.signal].filter((one) => one !== undefined);
    this.#isBusy = true;
    const number = ++this.#calls;
    let found: readonly (Float32Array | RangeError)[];
    try {
      const paths = tree === null ? undefined : tokens.map((_, node) => tree.parent(node));
      const asked = { text: this.#text.tokens, tokens, rows, parents: paths };
      found = await this.#source.rows(asked, AbortSignal.any(signals));
    } finally {
      this.#isBusy = false;
    }
    this.#text.append(call);
    return this.#read(found, number);
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectIdle("truncate");
    this.#text.truncate(length, path);
  }

  fork({ capacity = this.capacity }: { capacity?: number } = {}): Session {
    this.#expectIdle("fork");
    expectChain("fork", this.#text.last);
    expectInteger("capacity", capacity, Math.max(1, this.length), this.#source.contextLength);
    return new RemoteSession(this.#source, capacity, this.#text.tokens, this.#signal);
  }

  /** Ends a call that waits. */
  close(): void {
    this.#ending.abort(new DOMException("The session was closed", "AbortError"));
  }

  #read(found: readonly (Float32Array | RangeError)[], call: number): Rows {
    const row = (index: number) => {
      if (this.#ending.signal.aborted || this.#calls !== call)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
      const values = found[expectInteger("index", index, 0, found.length - 1)];
      if (values instanceof RangeError) throw values;
      return values;
    };
    return {
      count: found.length,
      vocab: this.#source.vocab,
      row,
      argmax: (index) => argmax(row(index)),
      top: (index, count) => top(row(index), count),
      logSumExp: (index) => logSumExp(row(index)),
    };
  }

  #expectIdle(what: string): void {
    if (this.#ending.signal.aborted) throw new RangeError("Cannot use session: it is closed");
    if (this.#isBusy) throw new RangeError(`Cannot ${what}: a call of the session has not been answered`);
  }
}
