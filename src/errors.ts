/**
 * TypeError means a value of the wrong kind, RangeError a value outside what is allowed, UnsupportedError
 * something valid that this host or this build cannot do. UnsupportedError is the only class that callers may
 * answer by trying something else (another build, another backend).
 */
export class UnsupportedError extends Error {
  override name = "UnsupportedError";
}

/** What is asked for does not fit into the memory that is left now; it may once something else is closed. */
export class MemoryError extends RangeError {
  override name = "MemoryError";
}

/** A server that rows come from cannot be reached, refuses, or answers what makes no sense; its keys are never told. */
export class RemoteError extends Error {
  override name = "RemoteError";
}

/** 1234567 -> "1,234,567". Byte counts in messages are unreadable without it; locale-free on purpose. */
export function grouped(value: number | bigint): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Throws unless `value` is an integer in [min, max]; the message names the argument. */
export function expectInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") {
    throw new TypeError(`"${name}" must be an integer, got ${typeof value}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`"${name}" must be an integer from ${min} to ${max}, got ${value}`);
  }
  return value;
}

/** Throws unless `value` is a finite number in [min, max]; the message names the argument. */
export function expectNumber(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") {
    throw new TypeError(`"${name}" must be a number, got ${typeof value}`);
  }
  if (!(value >= min && value <= max)) {
    throw new RangeError(`"${name}" must be a number from ${min} to ${max}, got ${value}`);
  }
  return value;
}
