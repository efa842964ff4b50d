/**
 * late-draft: heads that draft where rows lie on another device. What is drawn there comes back in a few words; the row is
 * read only if that cannot tell.
 */
import { type Backend, type Floats, stride } from "../../backend/backend.ts";
import type { DraftHead, DraftRow } from "../draft-head.ts";
import type { Head } from "./head.ts";

/** What makes the rows. */
export interface LateRows extends Pick<Head, "vocab" | "bytes"> {
  /** @param state (D) @param row (V) as it was left; −∞ before the first. */
  make(state: Floats, row: Floats): void;
  learn?(tokens: ArrayLike<number>, row: Floats): void;
}

/** Whether what a backend is asked is answered later. */
export function answersLater({ name }: Backend): boolean {
  return name === "webgpu";
}

export class LateDraft implements DraftHead {
  readonly #backend: Backend;
  readonly #rows: LateRows;
  /** (stride(V)), and the row in it. */
  readonly #memory: Floats;
  readonly #row: Floats;
  #calls = 0;

  /** @param backend One that draws. @throws {MemoryError} If there is no room for a row. */
  constructor(backend: Backend, rows: LateRows) {
    this.#backend = backend;
    this.#rows = rows;
    this.#memory = backend.floats(stride(rows.vocab));
    this.#row = backend.slice(this.#memory, 0, rows.vocab);
    backend.write(this.#row, new Float32Array(rows.vocab).fill(-Infinity));
  }

  get bytes(): number {
    return this.#rows.bytes;
  }

  learn(tokens: ArrayLike<number>): void {
    this.#rows.learn?.(tokens, this.#row);
  }

  async read(state: Floats): Promise<DraftRow> {
    const { vocab } = this.#rows;
    this.#rows.make(state, this.#row);
    const call = ++this.#calls;
    const expectCurrent = () => {
      if (call !== this.#calls) throw new TypeError("Cannot read a draft's row: its head was called again");
    };
    const refuse = () => {
      throw new TypeError("Cannot read a draft's row: it is on another device, and must be loaded first");
    };
    return {
      row: refuse,
      top: refuse,
      late: {
        vocab,
        draw: async (task) => {
          expectCurrent();
          return (await this.#backend.drawKernels!().draw(this.#row, vocab, [task]))[0];
        },
        load: async () => {
          expectCurrent();
          return await this.#backend.read(this.#row);
        },
      },
    };
  }

  close(): void {
    this.#calls++;
    this.#backend.free(this.#memory);
  }
}
