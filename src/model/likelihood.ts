/**
 * likelihood: how likely tokens are after states, without a row in memory.
 *
 *     −ln p(token)  =  ln Σ exp(W · state) − W[token] · state
 *
 * The head's weights go by in tiles of the vocabulary, each read once for all states of a call. Of a tile's logits a sum is
 * left, and the logits of tokens that were asked for. Bit for bit the score "nll" of the rows.
 *
 * Memory: CHUNK · TILE f32, 128 KiB, whatever the vocabulary is; a row of 151,936 tokens has 594 KiB.
 *
 * Source: Wijmans et al. 2024, Cut Cross-Entropy, arXiv:2411.09009.
 */
import { type Backend, type Floats, type Matrix, stride } from "../backend/backend.ts";
import { nllOf } from "../decoding/score/log-sum-exp.ts";
import { expectInteger } from "../errors.ts";

/** Tokens whose logits are in memory together. */
const TILE = 1024;
/** States of one pass over the weights. */
const CHUNK = 32;

/**
 * @example
 * ```ts
 * const likelihood = new Likelihood(backend, head);
 * const nll = await likelihood.nll(states, tokens);
 * likelihood.close();
 * ```
 */
export class Likelihood {
  readonly #backend: Backend;
  readonly #head: Matrix;
  /** (CHUNK, tile) */
  readonly #logits: Floats;

  /** @param head (V, D); stays the caller's. @throws {MemoryError} If there is no room for a tile. */
  constructor(backend: Backend, head: Matrix) {
    this.#backend = backend;
    this.#head = head;
    this.#logits = backend.floats(Likelihood.length(head.rows));
  }

  /** f32 values that it holds. */
  static length(vocab: number): number {
    return CHUNK * stride(Math.min(TILE, vocab));
  }

  /**
   * −ln p of each token after the state of its place.
   *
   * @param states (tokens.length, D), as the head takes them.
   * @returns (tokens.length) nats; infinite where the token's logit is −∞.
   * @throws {RangeError} If a token is not below V, or a row has NaN, +∞ or no logit above −∞.
   */
  async nll(states: Floats, tokens: ArrayLike<number>): Promise<Float64Array> {
    const { rows: vocab, cols: hidden } = this.#head;
    for (let i = 0; i < tokens.length; i++) expectInteger(`tokens[${i}]`, tokens[i], 0, vocab - 1);
    const nlls = new Float64Array(tokens.length);
    for (let first = 0; first < tokens.length; first += CHUNK) {
      const some = Array.from(
        { length: Math.min(CHUNK, tokens.length - first) },
        (_, i) => tokens[first + i],
      );
      const part = this.#backend.slice(states, first * hidden, some.length * hidden);
      nlls.set(await this.#pass(part, some), first);
    }
    return nlls;
  }

  close(): void {
    this.#backend.free(this.#logits);
  }

  async #pass(states: Floats, tokens: readonly number[]): Promise<number[]> {
    const backend = this.#backend;
    const { rows: vocab } = this.#head;
    const kernels = backend.likelihoodKernels();
    const columns = tokens.length;
    const sums = new Float64Array(2 * columns).map((_, i) => (i % 2 === 0 ? -Infinity : 0));
    const logits = new Array<number>(columns).fill(-Infinity);
    for (let first = 0; first < vocab; first += TILE) {
      const count = Math.min(TILE, vocab - first);
      const tile = backend.slice(this.#logits, 0, columns * stride(count));
      backend.matmul(states, columns, [{ weights: backend.rowsOf(this.#head, first, count), out: tile }]);
      const wrong = await kernels.add(tile, count, columns, sums);
      const asked = tokens.flatMap((token, i) => (token >= first && token < first + count ? [i] : []));
      if (asked.length === 0 && wrong < 0) continue;
      const values = await backend.read(tile);
      if (wrong >= 0) {
        const token = first + (wrong % stride(count));
        throw new RangeError(`Logits must be numbers below Infinity, got ${values[wrong]} at token ${token}`);
      }
      for (const i of asked) logits[i] = values[i * stride(count) + tokens[i] - first];
    }
    return logits.map((logit, i) => {
      const running = { anchor: sums[2 * i], sum: sums[2 * i + 1] };
      if (running.sum === 0) throw new RangeError("The head must give a logit above -Infinity, gave none");
      return nllOf(running, logit);
    });
  }
}
