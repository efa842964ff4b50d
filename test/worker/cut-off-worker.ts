/** The worker, and requests that the runtime ends in the middle: nothing of them ever runs again, no cleanup either. */
import worker from "../../src/service/worker.ts";

export { SessionObject } from "../../src/service/worker.ts";

type Call = Parameters<typeof worker.fetch>;

export default {
  async fetch(...[request, env, context]: Call): Promise<Response> {
    const ms = request.headers.get("x-cut-off-after");
    if (ms === null) return await worker.fetch(request, env, context);
    // Without `waitUntil`, all that this request has begun ends with its answer.
    const alone = { waitUntil() {}, passThroughOnException() {}, props: {} } as Call[2];
    void worker.fetch(request, env, alone);
    await new Promise((resolve) => setTimeout(resolve, Number(ms)));
    return new Response("cut off");
  },
};
