/**
 * draft-head: a head that is cheaper than the model's own and nearly as good. It proposes tokens; the model's own head
 * verifies several of them with one read of its weights.
 */
import type { Floats } from "../backend/backend.ts";
import type { Drawn, DrawTask } from "../backend/draw-kernels.ts";
import type { HeadLook } from "./head/head.ts";

/** A draft's row that lies on another device. */
export interface LateDraftRow {
  /** V */
  readonly vocab: number;
  /** As DrawKernels.draw; null: that cannot be told. */
  draw(task: DrawTask): Promise<Drawn | null>;
  load(): Promise<Float32Array>;
}

/** What a draft head makes of a state. Valid until its next call. */
export interface DraftRow {
  /** Where the row is elsewhere: what can be asked of it. All else throws a TypeError then. */
  readonly late?: LateDraftRow;
  /** Logits, (V); −∞ for tokens that the head does not know. */
  row(): Float32Array;
  /** The `count` largest logits, best first, and their tokens. */
  top(count: number): { ids: Uint32Array; logits: Float32Array };
  /** Of heads that draw by their own noise. */
  readonly own?: Required<Pick<HeadLook, "logit" | "draw">>;
}

/** Of one text. */
export interface DraftHead {
  /** Weights it reads for a row, in bytes. */
  readonly bytes: number;
  /** Tells it of tokens in the text, in order: what was said is often said again. */
  learn(tokens: ArrayLike<number>): void;
  /** @param state (D), as the model's own head takes it. */
  read(state: Floats): Promise<DraftRow>;
  close(): void;
}
