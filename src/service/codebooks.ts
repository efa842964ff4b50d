/**
 * Codebooks of rows that are known here by their ids, so that rows in the encoding "vq" come without them: those that the
 * service was configured with, and those that callers have sent. The latter are in memory, of this process or isolate; the ones
 * that were not used for longest make room.
 */
import { expectInteger } from "../errors.ts";
import type { Codebook } from "../format/wire/index.ts";
import { apiError } from "./errors.ts";

interface Kept {
  /** Name of the caller's key; one caller's codebooks are no other's. */
  readonly owner: string;
  readonly codebook: Codebook;
}

/** Of all that callers have sent. */
const MAX_BYTES = 1 << 23;

export class Codebooks {
  readonly #configured: readonly Codebook[];
  readonly #most: number;
  /** Least recently used first. */
  #kept: readonly Kept[] = [];

  /** @throws {TypeError | RangeError} If two that are configured have one id, or `most` is no integer from 0 on. */
  constructor(configured: readonly Codebook[] = [], most = MAX_BYTES) {
    this.#most = expectInteger("maxCodebookBytes", most, 0, 2 ** 31 - 1);
    const again = configured.findIndex(({ id }, i) => configured.findIndex((one) => one.id === id) < i);
    if (again >= 0) {
      throw new RangeError(
        `"codebooks[${again}]" must have an id of its own, got "${configured[again].id}" again`,
      );
    }
    this.#configured = configured;
  }

  /** All that a caller may name. */
  of(owner = ""): readonly Codebook[] {
    return [
      ...this.#configured,
      ...this.#kept.filter((kept) => kept.owner === owner).map(({ codebook }) => codebook),
    ];
  }

  /** Says that a caller has named some: they stay longest. */
  used(owner = "", ids: ReadonlySet<string>): void {
    const isUsed = (kept: Kept) => kept.owner === owner && ids.has(kept.codebook.id);
    if (!this.#kept.some(isUsed)) return;
    this.#kept = [...this.#kept.filter((kept) => !isUsed(kept)), ...this.#kept.filter(isUsed)];
  }

  /** @throws {HTTPException} 413 if it is larger than all may be together; 409 if the id is that of another one. */
  put(owner = "", codebook: Codebook): void {
    const bytes = codebook.values.byteLength;
    if (bytes > this.#most) {
      throw apiError(413, `A codebook must have at most ${this.#most} bytes here, got ${bytes}`, {
        code: "request_too_large",
      });
    }
    const known = this.of(owner).find(({ id }) => id === codebook.id);
    // Ids tell codebooks apart and do not withstand a forger.
    if (known !== undefined && !isEqual(known, codebook)) {
      throw apiError(409, `Another codebook has the id "${codebook.id}"`, { param: "id", code: "conflict" });
    }
    if (known !== undefined) {
      this.used(owner, new Set([codebook.id]));
      return;
    }
    let kept = [...this.#kept, { owner, codebook }];
    while (kept.reduce((sum, one) => sum + one.codebook.values.byteLength, 0) > this.#most)
      kept = kept.slice(1);
    this.#kept = kept;
  }

  /** @returns Whether there was one. Those that are configured stay. */
  drop(owner = "", id: string): boolean {
    const { length } = this.#kept;
    this.#kept = this.#kept.filter((kept) => kept.owner !== owner || kept.codebook.id !== id);
    return this.#kept.length < length;
  }
}

function isEqual(a: Codebook, b: Codebook): boolean {
  const isSameShape = a.stages === b.stages && a.count === b.count && a.dim === b.dim;
  return isSameShape && a.values.every((value, i) => Object.is(value, b.values[i]));
}
