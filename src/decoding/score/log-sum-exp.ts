/**
 * log Σ e^(z/T) in one pass, and the negative log-likelihood with it, so that a row need never be in memory.
 *
 *     a, s  ←  a, s + e^((z − a)/T)              while z stays within reach of the anchor a, the first logit
 *     a, s  ←  z, s·e^((a − z)/T) + 1            where it would not: (z − a)/T > 32
 *     lse   =  a/T + ln s
 *
 * Token by token, not block by block: the value is the same, to the last bit, however the row is cut. One exp per token.
 * To move the anchor with every new maximum, as is usual, would multiply rounding errors along a row that ascends.
 * −∞ adds nothing.
 *
 * Sources: Milakov, Gimelshein 2018, arXiv:1805.02867; Wijmans et al. 2024, Cut Cross-Entropy, arXiv:2411.09009.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { exp, log } from "../../math.ts";
import type { Row } from "../draft.ts";

/** How far above the anchor a logit may be, in units of T: e^32 is 8e13. */
const REACH = 32;

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
  #anchor = -Infinity;
  #sum = 0;

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
    return this.#sum === 0 ? 0 : this.#sum * exp((this.#anchor - this.#max) / this.temperature);
  }

  /** log Σ e^(z/T); −∞ of nothing. */
  get value(): number {
    return this.#sum === 0 ? -Infinity : this.#anchor / this.temperature + log(this.#sum);
  }

  /** −ln p of a token with this logit, once all are added. Never below 0. */
  nll(logit: number): number {
    return Math.max(0, log(this.#sum) - (logit - this.#anchor) / this.temperature);
  }

  /**
   * The logits of the next tokens.
   *
   * @throws {RangeError} If one is NaN or +∞; names its token. Nothing of the block is taken then.
   */
  add(block: ArrayLike<number>): void {
    const { temperature } = this;
    let max = this.#max;
    let anchor = this.#anchor;
    let sum = this.#sum;
    for (let i = 0; i < block.length; i++) {
      const z = block[i];
      if (z === -Infinity) continue;
      if (!(z < Infinity)) {
        throw new RangeError(`Logits must be numbers below Infinity, got ${z} at token ${this.#count + i}`);
      }
      if (z > max) max = z;
      const distance = (z - anchor) / temperature;
      if (distance <= REACH) {
        sum += exp(distance);
      } else {
        sum = sum * exp(-distance) + 1;
        anchor = z;
      }
    }
    this.#max = max;
    this.#anchor = anchor;
    this.#sum = sum;
    this.#count += block.length;
  }
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
