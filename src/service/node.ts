/** node: the service on Node's own HTTP server. Deno and Bun need no such file: `Deno.serve(app.fetch)`, `Bun.serve(app)`. */
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { expectInteger } from "../errors.ts";

export interface NodeServerOptions {
  /** 0 takes any free port. Default 8787. */
  port?: number;
  /** Address to listen on. Default 127.0.0.1: this machine only. */
  host?: string;
}

export interface NodeServer {
  readonly url: URL;
  /** Takes no more requests, and ends those that run after `graceMs`. Default 1,000. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Listens for requests to an app. Needs the package `@hono/node-server`.
 *
 * @throws {RangeError} If the port is taken, or no port.
 *
 * @example
 * ```ts
 * const app = createApp({ models: lazyModels({ stories: () => loadModel("stories.gguf") }) });
 * const { url } = await serveNode(app, { port: 8787 });
 * ```
 */
export async function serveNode(
  app: { fetch(request: Request): Response | Promise<Response> },
  { port = 8787, host = "127.0.0.1" }: NodeServerOptions = {},
): Promise<NodeServer> {
  expectInteger("port", port, 0, 65_535);
  const server = serve({ fetch: (request) => app.fetch(request), port, hostname: host });
  await new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "the port is in use" : error.message;
      reject(new RangeError(`Cannot listen on ${host}:${port}: ${reason}`));
    });
  });
  const address = server.address() as AddressInfo;
  return {
    url: new URL(`http://${host.includes(":") ? `[${host}]` : host}:${address.port}`),
    close: (graceMs = 1000) =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if (!("closeIdleConnections" in server)) return;
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), graceMs).unref();
      }),
  };
}
