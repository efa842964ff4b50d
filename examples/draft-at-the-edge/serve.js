/**
 * node examples/draft-at-the-edge/serve.js [--port 8788] [--url http://127.0.0.1:8787]
 *
 * The page for browsers, and what it needs: kernels, the small model, and the server at --url (see `npm start`) under the same
 * origin, so that no CORS is needed.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const HERE = new URL("./", import.meta.url);
const ROOT = new URL("../../", import.meta.url);

/** What may be had, and what it is. */
const FILES = {
  "/": [new URL("index.html", HERE), "text/html; charset=utf-8"],
  "/build/simd.wasm": [new URL("build/simd.wasm", ROOT), "application/wasm"],
  "/build/relaxed.wasm": [new URL("build/relaxed.wasm", ROOT), "application/wasm"],
  "/models/edgewise-draft-q8_0.gguf": [
    new URL("models/edgewise-draft-q8_0.gguf", ROOT),
    "application/octet-stream",
  ],
};

/** Headers of an answer that are this hop's own. */
const OWN_HEADERS = new Set(["connection", "content-encoding", "content-length", "transfer-encoding"]);

/** @returns {Promise<import("node:http").Server>} Listening. */
export async function servePage({ port, url }) {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL("page.js", HERE))],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    conditions: ["browser"],
    logLevel: "warning",
  });
  const script = bundle.outputFiles[0].contents;
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    try {
      if (pathname === "/page.js") {
        response.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(script);
      } else if (pathname.startsWith("/v1/")) {
        await passOn(request, response, new URL(request.url, url));
      } else if (Object.hasOwn(FILES, pathname)) {
        const [file, type] = FILES[pathname];
        response.writeHead(200, { "content-type": type }).end(await readFile(file));
      } else response.writeHead(404).end();
    } catch (error) {
      if (!response.headersSent) response.writeHead(502);
      response.end(error.message);
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

async function passOn(request, response, target) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const answer = await fetch(target, {
    method: request.method,
    headers: { "content-type": request.headers["content-type"] ?? "application/json" },
    ...(body.length > 0 && { body }),
  });
  const headers = [...answer.headers].filter(([name]) => !OWN_HEADERS.has(name));
  response.writeHead(answer.status, Object.fromEntries(headers));
  response.end(Buffer.from(await answer.arrayBuffer()));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "8788" },
      url: { type: "string", default: "http://127.0.0.1:8787" },
    },
  });
  const server = await servePage({ port: Number(values.port), url: values.url });
  console.log(`The page is at http://127.0.0.1:${server.address().port}/`);
}
