/**
 * DrawKernels: the token that follows, where a row is made in another memory than those who sample it: a few words cross
 * instead of the row.
 */
import type { Floats } from "./backend.ts";

/** From whole rows, as they are. */
export interface DrawTask {
  /** Divides logits; 0: the best token. */
  readonly temperature: number;
  readonly seed: number;
  /** Of the token, in its sequence. */
  readonly position: number;
}

export interface Drawn {
  readonly token: number;
  /** ln p of it in the law it was drawn from, within 1e-5. */
  readonly logProbability: number;
}

export interface DrawKernels {
  /**
   * What the race of pipeline/race.ts gives over the first `vocab` values; null if two tokens are so close that rounding
   * decides, or the row has none: who needs to know looks at the row.
   */
  draw(x: Floats, vocab: number, task: DrawTask): Promise<Drawn | null>;
}
