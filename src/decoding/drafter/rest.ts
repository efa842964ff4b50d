/**
 * rest: after a failure, decode plainly for a while.
 *
 * The first rest is one step (the rule of ONNX Runtime GenAI), the next twice as long, and so on, until what failures
 * cost is half a percent of the time.
 */

/** Failures' share of the time, when nothing else happens any more. */
const SHARE = 0.005;
const LONGEST = 256;

export class Rest {
  #next = 1;
  /** Plain steps still to make. */
  left = 0;

  /** @param loss Of the failure, in plain steps. */
  begin(loss: number): void {
    this.left = Math.min(this.#next, Math.floor(loss / SHARE));
    this.#next = Math.min(this.#next * 2, LONGEST);
  }

  /** It went well this time, which may be luck. */
  shorten(): void {
    this.#next = Math.max(1, this.#next >> 1);
  }

  /** Another text: what failed may work there. */
  end(): void {
    this.left = 0;
    this.shorten();
  }

  recordPlainSteps(count: number): void {
    this.left = Math.max(0, this.left - count);
  }
}
