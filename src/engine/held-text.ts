/** held-text: the tokens of a session that keeps nothing else, as every session's calls and truncations change them. */
import { type CheckedCall, checkTruncation, type LastCall } from "./session-checks.ts";

export class HeldText {
  /** All tokens but those of a tree. */
  readonly tokens: number[];
  #last: (LastCall & { readonly tokens: readonly number[] }) | null = null;

  constructor(tokens: readonly number[]) {
    this.tokens = [...tokens];
  }

  /** What the session holds, a tree's nodes too. */
  get length(): number {
    return this.tokens.length + (this.#last?.tree ? this.#last.tokens.length : 0);
  }

  /** The last call, until something is truncated. */
  get last(): LastCall | null {
    return this.#last;
  }

  append({ tokens, tree }: CheckedCall): void {
    this.#last = { start: this.tokens.length, tree, tokens };
    if (tree === null) this.tokens.push(...tokens);
  }

  /** `Session.truncate`. @throws {RangeError | TypeError} If it must refuse. */
  truncate(length: number, path: ArrayLike<number>): void {
    const last = this.#last;
    checkTruncation(this.length, last, length, path);
    const tokens = last?.tokens ?? [];
    const start = last?.start ?? length;
    this.tokens.length = Math.min(length, start);
    for (let node = 0; node < length - start; node++) this.tokens.push(tokens[node]);
    for (let i = 0; i < path.length; i++) this.tokens.push(tokens[path[i]]);
    this.#last = null;
  }
}
