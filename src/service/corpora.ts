/**
 * Texts to draft from that a caller has sent once, under names of its own, for all of its sessions. In memory, of this process
 * or isolate; those that were not used for longest make room.
 */
import type { DrafterRecord } from "./sessions/record.ts";

interface Kept {
  /** Name of the caller's key; one caller's texts are no other's. */
  readonly owner: string;
  readonly name: string;
  readonly corpus: DrafterRecord;
}

/** Of one caller, and tokens of all of them. */
const MAX_NAMES = 16;
const MAX_TOKENS = 1 << 18;

export class Corpora {
  /** Least recently used first. */
  #kept: readonly Kept[] = [];

  /** @param corpus null: there is none of that name any more. */
  put(owner: string, name: string, corpus: DrafterRecord | null): void {
    const others = this.#kept.filter((kept) => !(kept.owner === owner && kept.name === name));
    if (corpus === null) {
      this.#kept = others;
      return;
    }
    const own = others.filter((kept) => kept.owner === owner);
    const tooMany = own.slice(0, Math.max(0, own.length + 1 - MAX_NAMES));
    let kept = [...others.filter((each) => !tooMany.includes(each)), { owner, name, corpus }];
    while (kept.reduce((sum, each) => sum + each.corpus.tokens.length, 0) > MAX_TOKENS) kept = kept.slice(1);
    this.#kept = kept;
  }

  /** What a caller has put under a name; it stays longest now. */
  find(owner: string, name: string): DrafterRecord | undefined {
    const found = this.#kept.find((kept) => kept.owner === owner && kept.name === name);
    if (found !== undefined) this.#kept = [...this.#kept.filter((kept) => kept !== found), found];
    return found?.corpus;
  }
}
