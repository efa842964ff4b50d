/** Where in a text a row stands that comes with a request: what a pipeline may depend on beside the row. */
import type { PipelineState } from "../decoding/pipeline.ts";
import { seedOf } from "../engine/options.ts";
import { show } from "./errors.ts";
import { isIntegerIn, MAX_VOCAB, readIds, wrong } from "./rows.ts";

/** Tokens of a history, and words of a bitmask. */
const MAX_HISTORY = 1 << 20;
const MAX_WORDS = MAX_VOCAB / 32;

export interface RowPlace {
  readonly history: readonly number[];
  readonly promptLength: number;
  /** Of the token to choose. */
  readonly position: number;
  readonly seed: number;
}

interface PlaceFields {
  readonly history?: unknown;
  readonly prompt_length?: number | null;
  readonly position?: number | null;
  readonly seed?: number | null;
  readonly sampling?: { readonly seed?: number | null } | null;
}

/** @throws {HTTPException} 400 that names the field. */
export function readPlace(body: PlaceFields): RowPlace {
  const history = body.history == null ? [] : readIds("history", body.history, MAX_HISTORY);
  const promptLength = body.prompt_length ?? 0;
  if (promptLength > history.length) {
    throw wrong(
      "prompt_length",
      `must be at most ${history.length}, the length of "history", got ${promptLength}`,
    );
  }
  const asked = body.seed ?? body.sampling?.seed ?? -1;
  const seed = seedOf({ seed: asked === -1 ? undefined : asked });
  return { history, promptLength, position: body.position ?? history.length, seed };
}

/** What the pipeline left behind at the token before. @throws {HTTPException} 400, if it is not what an answer gave. */
export function readState(value: unknown, start: PipelineState): PipelineState {
  if (value === undefined || value === null) return start;
  const { length } = start.memory;
  if (Array.isArray(value) && value.length === length && value.every(Number.isFinite))
    return { memory: value };
  throw wrong("state", `must have ${length} numbers, as the answer before gave`);
}

/** Words of 32 tokens each. @throws {HTTPException} 400 that names the word. */
export function readBitmask(value: unknown): Uint32Array | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || value.length > MAX_WORDS) {
    throw wrong("bitmask", `must be an array of at most ${MAX_WORDS} words of 32 bits, got ${show(value)}`);
  }
  const bad = value.findIndex((word) => !isIntegerIn(word, 0, 2 ** 32 - 1));
  if (bad < 0) return Uint32Array.from(value);
  throw wrong(`bitmask[${bad}]`, `must be an integer from 0 to 4294967295, got ${show(value[bad])}`);
}
