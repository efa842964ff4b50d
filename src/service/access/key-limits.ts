import { expectInteger } from "../../errors.ts";

/** What one key may take; absent: as much as it likes. Counted in this process, or this isolate of a Worker. */
export interface KeyLimits {
  readonly requestsPerMinute?: number;
  /** Of prompts and answers together. */
  readonly tokensPerMinute?: number;
  /** Requests that decode or wait at one time. */
  readonly concurrency?: number;
}

const NAMES = ["requestsPerMinute", "tokensPerMinute", "concurrency"] as const;

/** The limits among `options`. @throws {TypeError | RangeError} If one is no integer of at least 1; names the path. */
export function readKeyLimits(path: string, options: KeyLimits): KeyLimits {
  const given = NAMES.filter((name) => options[name] !== undefined);
  return Object.fromEntries(
    given.map((name) => [name, expectInteger(`${path}.${name}`, options[name], 1, 2 ** 31 - 1)]),
  );
}
