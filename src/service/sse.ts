import { nextTask } from "../decoding/next-task.ts";
import { errorBody } from "./errors.ts";

export interface EventStreamOptions {
  /** Fires when the client has gone. */
  signal?: AbortSignal;
  /** Milliseconds a client may leave the stream unread before it is given up: it holds a slot and memory. */
  stallMs: number;
  /** Called exactly once, however the stream ends, as the last of the calls. */
  onEnd: () => void;
  /** Called with what `frames` threw, before the error frame goes out. */
  onError: (error: unknown) => void;
}

/**
 * Server-sent events from a generator of JSON values, ending with `[DONE]`.
 *
 * One value is made per pull and none ahead (high-water mark 0): the client's reading drives the decoding, every
 * token is flushed by itself, other requests run in between, and a client that goes away simply stops pulling.
 * An error becomes a data frame, followed by `[DONE]`: without it, clients take a cut stream for a finished one.
 */
export function eventStream(frames: AsyncGenerator<unknown>, options: EventStreamOptions): Response {
  const { signal, stallMs } = options;
  const encoder = new TextEncoder();
  let stall: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let ended = false;

  const end = () => {
    if (ended) return;
    ended = true;
    clearTimeout(stall);
    signal?.removeEventListener("abort", stop);
    options.onEnd();
  };
  // `return` runs the generator's finally blocks, which close its session; a pull that never comes would not.
  // Its slot is given back only after that: memory first, then the next request.
  const stop = () => {
    stopped = true;
    frames.return(undefined).then(end, end);
  };

  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stall);
        try {
          // Decoding waits for nothing; without a turn of the event loop here no other request would have one.
          await nextTask();
          const step = await frames.next();
          if (stopped) return controller.error(signal?.reason);
          const data = step.done ? "[DONE]" : JSON.stringify(step.value);
          controller.enqueue(encoder.encode(`data: ${data}\n\n`));
          if (step.done) {
            end();
            controller.close();
          } else {
            stall = setTimeout(() => {
              stop();
              controller.error(new DOMException("The client stopped reading", "TimeoutError"));
            }, stallMs);
          }
        } catch (error) {
          if (!stopped) options.onError(error);
          end();
          if (stopped) return controller.error(error);
          controller.enqueue(encoder.encode(`data: ${JSON.stringify(errorBody(error))}\n\ndata: [DONE]\n\n`));
          controller.close();
        }
      },
      cancel: stop,
    },
    { highWaterMark: 0 },
  );

  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop, { once: true });
  return new Response(body, {
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" },
  });
}
