/**
 * log Σ e^(z/T) in one pass, and the negative log-likelihood with it, so that a row need never be in memory. The sum is that
 * of backend/reference/likelihood.ts: the same, to the last bit, however the row is cut.
 *
 * Sources: Milakov, Gimelshein 2018, arXiv:1805.02867; Wijmans et al. 2024, Cut Cross-Entropy, arXiv:2411.09009.
 */
import { addLogits, type RunningSum } from "../../backend/reference/likelihood.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import { exp, log } from "../../math.ts";
import type { Row } from "../draft.ts";

/**
 * The log-sum-exp of a row that comes in pieces.
 *
 * @example
 * ```ts
 * const lse = new OnlineLogSumExp();
 * lse.add(Float32Array.of(1, 3));
 * lse.add(Float32Array.of(2, 0, -1));
 * lse.value; // 3.4519…
 * ```
 */
export class OnlineLogSumExp {
  readonly temperature: number;
  #count = 0;
  #max = -Infinity;
  readonly #running: RunningSum = { anchor: -Infinity, sum: 0 };

  constructor(temperature = 1) {
    this.temperature = expectNumber("temperature", temperature, 1e-3, 1e3);
  }

  /** Tokens so far. */
  get count(): number {
    return this.#count;
  }

  /** Largest logit so far; −∞ before the first. */
  get max(): number {
    return this.#max;
  }

  /** Σ e^((z − max)/T): from 1 to `count`, or 0 if nothing is above −∞. */
  get sum(): number {
    const { anchor, sum } = this.#running;
    return sum === 0 ? 0 : sum * exp((anchor - this.#max) / this.temperature);
  }

  /** log Σ e^(z/T); −∞ of nothing. */
  get value(): number {
    const { anchor, sum } = this.#running;
    return sum === 0 ? -Infinity : anchor / this.temperature + log(sum);
  }

  /** −ln p of a token with this logit, once all are added. Never below 0. */
  nll(logit: number): number {
    return nllOf(this.#running, logit, this.temperature);
  }

  /**
   * The logits of the next tokens.
   *
   * @throws {RangeError} If one is NaN or +∞; names its token. Nothing of the block is taken then.
   */
  add(block: ArrayLike<number>): void {
    const wrong = addLogits(this.#running, block, this.temperature);
    if (wrong >= 0) {
      const token = this.#count + wrong;
      throw new RangeError(`Logits must be numbers below Infinity, got ${block[wrong]} at token ${token}`);
    }
    for (let i = 0; i < block.length; i++) if (block[i] > this.#max) this.#max = block[i];
    this.#count += block.length;
  }
}

/** −ln p of a token with this logit, of a row with this sum. Never below 0. */
export function nllOf({ anchor, sum }: Readonly<RunningSum>, logit: number, temperature = 1): number {
  return Math.max(0, log(sum) - (logit - anchor) / temperature);
}

/** A head at one hidden state, which can give its row a block at a time. */
export interface BlockHead {
  readonly vocab: number;
  /** (end − start) logits of tokens start … end − 1. Read before the next call, so that one buffer serves for all. */
  logits(start: number, end: number): Row | Promise<Row>;
}

/**
 * −ln p(token) of a head's row, of which only one block is in memory at a time. Bit for bit the score "nll" of the row.
 *
 * @param blockSize Tokens per block; does not change the value.
 * @throws {RangeError} If a block has another length than was asked for, a logit is NaN or +∞, or none is above −∞.
 */
export async function blockNll(head: BlockHead, token: number, blockSize = 4096): Promise<number> {
  const vocab = expectInteger("head.vocab", head.vocab, 1, 2 ** 31 - 1);
  expectInteger("token", token, 0, vocab - 1);
  expectInteger("blockSize", blockSize, 1, 2 ** 31 - 1);
  const online = new OnlineLogSumExp();
  let logit = -Infinity;
  for (let start = 0; start < vocab; start += blockSize) {
    const end = Math.min(vocab, start + blockSize);
    const block = await head.logits(start, end);
    expectInteger(`length of logits(${start}, ${end})`, block.length, end - start, end - start);
    online.add(block);
    if (token >= start && token < end) logit = block[token - start];
  }
  if (online.sum === 0) throw new RangeError("The head must give a logit above -Infinity, gave none");
  return online.nll(logit);
}
