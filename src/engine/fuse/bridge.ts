/**
 * bridge: a model that reads the tokens of another vocabulary, by their text. Its rows are of its own.
 *
 * The row after some tokens is that after the text they spell, as the model's tokenizer writes it (reader.ts). So it
 * depends on the tokens alone, though the model's own ones may change with what follows them; only their common beginning
 * stays computed.
 */
import { argmax, logSumExp, top } from "../../backend/reference/row.ts";
import { grouped } from "../../errors.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { DraftSession } from "../drafter/draft-session.ts";
import type { TextModel } from "../drafter/text-bridge.ts";
import { HeldText } from "../held-text.ts";
import { backendOf, setBackend } from "../model-backend.ts";
import { checkCall, expectChain } from "../session-checks.ts";
import type { Rows, Session, SessionOptions, Source } from "../source.ts";
import { createTokenReader, type TokenReader } from "./reader.ts";

/** Tokens of the model per token that is read, at most: a small vocabulary spells in short pieces. */
const MAX_RATIO = 6;

/** `bridgeText` makes them. */
export class BridgedSource implements Source {
  /** Of the rows. */
  readonly vocab: number;
  readonly contextLength: number;
  readonly known?: number;
  readonly #reader: TokenReader;
  readonly #model: TextModel;

  constructor(reader: TokenReader, model: TextModel) {
    this.vocab = model.vocab;
    if (model.known !== undefined) this.known = model.known;
    this.contextLength = model.contextLength;
    this.#reader = reader;
    this.#model = model;
    const backend = backendOf(model);
    if (backend !== undefined) setBackend(this, backend);
  }

  open({ capacity = this.contextLength, lease }: SessionOptions = {}): Session {
    return new BridgedSession(this.#reader, this.#model, { capacity, lease }, []);
  }
}

/**
 * A model as a source of a plan whose result is in another vocabulary.
 *
 * @param tokenizer Of the result's tokens, which are read.
 */
export function bridgeText(tokenizer: Tokenizer, model: TextModel): Source {
  return new BridgedSource(createTokenReader(tokenizer, model.tokenizer), model);
}

type BridgedOptions = Pick<SessionOptions, "lease"> & { readonly capacity: number };

class BridgedSession implements Session {
  readonly capacity: number;
  readonly #lease: BridgedOptions["lease"];
  readonly #reader: TokenReader;
  readonly #model: TextModel;
  readonly #session: DraftSession;
  readonly #text: HeldText;
  #calls = 0;
  #closed = false;

  constructor(
    reader: TokenReader,
    model: TextModel,
    { capacity, lease }: BridgedOptions,
    text: readonly number[],
  ) {
    this.capacity = capacity;
    this.#lease = lease;
    this.#reader = reader;
    this.#model = model;
    this.#session = new DraftSession(
      model.open({ capacity: Math.min(model.contextLength, capacity * MAX_RATIO), lease }),
    );
    this.#text = new HeldText(text);
  }

  get length(): number {
    return this.#text.length;
  }

  async forward(given: ArrayLike<number>, wanted?: number, parents?: ArrayLike<number>): Promise<Rows> {
    this.#expectOpen();
    const call = checkCall(this, Number.MAX_SAFE_INTEGER, this.#text.last, {
      tokens: given,
      rows: wanted,
      parents,
    });
    const { tokens, rows, tree } = call;
    const number = ++this.#calls;
    const found: (Float32Array | RangeError)[] = [];
    for (let node = tokens.length - rows; node < tokens.length; node++) {
      const path: number[] = [];
      for (let at = node; at >= 0; at = tree?.parent(at) ?? at - 1) path.unshift(tokens[at]);
      found.push(await this.#rowAfter([...this.#text.tokens, ...path]));
    }
    this.#text.append(call);
    return this.#read(found, number);
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectOpen();
    this.#text.truncate(length, path);
  }

  /** Shares nothing: the fork reads the text again. */
  fork({ capacity = this.capacity }: { capacity?: number } = {}): Session {
    this.#expectOpen();
    expectChain("fork", this.#text.last);
    const options = { capacity, lease: this.#lease };
    return new BridgedSession(this.#reader, this.#model, options, this.#text.tokens);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.close();
  }

  /** A copy; or why there is none. */
  async #rowAfter(tokens: readonly number[]): Promise<Float32Array | RangeError> {
    const ids = this.#reader.read(tokens);
    if (ids.length === 0 || ids.length > this.#session.capacity) {
      return new RangeError(
        `Cannot read a text of ${grouped(ids.length)} tokens: from 1 to ${grouped(this.#session.capacity)} are possible`,
      );
    }
    this.#session.forget(0);
    return (await this.#session.follow(ids)).row(0).slice();
  }

  #read(found: readonly (Float32Array | RangeError)[], call: number): Rows {
    const row = (index: number) => {
      if (this.#closed || this.#calls !== call)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
      const values = found[index];
      if (!(values instanceof Float32Array))
        throw values ?? new RangeError(`"index" must be a row, got ${index}`);
      return values;
    };
    return {
      count: found.length,
      vocab: this.#model.vocab,
      row,
      argmax: (index) => argmax(row(index)),
      top: (index, count) => top(row(index), count),
      logSumExp: (index) => logSumExp(row(index)),
    };
  }

  #expectOpen(): void {
    if (this.#closed) throw new RangeError("Cannot use session: it is closed");
  }
}
