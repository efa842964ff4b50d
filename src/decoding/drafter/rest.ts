/**
 * rest: after failures, decode plainly for a while.
 *
 * Three rounds in a row at the shortest length that accept nothing, or rounds that are on average slower than plain
 * decoding, are a failure. The first rest is one step (the rule of ONNX Runtime GenAI); each one that ends in another
 * failure is twice as long as the one before, up to 64, so that hopeless drafts cost next to nothing. It starts over
 * when rounds pay on average; that one did may be luck.
 */
import { smooth } from "./cost-curve.ts";

const ZERO_ROUNDS = 3;
/** Rounds before their mean gain is trusted. */
const SAMPLES = 3;
const LONGEST = 64;

export class Rest {
  #zeros = 0;
  #rounds = 0;
  #gain: number | undefined;
  #next = 1;
  /** Plain steps still to make. */
  left = 0;

  /** Whether rounds have lately been slower than plain decoding. */
  get losing(): boolean {
    return this.#rounds >= SAMPLES && this.#gain !== undefined && this.#gain < 1;
  }

  /** @param gain What plain decoding would have cost for the emitted tokens, in units of what the round cost. */
  recordRound(accepted: number, gain: number, shortest: boolean): void {
    this.#rounds++;
    this.#gain = smooth(this.#gain, gain);
    this.#zeros = shortest && accepted === 0 ? this.#zeros + 1 : 0;
    if (!this.losing) this.#next = 1;
    if (this.#zeros === ZERO_ROUNDS || (this.losing && shortest)) this.#begin();
  }

  /** The length has changed: what was gained with another one says nothing. */
  forgetGain(): void {
    this.#rounds = 0;
    this.#gain = undefined;
  }

  recordPlainSteps(count: number): void {
    this.left = Math.max(0, this.left - count);
  }

  #begin(): void {
    this.left = this.#next;
    this.#next = Math.min(this.#next * 2, LONGEST);
    this.#zeros = 0;
  }
}
