import { expectLogits } from "../../backend/fuse-kernels.ts";
import { argmax, logSumExp, top } from "../../backend/reference/row.ts";
import { kindOf } from "../../decoding/pipeline/fields.ts";
import { expectInteger } from "../../errors.ts";
import { checkCall, checkTruncation, expectChain, type LastCall } from "../session-checks.ts";
import type { Rows, Session, SessionOptions, Source } from "../source.ts";

/** Longer than any text: a row that is always there ends none. */
const ENDLESS = 2 ** 31 - 1;

/** A source whose row is the same after any tokens: a prior, a bias, a concept at the last hidden state. */
export class ConstantSource implements Source {
  readonly vocab: number;
  readonly contextLength = ENDLESS;
  readonly row: Float32Array;

  /**
   * @param name What errors call it.
   * @throws {TypeError | RangeError} If it is no row of logits.
   */
  constructor(name: string, row: ArrayLike<number>) {
    if (!isRow(row)) throw new TypeError(`"${name}" must be an array of logits, got ${kindOf(row)}`);
    expectLogits(name, row, row.length);
    this.vocab = row.length;
    this.row = Float32Array.from(row);
  }

  open({ capacity = ENDLESS }: SessionOptions = {}): Session {
    return new ConstantSession(this.row, capacity, 0);
  }
}

/** An array of numbers, of whatever kind. */
export function isRow(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && "length" in value);
}

class ConstantSession implements Session {
  readonly capacity: number;
  readonly #row: Float32Array;
  #length: number;
  #last: LastCall | null = null;
  #closed = false;

  constructor(row: Float32Array, capacity: number, length: number) {
    this.capacity = capacity;
    this.#row = row;
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  async forward(given: ArrayLike<number>, wanted?: number, parents?: ArrayLike<number>): Promise<Rows> {
    this.#expectOpen();
    const call = { tokens: given, rows: wanted, parents };
    const { tokens, rows, tree } = checkCall(this, Number.MAX_SAFE_INTEGER, this.#last, call);
    this.#last = { start: this.#length, tree };
    this.#length += tokens.length;
    const row = (index: number) => {
      expectInteger("index", index, 0, rows - 1);
      return this.#row;
    };
    return {
      count: rows,
      vocab: this.#row.length,
      row,
      argmax: (index) => argmax(row(index)),
      top: (index, count) => top(row(index), count),
      logSumExp: (index) => logSumExp(row(index)),
    };
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectOpen();
    checkTruncation(this.#length, this.#last, length, path);
    this.#length = length + path.length;
    this.#last = null;
  }

  fork({ capacity = this.capacity }: { capacity?: number } = {}): Session {
    this.#expectOpen();
    expectChain("fork", this.#last);
    return new ConstantSession(this.#row, capacity, this.#length);
  }

  close(): void {
    this.#closed = true;
  }

  #expectOpen(): void {
    if (this.#closed) throw new RangeError("Cannot use session: it is closed");
  }
}
