// In Node a timer waits a millisecond, which is several tokens of a small model; workerd and browsers have only timers.
const { setImmediate } = globalThis as { setImmediate?: (callback: () => void) => void };

/** Lets other requests, timers, an abort signal and a client's disconnect have their turn. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (setImmediate === undefined) setTimeout(resolve, 0);
    else setImmediate(resolve);
  });
}
