/** ranges: which addresses below a limit are in use. First fit; neighbours that are free are one range. */

interface Range {
  start: number;
  bytes: number;
}

export class Ranges {
  readonly #limit: number;
  /** Below the end of what is in use, by address. */
  readonly #free: Range[] = [];
  readonly #sizes = new Map<number, number>();
  #end: number;
  #used: number;

  /** @param base What lies below it is in use for good. */
  constructor(base: number, limit: number) {
    this.#limit = limit;
    this.#end = base;
    this.#used = base;
  }

  get used(): number {
    return this.#used;
  }

  /** From here on nothing is in use. */
  get end(): number {
    return this.#end;
  }

  /** The lowest place for `bytes`; null if there is none. */
  place(bytes: number): number | null {
    const range = this.#free.find((each) => each.bytes >= bytes);
    if (range === undefined && this.#limit - this.#end < bytes) return null;
    const start = range?.start ?? this.#end;
    this.placeAt(start, bytes);
    return start;
  }

  /** Takes addresses that are free. */
  placeAt(start: number, bytes: number): void {
    if (start >= this.#end) {
      if (start > this.#end) this.#free.push({ start: this.#end, bytes: start - this.#end });
      this.#end = start + bytes;
    } else {
      const index = this.#free.findIndex((each) => each.start + each.bytes > start);
      const range = this.#free[index];
      const before = { start: range.start, bytes: start - range.start };
      const behind = { start: start + bytes, bytes: range.bytes - before.bytes - bytes };
      this.#free.splice(index, 1, ...[before, behind].filter((each) => each.bytes > 0));
    }
    this.#sizes.set(start, bytes);
    this.#used += bytes;
  }

  /** Frees what was placed at `start`. @throws {RangeError} If nothing was. */
  free(start: number): void {
    const bytes = this.#sizes.get(start);
    if (bytes === undefined) throw new RangeError(`Cannot free: nothing is allocated at ${start}`);
    this.#sizes.delete(start);
    this.#used -= bytes;
    let at = this.#free.findIndex((range) => range.start > start);
    if (at < 0) at = this.#free.length;
    this.#free.splice(at, 0, { start, bytes });
    this.#merge(at);
    if (at > 0) this.#merge(at - 1);
    const last = this.#free[this.#free.length - 1];
    if (last.start + last.bytes === this.#end) {
      this.#end = last.start;
      this.#free.pop();
    }
  }

  /** Joins the free range at `index` with the next one if they touch. */
  #merge(index: number): void {
    const range = this.#free[index];
    const next = this.#free[index + 1];
    if (next === undefined || range.start + range.bytes !== next.start) return;
    range.bytes += next.bytes;
    this.#free.splice(index + 1, 1);
  }
}
