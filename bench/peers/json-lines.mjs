/** The protocol of a peer process: JSON requests on stdin, one per line, answered in order on stdout. */
import { createInterface } from "node:readline";

/**
 * Announces the peer with `about`, then answers requests until stdin closes.
 *
 * @param {Record<string, (request: object) => unknown>} tasks by `request.task`
 * @param {object} about what is running, sent as the first line
 */
export async function serve(tasks, about) {
  const send = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  send(about);
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === "") continue;
    try {
      const request = JSON.parse(line);
      const task = tasks[request.task];
      if (task === undefined) {
        throw new RangeError(`Task must be one of ${Object.keys(tasks).join(", ")}, got "${request.task}"`);
      }
      send(await task(request));
    } catch (error) {
      send({ error: String(error) });
    }
  }
}
