/**
 * What a session is: the text so far and what decides how it goes on. All else, its keys and values too, can be computed from
 * that again, bit for bit.
 */
import type { Pipeline, PipelineState } from "../../decoding/pipeline.ts";
import type { SamplingOptions } from "../../engine/model.ts";
import { apiError } from "../errors.ts";
import type { FormatFields } from "../options/format-fields.ts";
import type { DRAFTER_KINDS } from "../schemas/sessions.ts";

/** What is copied from, to draft where the session lives. */
export interface DrafterRecord {
  /** What the text will probably be, from the prompt's end on, or texts like it. */
  readonly kind: (typeof DRAFTER_KINDS)[number];
  readonly tokens: readonly number[];
}

/** Plain data. */
export interface SessionRecord {
  /** 128 random bits. */
  readonly id: string;
  /** Name of the key that made it. */
  readonly owner: string;
  readonly model: string;
  /** Of the model's weights: with others the text would go on as another one. */
  readonly fingerprint: string;
  readonly seed: number;
  /** Tokens to hold at most. */
  readonly capacity: number;
  readonly sampling: SamplingOptions;
  readonly ignoreEos: boolean;
  /** What the output must be, as completions are asked for it; null: anything. */
  readonly format: FormatFields | null;
  /** In milliseconds since 1970. */
  readonly created: number;
  /** Prompt and output. */
  tokens: number[];
  /** How many of them are the prompt. */
  promptLength: number;
  /** What the pipeline remembers after each token of the output; nothing, where it has no memory. */
  memory: (readonly number[])[];
  drafter: DrafterRecord | null;
}

/** What the pipeline remembers at the end of the text. */
export function stateOf({ memory }: Pick<SessionRecord, "memory">, pipeline: Pipeline): PipelineState {
  const last = memory.at(-1);
  return last === undefined ? pipeline.start() : { memory: last };
}

/** Forgets all tokens from `length` on; of a prompt that is cut, all of it is prompt. */
export function cutText(record: SessionRecord, length: number): void {
  record.tokens.length = length;
  record.promptLength = Math.min(record.promptLength, length);
  record.memory.length = Math.min(record.memory.length, length - record.promptLength);
}

/** Where a session is kept that must outlive this process. */
export interface SessionStore {
  load(): SessionRecord | undefined;
  save(record: SessionRecord): void;
  delete(): void;
}

/** 32 hexadecimal digits: 128 bits that nobody can guess. */
export function newSessionId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

export function isSessionId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** 404, the same for a session of another key: nobody learns that it is there. */
export function sessionNotFound() {
  return apiError(404, "There is no such session; it may have expired, or its server was restarted", {
    param: "session",
    code: "session_not_found",
  });
}
