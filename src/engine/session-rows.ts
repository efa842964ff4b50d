/** session-rows: the rows of a session's last call, where they can be looked at. */
import type { Backend, Floats } from "../backend/backend.ts";
import { stride } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import type { Rows } from "./source.ts";

/** Rows in a backend that answers at once, (count, stride(vocab)). */
export interface RowPlace {
  readonly backend: Backend;
  readonly vocab: number;
  readonly count: number;
  /** Where they are, each time they are looked at. */
  readonly floats: () => Floats;
  /** Throws once they are gone. */
  readonly expectCurrent: () => void;
}

export function rowsAt({ backend, vocab, count, floats, expectCurrent }: RowPlace): Rows {
  const at = (index: number) => {
    expectCurrent();
    expectInteger("index", index, 0, count - 1);
    return backend.slice(floats(), index * stride(vocab), vocab);
  };
  return {
    count,
    vocab,
    row: (index) => backend.read(at(index)) as Float32Array,
    argmax: (index) => backend.argmax(at(index), vocab) as number,
    top: (index, some) =>
      backend.top(at(index), vocab, expectInteger("count", some, 0, vocab)) as ReturnType<Rows["top"]>,
    logSumExp: (index) => backend.logSumExp(at(index), vocab) as number,
    law: (index) => backend.lawKernels(at(index), vocab),
  };
}

/** Copies of rows that were made on another device, in a backend of this process. */
export class RowCopies {
  readonly #from: Backend;
  readonly #to: Backend;
  #copies: Floats | null = null;

  constructor(from: Backend, to: Backend) {
    this.#from = from;
    this.#to = to;
  }

  /** @param expectCurrent Throws if the rows have gone meanwhile. */
  async of(rows: Floats, expectCurrent: () => void): Promise<Floats> {
    const values = await this.#from.read(rows);
    expectCurrent();
    if (this.#copies === null || this.#copies.length < rows.length) {
      this.free();
      this.#copies = this.#to.floats(rows.length);
    }
    this.#to.write(this.#copies, values);
    return this.#copies;
  }

  free(): void {
    if (this.#copies !== null) this.#to.free(this.#copies);
    this.#copies = null;
  }
}
