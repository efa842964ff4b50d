/**
 * codebook-edits: tokens that leave their code, as something else decides their logits. Where few of them are touched, all
 * other codes stay as they are.
 */
import { expectInteger } from "../../errors.ts";
import type { Members } from "./codebook-members.ts";

/** Logits of some tokens in place of those of the head, before any temperature. */
export interface LogitEdits {
  /** Ascending, each below the vocabulary. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length) NaN and −∞: the token has no chance. */
  readonly logits: ArrayLike<number>;
  /** Tokens that stood alone before; those that are edited count as here. */
  readonly over?: Apart;
}

/** +∞ counts as the largest f32, as in a pipeline. */
const MOST = 3.4028234663852886e38;

/** Tokens that have left their codes. */
export interface Apart {
  /** Those that still have a chance, each once. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length) finite. */
  readonly logits: ArrayLike<number>;
  /** Codes that have lost tokens, each once. */
  readonly codes: ArrayLike<number>;
  isAlone(token: number): boolean;
  /** The highest bias that is left in a code, −∞ if it has no token left; undefined if it has lost none. */
  best(code: number): number | undefined;
  /** The members that one of `codes` has lost, ascending; asked for only if it has tokens left. */
  gone(code: number): ArrayLike<number>;
}

/** What edits need to know of a codebook. */
export interface Places {
  /** (V) */
  readonly codeOf: Uint16Array;
  /** (V) index of each token among the members. */
  readonly placeOf: Uint32Array;
  readonly members: Members;
}

export class EditedTokens implements Apart {
  readonly tokens: readonly number[];
  readonly logits: readonly number[];
  readonly codes: readonly number[];
  readonly #alone = new Set<number>();
  readonly #lost = new Map<number, { best: number; readonly gone: number[] }>();

  constructor(edits: LogitEdits, { codeOf, placeOf, members }: Places) {
    const tokens: number[] = [];
    const logits: number[] = [];
    let last = -1;
    for (let i = 0; i < edits.tokens.length; i++) {
      const token = edits.tokens[i];
      if (!(Number.isInteger(token) && token > last && token < codeOf.length)) {
        expectInteger(`edits.tokens[${i}]`, token, last + 1, codeOf.length - 1);
      }
      last = token;
      this.#alone.add(token);
      const lost = this.#lost.get(codeOf[token]);
      if (lost === undefined) this.#lost.set(codeOf[token], { best: -Infinity, gone: [placeOf[token]] });
      else lost.gone.push(placeOf[token]);
      const logit = edits.logits[i];
      if (!(logit > -Infinity)) continue;
      tokens.push(token);
      logits.push(Math.min(logit, MOST));
    }
    this.tokens = tokens;
    this.logits = logits;
    this.codes = [...this.#lost.keys()];
    for (const [code, lost] of this.#lost) {
      const { gone } = lost;
      gone.sort((a, b) => a - b);
      // The first that is left: members are in order of their biases.
      let at = members.starts[code];
      for (let i = 0; gone[i] === at; i++) at++;
      if (at < members.starts[code + 1]) lost.best = members.biases[at];
    }
  }

  isAlone(token: number): boolean {
    return this.#alone.has(token);
  }

  best(code: number): number | undefined {
    return this.#lost.get(code)?.best;
  }

  gone(code: number): readonly number[] {
    return this.#lost.get(code)!.gone;
  }
}

/** Edited tokens over codes all of whose tokens stood alone before. */
export class EditedOver implements Apart {
  readonly tokens: readonly number[];
  readonly logits: readonly number[];
  readonly codes: readonly number[];
  readonly #edited: Apart;
  readonly #before: Apart;
  readonly #open: ReadonlySet<number>;

  constructor(edited: Apart, before: Apart) {
    this.#edited = edited;
    this.#before = before;
    this.#open = new Set(Array.from(before.codes));
    this.codes = [...this.#open, ...Array.from(edited.codes).filter((code) => !this.#open.has(code))];
    const tokens = Array.from(edited.tokens);
    const logits = Array.from(edited.logits);
    for (let i = 0; i < before.tokens.length; i++) {
      if (edited.isAlone(before.tokens[i])) continue;
      tokens.push(before.tokens[i]);
      logits.push(before.logits[i]);
    }
    this.tokens = tokens;
    this.logits = logits;
  }

  isAlone(token: number): boolean {
    return this.#edited.isAlone(token) || this.#before.isAlone(token);
  }

  best(code: number): number | undefined {
    return this.#open.has(code) ? -Infinity : this.#edited.best(code);
  }

  gone(code: number): ArrayLike<number> {
    return this.#edited.gone(code);
  }
}
