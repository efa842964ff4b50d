/** prompts: from a prompt to a session that holds it but for its last part, computed as little and as seldom as can be. */

import { nextTask } from "../decoding/next-task.ts";
import { readTokens } from "../decoding/read-tokens.ts";
import type { Batcher } from "./batch.ts";
import { type PrefixCache, wholePages } from "./prefix-cache.ts";
import type { LocalSession } from "./session.ts";
import type { Session, SessionOptions } from "./source.ts";

/** A text's session on its way. */
export interface OpenText {
  /** Holds a beginning of the prompt; never all of it. */
  readonly session: Session;
  /** Tokens of the prompt that were there already. */
  readonly cachedTokens: number;
  /** Ends it. @param tokens All that it held, if that is worth keeping for texts that go on from here. */
  close(tokens?: readonly number[]): void;
}

/** Whom the text is for. */
export type OpenTextOptions = Pick<SessionOptions, "signal" | "lease">;

/** Without a sign of life for so long, whoever computes a beginning is not waited for: a request may be cut off. */
const PATIENCE_MS = 2000;

export class Prompts {
  readonly #prefixes: PrefixCache;
  readonly #batcher: Batcher;

  /** @param batcher Over the model that `prefixes` opens sessions of. */
  constructor(prefixes: PrefixCache, batcher: Batcher) {
    this.#prefixes = prefixes;
    this.#batcher = batcher;
  }

  /**
   * @throws {MemoryError} If there is no memory for `capacity` positions.
   * @throws {DOMException} AbortError, when the signal fires.
   */
  async open(
    prompt: readonly number[],
    capacity: number,
    { signal, lease }: OpenTextOptions = {},
  ): Promise<OpenText> {
    while (this.#prefixes.isComing(prompt, performance.now() - PATIENCE_MS)) {
      await nextTask();
      signal?.throwIfAborted();
    }
    const local = this.#prefixes.open(prompt, capacity, lease);
    const cachedTokens = local.length;
    const session = this.#batcher.adopt(local);
    try {
      await this.#read(local, session, prompt.slice(0, wholePages(prompt.length - 1)), signal);
    } catch (error) {
      session.close();
      throw error;
    }
    return {
      session,
      cachedTokens,
      close: (tokens) => {
        if (tokens !== undefined) this.#prefixes.keep(local, tokens);
        session.close();
      },
    };
  }

  /** Computes on whole pages, and keeps them. The rest goes with the call that gives the first row. */
  async #read(local: LocalSession, session: Session, tokens: readonly number[], signal?: AbortSignal) {
    if (session.length >= tokens.length) return;
    const reading = this.#prefixes.beginReading(local, tokens, performance.now());
    try {
      await readTokens(session, tokens, signal, () => {
        reading.seen = performance.now();
      });
      this.#prefixes.keep(local, tokens);
    } finally {
      this.#prefixes.endReading(reading);
    }
  }
}
