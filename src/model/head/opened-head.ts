/** opened-head: a head over states that come as arrays; what `openHead` gives. */
import { type Backend, type Floats, stride } from "../../backend/backend.ts";
import { expectInteger } from "../../errors.ts";
import type { Head, HeadDraw } from "./head.ts";
import type { HeadMethod } from "./stored-head.ts";

/** States that rows are made of with one read of the weights. */
const COLUMNS = 8;

/**
 * Calls take effect in the order they were made in. A state is (hidden) f32, as the model's head takes it: the last layer's
 * output after the final norm.
 */
export class OpenedHead {
  readonly method: "dense" | HeadMethod;
  /** V */
  readonly vocab: number;
  /** D */
  readonly hidden: number;
  /** Weights and tables that it reads for one state, in bytes. */
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #head: Head;
  readonly #state: Floats;
  readonly #giveBack: () => void;
  /** (COLUMNS, D), and (COLUMNS, stride(V)). Made when rows are first asked for. */
  #rows: { readonly states: Floats; readonly out: Floats } | null = null;
  #isClosed = false;

  /** @param giveBack Frees the weights. @throws {MemoryError} If there is no room for a state. */
  constructor(backend: Backend, head: Head, method: "dense" | HeadMethod, giveBack: () => void) {
    this.method = method;
    this.vocab = head.vocab;
    this.hidden = head.hidden;
    this.bytes = head.bytes;
    this.#backend = backend;
    this.#head = head;
    this.#giveBack = giveBack;
    this.#state = backend.floats(stride(head.hidden));
  }

  /** The likeliest token; the lowest id of equal ones. */
  async argmax(state: Float32Array): Promise<number> {
    return await this.#head.argmax(this.#written(state));
  }

  /** The `count` largest logits, best first, of equal ones the lowest id, and their tokens. */
  async top(state: Float32Array, count: number): Promise<{ ids: Uint32Array; logits: Float32Array }> {
    const { ids, logits } = await this.#head.top(this.#written(state), count);
    return { ids: ids.slice(), logits: logits.slice() };
  }

  /**
   * An exact draw from softmax(row / temperature). Seed and position decide it: the same ones always give the same token.
   *
   * @throws {RangeError} If `draw` is out of range, or no logit is above −∞.
   */
  async sample(state: Float32Array, draw: HeadDraw): Promise<number> {
    return await this.#head.sample(this.#written(state), draw);
  }

  /** log Σ exp(row / temperature): what a logit exceeds its log-probability by. @param temperature Default 1. */
  async logPartition(state: Float32Array, temperature = 1): Promise<number> {
    return await this.#head.logPartition(this.#written(state), temperature);
  }

  /**
   * Rows of several states, (count, V), each bit for bit what it is alone. The weights are read once for up to 8 of them.
   *
   * @throws {MemoryError} If there is no room for 8 rows beside the head.
   */
  async rows(states: readonly Float32Array[]): Promise<Float32Array[]> {
    this.#expectOpen();
    const backend = this.#backend;
    for (const [i, state] of states.entries()) this.#expectState(`states[${i}]`, state);
    if (states.length === 0) return [];
    const { states: columns, out } = this.#roomForRows();
    const rows: Float32Array[] = [];
    for (let first = 0; first < states.length; first += COLUMNS) {
      const some = states.slice(first, first + COLUMNS);
      const values = new Float32Array(COLUMNS * this.hidden);
      for (const [i, state] of some.entries()) values.set(state, i * this.hidden);
      backend.write(columns, values);
      this.#head.rows(columns, some.length, out);
      const size = stride(this.vocab);
      const read = backend.read(out);
      const all = read instanceof Promise ? await read : read;
      rows.push(...some.map((_, i) => all.slice(i * size, i * size + this.vocab)));
    }
    return rows;
  }

  /** Gives all memory back. The head cannot be used afterwards. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#head.close();
    this.#giveBack();
    this.#backend.free(this.#state);
    if (this.#rows === null) return;
    this.#backend.free(this.#rows.states);
    this.#backend.free(this.#rows.out);
  }

  #written(state: Float32Array): Floats {
    this.#expectOpen();
    this.#expectState("state", state);
    this.#backend.write(this.#state, state);
    return this.#state;
  }

  #roomForRows(): { readonly states: Floats; readonly out: Floats } {
    if (this.#rows === null) {
      const states = this.#backend.floats(COLUMNS * this.hidden);
      try {
        this.#rows = { states, out: this.#backend.floats(COLUMNS * stride(this.vocab)) };
      } catch (error) {
        this.#backend.free(states);
        throw error;
      }
    }
    return this.#rows;
  }

  #expectState(name: string, state: Float32Array): void {
    if (!(state instanceof Float32Array)) throw new TypeError(`"${name}" must be a Float32Array`);
    expectInteger(`${name}.length`, state.length, this.hidden, this.hidden);
  }

  #expectOpen(): void {
    if (this.#isClosed) throw new RangeError("Cannot use head: it is closed");
  }
}
