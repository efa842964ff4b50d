import type { Backend, Floats } from "../../backend/backend.ts";
import { stride } from "../../backend/backend.ts";
import { expectInteger } from "../../errors.ts";
import type { Rows } from "../source.ts";

/** The largest f32. */
const MOST = 3.4028234663852886e38;

/** Rows of one call of a fused session, in the memory of a backend: f32, or the reason why there is none. */
export class FusedRows {
  readonly #backend: Backend;
  readonly #vocab: number;
  /** (vocab) What `write` takes. */
  readonly scratch: Float32Array;
  #floats: Floats;
  #room = 1;
  #failures: (Error | undefined)[] = [];

  /** @throws {MemoryError} If there is no room for one row. */
  constructor(backend: Backend, vocab: number) {
    this.#backend = backend;
    this.#vocab = vocab;
    this.#floats = backend.floats(stride(vocab));
    this.scratch = new Float32Array(vocab);
  }

  /** Makes room for `count` rows; those that were there are gone. @throws {MemoryError} If there is none. */
  clear(count: number): void {
    this.#failures = [];
    if (count <= this.#room) return;
    const larger = this.#backend.floats(count * stride(this.#vocab));
    this.#backend.free(this.#floats);
    this.#floats = larger;
    this.#room = count;
  }

  /** Row `index` is what `scratch` holds; what overflowed is the largest f32, as a row has no ∞. */
  write(index: number): void {
    const row = this.scratch;
    const floats = this.#at(index);
    this.#backend.write(floats, row);
    // Kernels find a largest logit sooner than a look at each.
    const best = this.#backend.argmax(floats, this.#vocab) as number;
    if (row[best] <= MOST) return;
    for (let id = 0; id < row.length; id++) if (row[id] > MOST) row[id] = MOST;
    this.#backend.write(floats, row);
  }

  /** All rows of a call, or why there is none, by index. @throws {MemoryError} If there is no room. */
  copy(rows: readonly Float32Array[], failures: readonly (Error | undefined)[]): void {
    this.clear(rows.length);
    for (const [index, row] of rows.entries()) {
      const failure = failures[index];
      if (failure !== undefined) {
        this.fail(index, failure);
        continue;
      }
      this.scratch.set(row);
      this.write(index);
    }
  }

  /**
   * Rows may be of drafts that go where no text can: what is wrong with one matters to who looks at it. `top`, which
   * drafters look at, finds no token in it.
   */
  fail(index: number, error: Error): void {
    this.#failures[index] = error;
  }

  /** @param expectValid Throws once they are gone. */
  read(count: number, expectValid: () => void): Rows {
    const backend = this.#backend;
    const vocab = this.#vocab;
    const expectIndex = (index: number) => {
      expectValid();
      expectInteger("index", index, 0, count - 1);
    };
    const at = (index: number) => {
      expectIndex(index);
      const failure = this.#failures[index];
      if (failure !== undefined) throw failure;
      return this.#at(index);
    };
    return {
      count,
      vocab,
      row: (index) => backend.read(at(index)) as Float32Array,
      argmax: (index) => backend.argmax(at(index), vocab) as number,
      top: (index, some) => {
        expectIndex(index);
        expectInteger("count", some, 0, vocab);
        if (this.#failures[index] !== undefined)
          return { ids: new Uint32Array(), logits: new Float32Array() };
        return backend.top(this.#at(index), vocab, some) as ReturnType<Rows["top"]>;
      },
      logSumExp: (index) => backend.logSumExp(at(index), vocab) as number,
      law: (index) => backend.lawKernels(at(index), vocab),
    };
  }

  free(): void {
    this.#backend.free(this.#floats);
  }

  #at(index: number): Floats {
    return this.#backend.slice(this.#floats, index * stride(this.#vocab), this.#vocab);
  }
}
