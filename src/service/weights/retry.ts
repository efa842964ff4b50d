import { grouped, RemoteError } from "../../errors.ts";

/** How often a read is tried in all. */
const ATTEMPTS = 4;

const FIRST_DELAY_MS = 50;

/** An error that another try would meet again. */
export class FinalError extends Error {}

/**
 * What `attempt` gives, tried again after 50, 100 and 200 ms.
 *
 * @throws What the last try threw; a FinalError at once.
 */
export async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      if (tried === ATTEMPTS || error instanceof FinalError) throw error;
      const delay = FIRST_DELAY_MS * 2 ** (tried - 1);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

/** What is said of bytes that could not be had. */
export function pieceError(key: string, from: number, to: number, reason: string): RemoteError {
  return new RemoteError(`Cannot read bytes ${grouped(from)} to ${grouped(to - 1)} of "${key}": ${reason}`);
}
