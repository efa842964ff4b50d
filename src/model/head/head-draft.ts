/** head-draft: any head as one that drafts. */
import { type Backend, type Floats, stride, type Top } from "../../backend/backend.ts";
import type { DraftHead, DraftRow } from "../draft-head.ts";
import type { Head, HeadLook } from "./head.ts";
import { answersLater, LateDraft } from "./late-draft.ts";

/** What a head keeps of a state, to answer from. */
export interface Looks<Seen> {
  see(state: Floats): Seen | Promise<Seen>;
  look(seen: Seen): Pick<HeadLook, "top"> & Partial<HeadLook>;
  row(out: Floats, seen: Seen): void;
  close?(): void;
}

export class HeadDraft<Seen> implements DraftHead {
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #looks: Looks<Seen>;
  /** (stride(V)), and the row in it. */
  readonly #memory: Floats;
  readonly #row: Floats;
  #calls = 0;

  /** @throws {MemoryError} If there is no room for a row. */
  constructor(backend: Backend, { vocab, bytes }: Pick<Head, "vocab" | "bytes">, looks: Looks<Seen>) {
    this.bytes = bytes;
    this.#backend = backend;
    this.#looks = looks;
    this.#memory = backend.floats(stride(vocab));
    this.#row = backend.slice(this.#memory, 0, vocab);
  }

  /** It knows all tokens. */
  learn(): void {}

  async read(state: Floats): Promise<DraftRow> {
    const seen = await this.#looks.see(state);
    const call = ++this.#calls;
    const expectCurrent = () => {
      if (call !== this.#calls) throw new TypeError("Cannot read a draft's row: its head was called again");
    };
    let isMade = false;
    const look = this.#looks.look(seen);
    const { logit, draw } = look;
    return {
      row: () => {
        expectCurrent();
        if (!isMade) this.#looks.row(this.#row, seen);
        isMade = true;
        return this.#backend.read(this.#row) as Float32Array;
      },
      top: (count) => {
        expectCurrent();
        return look.top(count) as Top;
      },
      ...(logit && draw && { own: { logit, draw } }),
    };
  }

  close(): void {
    this.#calls++;
    this.#looks.close?.();
    this.#backend.free(this.#memory);
  }
}

/** @throws {MemoryError} If there is no room for a row and a state. */
export function openDraft(backend: Backend, head: Head): DraftHead {
  if (answersLater(backend)) {
    const { vocab, bytes } = head;
    return new LateDraft(backend, { vocab, bytes, make: (state, row) => head.rows(state, 1, row) });
  }
  if (head.openDraft !== undefined) return head.openDraft();
  const state = backend.floats(stride(head.hidden));
  try {
    return new HeadDraft<Floats>(backend, head, {
      see(given) {
        backend.copy(state, given, head.hidden);
        return state;
      },
      look: (seen) => ({ top: (count) => head.top(seen, count) as Top }),
      row: (out, seen) => head.rows(seen, 1, out),
      close: () => backend.free(state),
    });
  } catch (error) {
    backend.free(state);
    throw error;
  }
}
