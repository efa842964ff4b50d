import type { Draft } from "../decoding/draft.ts";
import type { Drafter } from "../decoding/drafter/drafter.ts";
import { chain, expectGamma, expectTokens } from "../decoding/drafter/drafter.ts";
import { createPipeline, type Pipeline, type PipelineSettings, settingsSteps } from "../decoding/pipeline.ts";
import { expectInteger, grouped } from "../errors.ts";
import type { Model } from "./model.ts";
import type { Session } from "./source.ts";

/**
 * Drafts with a smaller model of the same vocabulary.
 *
 * It samples its own rows with the request's settings and the random numbers of the positions they are for, the same that
 * the target will use: where the two models nearly agree, so do their draws. The target's sampler still decides, so
 * whatever comes from here changes the speed alone.
 */
export class ModelDrafter implements Drafter {
  readonly vocab: number;
  readonly #session: Session;
  readonly #pipeline: Pipeline;
  readonly #seed: number;
  readonly #committed: number[] = [];
  /** What the session has computed: committed tokens, and drafts that may turn out right. */
  #computed: number[] = [];

  /** @param capacity Positions of the target's session, or fewer: beyond the draft model's context nothing is drafted. */
  constructor(model: Model, capacity: number, sampling: PipelineSettings) {
    this.vocab = model.vocab;
    this.#session = model.open({ capacity: Math.min(capacity, model.contextLength) });
    this.#pipeline = createPipeline(settingsSteps(sampling));
    this.#seed = sampling.seed;
  }

  get length(): number {
    return this.#committed.length;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) this.#committed.push(tokens[i]);
  }

  truncate(length: number): void {
    this.#committed.length = expectInteger("length", length, 0, this.length);
  }

  async draft(gamma: number): Promise<Draft> {
    const session = this.#session;
    const most = Math.min(expectGamma(gamma), session.capacity - this.length + 1);
    if (most <= 0 || this.length === 0) return chain([], 0);
    // At least the last committed token is computed on: its row is what the draft begins with.
    const kept = Math.min(this.#agreeing(), this.length - 1);
    session.truncate(kept);
    this.#computed = this.#committed.slice();
    let pending: readonly number[] = this.#committed.slice(kept);
    const history = this.#committed.slice();
    for (;;) {
      const rows = await session.forward(pending, 1);
      const place = { history, promptLength: history.length, position: history.length, seed: this.#seed };
      history.push(this.#pipeline.sample(rows.row(0), place).token);
      pending = history.slice(-1);
      if (history.length === this.length + most) break;
      this.#computed.push(pending[0]);
    }
    return chain(history.slice(this.length), most);
  }

  /** How many of the computed tokens are committed by now. */
  #agreeing(): number {
    const differs = this.#computed.findIndex((token, i) => token !== this.#committed[i]);
    return differs < 0 ? this.#computed.length : differs;
  }

  close(): void {
    this.#session.close();
  }
}

/** Pairs that were looked at and share a vocabulary. */
const knownPairs = new WeakMap<Model, WeakSet<Model>>();

/** @throws {RangeError} If a token does not stand for the same bytes in both models. */
export function expectSameVocabulary(target: Model, draft: Model): void {
  if (knownPairs.get(target)?.has(draft)) return;
  if (draft.vocab !== target.vocab) {
    throw new RangeError(
      `"draft" must be a model of the same vocabulary of ${grouped(target.vocab)} tokens, got ${grouped(draft.vocab)}`,
    );
  }
  const known = Math.min(target.tokenizer.vocab, draft.tokenizer.vocab);
  for (let token = 0; token < known; token++) {
    const [ours, theirs] = [target.tokenizer.bytes(token), draft.tokenizer.bytes(token)];
    if (ours.length !== theirs.length || ours.some((byte, i) => byte !== theirs[i])) {
      throw new RangeError(`"draft" must be a model of the same vocabulary, token ${grouped(token)} differs`);
    }
  }
  knownPairs.set(target, (knownPairs.get(target) ?? new WeakSet()).add(draft));
}
