/**
 * session-nll: how likely the tokens of a text are, of a model in this process, a pass at a time:
 *
 *     CHUNK tokens  →  layers  →  states (CHUNK, D)  →  the head, by tiles of the vocabulary  →  CHUNK numbers
 */
import type { Backend, KvCache } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import { CHUNK, type Llama } from "../model/llama.ts";

export interface NllCall {
  readonly backend: Backend;
  readonly model: Llama;
  /** Positions of the tokens are claimed. */
  readonly cache: KvCache;
  /** Of the first token. */
  readonly position: number;
  readonly tokens: readonly number[];
  readonly targets: ArrayLike<number>;
  /** Throws if the session was called, or closed, while this waited. */
  expectCurrent(): void;
}

/** @throws {RangeError} If there is not one target for each token, below `vocab`. */
export function checkTargets(targets: ArrayLike<number>, tokens: number, vocab: number): void {
  expectInteger("targets.length", targets.length, tokens, tokens);
  for (let i = 0; i < targets.length; i++) expectInteger(`targets[${i}]`, targets[i], 0, vocab - 1);
}

/** −ln p of each target after the token of its place. The memory that it takes is given back. */
export async function computeNll(call: NllCall): Promise<Float64Array> {
  const { backend, model, cache, position, tokens, targets, expectCurrent } = call;
  const { hidden } = model.config;
  const states = backend.floats(Math.min(CHUNK, tokens.length) * hidden);
  try {
    const likelihood = model.openLikelihood();
    try {
      const nlls = new Float64Array(tokens.length);
      for (let at = 0; at < tokens.length; at += CHUNK) {
        const some = tokens.slice(at, at + CHUNK);
        const out = backend.slice(states, 0, some.length * hidden);
        const runs = [{ columns: some.length, position: position + at }];
        model.forward([
          { cache, tokens: some, runs, rows: 0, out: backend.slice(states, 0, 0), states: out },
        ]);
        const asked = Array.from(some, (_, i) => targets[at + i]);
        nlls.set(await likelihood.nll(out, asked), at);
        expectCurrent();
      }
      return nlls;
    } finally {
      likelihood.close();
    }
  } finally {
    backend.free(states);
  }
}
