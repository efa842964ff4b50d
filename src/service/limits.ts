import { expectInteger } from "../errors.ts";

/** What one request may take. Each is an integer of at least 1. */
export interface Limits {
  /** Bytes of a body. Default 1 MiB. */
  readonly maxBodyBytes: number;
  /** Bytes of all bodies that are held at one time, of requests that wait too. Default 2 MiB, or one body. */
  readonly maxHeldBytes: number;
  /** Milliseconds to receive a body in. Default 10,000. */
  readonly bodyMs: number;
  /** Arrays and objects within each other. Default 64. */
  readonly maxDepth: number;
  /** Milliseconds from the first byte to the last of the answer, waiting included. Default 300,000. */
  readonly requestMs: number;
  /** Tokens to decode, of all texts of a request together. Default 65,536. */
  readonly maxTokens: number;
  /** Milliseconds a client may leave its stream unread before it is given up. Default 30,000. */
  readonly stallMs: number;
}

/**
 * Text and parsed values of a body take some eight times its bytes. So 2 MiB of bodies take 16, which beside 100 MiB for
 * models and what the code itself takes keeps within the 128 MB of an isolate.
 */
const DEFAULTS: Limits = {
  maxBodyBytes: 1 << 20,
  maxHeldBytes: 1 << 21,
  bodyMs: 10_000,
  maxDepth: 64,
  requestMs: 300_000,
  maxTokens: 65_536,
  stallMs: 30_000,
};

/** @throws {TypeError | RangeError} If a limit is no integer of at least 1; names it. */
export function readLimits(given: Partial<Limits>): Limits {
  const names = Object.keys(DEFAULTS) as (keyof Limits)[];
  const limits = Object.fromEntries(
    names.map((name) => [name, expectInteger(name, given[name] ?? DEFAULTS[name], 1, 2 ** 31 - 1)]),
  ) as unknown as Limits;
  // A body that is allowed must fit where all of them are held.
  return { ...limits, maxHeldBytes: Math.max(limits.maxHeldBytes, limits.maxBodyBytes) };
}
