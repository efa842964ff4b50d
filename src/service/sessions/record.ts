/**
 * What a session is: the text so far and what decides how it goes on. All else, its keys and values too, can be computed from
 * that again, bit for bit.
 */
import type { SamplingOptions } from "../../engine/model.ts";
import { apiError } from "../errors.ts";
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
  /** In milliseconds since 1970. */
  readonly created: number;
  /** Prompt and output. */
  tokens: number[];
  /** How many of them are the prompt. */
  promptLength: number;
  drafter: DrafterRecord | null;
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
