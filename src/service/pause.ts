/**
 * Waits a moment before one looks again at what another request does.
 *
 * Requests wait for each other by looking, not by a shared promise: workerd cancels as hung a request that waits
 * without a timer or I/O of its own, and never continues one by a promise that a cancelled request made.
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 2);
  });
}
