/**
 * Passes text on until one of the stop texts appears; holds back what could be the beginning of one.
 *
 * @example
 * ```ts
 * const matcher = new StopMatcher(["END"]);
 * matcher.push("abcE"); // "abc"
 * matcher.push("NDxyz"); // "", and matcher.stopped is true
 * ```
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = "";
  #stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** A stop text was found; nothing more will be passed on. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Some text is held back. */
  get holding(): boolean {
    return this.#held !== "";
  }

  push(text: string): string {
    if (this.#stopped) return "";
    const all = this.#held + text;
    const found = this.#stops.map((stop) => all.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      this.#stopped = true;
      this.#held = "";
      return all.slice(0, Math.min(...found));
    }
    const held = this.#possibleStart(all);
    this.#held = all.slice(all.length - held);
    return all.slice(0, all.length - held);
  }

  /** What was held back; no stop text followed. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that begins a stop text. */
  #possibleStart(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
