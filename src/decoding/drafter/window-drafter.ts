import type { LocalDrafter, LookupDraft } from "./drafter.ts";
import type { TokenIndex, TokenWindow } from "./window.ts";

/** A drafter that knows the last tokens through one index. What is left to say is how it drafts. */
export abstract class WindowDrafter<Index extends TokenIndex> implements LocalDrafter {
  protected readonly window: TokenWindow<Index>;

  constructor(window: TokenWindow<Index>) {
    this.window = window;
  }

  get vocab(): number {
    return this.window.vocab;
  }

  get length(): number {
    return this.window.length;
  }

  get bytes(): number {
    return this.window.index.bytes;
  }

  append(tokens: ArrayLike<number>): void {
    this.window.append(tokens);
  }

  truncate(length: number): void {
    this.window.truncate(length);
  }

  abstract draft(gamma: number): LookupDraft;
}
