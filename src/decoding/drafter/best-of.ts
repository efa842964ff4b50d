/** best-of: several drafters, of whose drafts the one with the longest match is taken. */
import { expectGamma, type LocalDrafter, type LookupDraft, NO_DRAFT } from "./drafter.ts";

export class BestOfDrafter implements LocalDrafter {
  readonly vocab: number;
  /** Absent where none of them learns: nobody needs rows then. */
  readonly observe: LocalDrafter["observe"];
  readonly #drafters: readonly LocalDrafter[];

  /**
   * @param drafters The first one wins ties. All must have the same vocabulary and length; from now on they are fed
   *   through this one.
   */
  constructor(drafters: readonly LocalDrafter[]) {
    if (drafters.length === 0) throw new RangeError('"drafters" must have at least one drafter, got none');
    this.vocab = drafters[0].vocab;
    this.#drafters = [...drafters];
    for (const [i, { vocab, length }] of drafters.entries()) {
      expectSame(`drafters[${i}].vocab`, vocab, this.vocab);
      expectSame(`drafters[${i}].length`, length, drafters[0].length);
    }
    const learners = this.#drafters.filter(({ observe }) => observe !== undefined);
    if (learners.length > 0) {
      this.observe = (token, successors) => {
        for (const drafter of learners) drafter.observe!(token, successors);
      };
    }
  }

  get length(): number {
    return this.#drafters[0].length;
  }

  get bytes(): number {
    return this.#drafters.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  append(tokens: ArrayLike<number>): void {
    for (const drafter of this.#drafters) drafter.append(tokens);
  }

  truncate(length: number): void {
    for (const drafter of this.#drafters) drafter.truncate(length);
  }

  /** What is certain (a match of Infinity) is taken at once; later drafters are not asked then. */
  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    let best = NO_DRAFT;
    for (const drafter of this.#drafters) {
      if (best.matchLength === Infinity) break;
      const draft = drafter.draft(gamma);
      if (draft.tokens.length > 0 && draft.matchLength > best.matchLength) best = draft;
    }
    return best;
  }
}

function expectSame(name: string, value: number, expected: number): void {
  if (value !== expected) {
    throw new RangeError(`"${name}" must be ${expected} like that of the first drafter, got ${value}`);
  }
}
