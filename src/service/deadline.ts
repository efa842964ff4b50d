import { apiError } from "./errors.ts";

/** A signal that fires when the client has gone, or the time of its request is over. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** Call it when the request has ended, or the timer holds on to it. */
  clear(): void;
}

/** @param signal Of the client's leaving. */
export function deadlineAfter(ms: number, signal: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  const leave = () => controller.abort(signal!.reason);
  const timer = setTimeout(() => controller.abort(tooLong(ms)), ms);
  if (signal?.aborted) leave();
  else signal?.addEventListener("abort", leave, { once: true });
  return {
    signal: controller.signal,
    clear() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
    },
  };
}

function tooLong(ms: number) {
  // A second try would take as long.
  return apiError(504, `The request took longer than ${ms} ms, the most that this server spends on one`, {
    code: "request_timeout",
    headers: { "x-should-retry": "false" },
  });
}
