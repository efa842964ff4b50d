import type { Context } from "hono";
import { deadlineAfter } from "./deadline.ts";
import { keepAlive } from "./respond.ts";
import type { Service, ServiceEnv } from "./service.ts";
import type { Slot } from "./slots.ts";

/**
 * Waits for a slot, works, and gives it back. For what computes a moment and answers in one piece; its memory counts, so
 * it takes its turn among those who decode.
 *
 * @throws {HTTPException} 429, if too many requests are waiting already.
 */
export async function inTurn<T>(
  c: Context<ServiceEnv>,
  service: Service,
  work: (slot: Slot) => Promise<T>,
): Promise<T> {
  // A Worker freezes a request whose client has left; kept alive, it can leave the queue.
  let rest = () => {};
  keepAlive(c)(
    new Promise<void>((resolve) => {
      rest = resolve;
    }),
  );
  const deadline = deadlineAfter(service.limits.requestMs, c.get("signal"));
  let slot: Slot | undefined;
  try {
    slot = await service.slots.acquire(deadline.signal, c.get("caller"));
    c.get("trace").begin();
    return await work(slot);
  } finally {
    deadline.clear();
    slot?.release();
    rest();
  }
}
