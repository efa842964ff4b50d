/** The service in Node, Deno and Bun, from the built package, each on its own HTTP server: one text everywhere. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { installRuntimes, RUNTIMES } from "./install.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SCRIPT = join(ROOT, "test/runtimes/serve.mjs");
const INSTALL_MS = 900_000;

const built = existsSync(join(ROOT, "dist/service/app.js"));
if (!built) console.log("skipped the service in other runtimes: dist/ is not built");

const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  "this Node": [process.execPath],
  ...RUNTIMES,
};

/** Why the runtimes of this folder are not there. */
let missing: string | null;
/** What the model says to REQUEST, decoded in this process. */
let expected = "";

const REQUEST = { prompt: "The little dog", max_tokens: 40, seed: 7, temperature: 0.9 };

beforeAll(async () => {
  missing = await installRuntimes();
  const model = await loadModel(join(ROOT, "models/edgewise-stories-q8_0.gguf"));
  const options = { maxTokens: 40, seed: 7, temperature: 0.9 };
  for await (const { text } of model.generate(REQUEST.prompt, options)) expected += text;
  model.close();
}, INSTALL_MS);

async function start([program, ...args]: readonly string[]): Promise<{ child: ChildProcess; url: URL }> {
  const child = spawn(program, [...args, SCRIPT], { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout! })) return { child, url: new URL(line) };
  throw new Error("The server ended before it listened");
}

const post = (url: URL, body: object, signal?: AbortSignal) =>
  fetch(new URL("/v1/completions", url), { method: "POST", body: JSON.stringify(body), signal });

function textOf(stream: string): string {
  const frames = [...stream.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => JSON.parse(json));
  return frames.map(({ choices }) => choices[0].text).join("");
}

async function health(url: URL): Promise<{ running: number; decoded_tokens: number }> {
  return (await (await fetch(new URL("/health", url))).json()) as { running: number; decoded_tokens: number };
}

async function idle(url: URL) {
  for (;;) {
    const now = await health(url);
    if (now.running === 0) return now;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe.skipIf(!built)("the service", () => {
  it.for(Object.keys(COMMANDS))(
    "answers, streams, and stops for who leaves, in %s",
    async (name, { skip }) => {
      if (missing !== null && name !== "this Node") skip(missing);
      const { child, url } = await start(COMMANDS[name]);
      try {
        const whole = await post(url, REQUEST);
        const { choices } = (await whole.json()) as { choices: { text: string }[] };
        expect(choices[0].text).toBe(expected);
        const stream = await (await post(url, { ...REQUEST, stream: true })).text();
        expect(textOf(stream)).toBe(expected);
        expect(stream.endsWith("data: [DONE]\n\n")).toBe(true);

        const before = (await idle(url)).decoded_tokens;
        const long = { ...REQUEST, n: 16, max_tokens: 200, ignore_eos: true };
        for (const isStream of [true, false]) {
          const gone = new AbortController();
          const answer = post(url, { ...long, stream: isStream }, gone.signal);
          if (isStream) await (await answer).body!.getReader().read();
          else while ((await health(url)).running === 0);
          gone.abort();
          await answer.catch(() => {});
        }
        // Both ended, long before all was decoded, and the service goes on.
        const decoded = (await idle(url)).decoded_tokens - before;
        expect(decoded).toBeLessThan(16 * 200);
        expect(textOf(await (await post(url, { ...REQUEST, stream: true })).text())).toBe(expected);
      } finally {
        child.kill("SIGKILL");
      }
    },
  );
});
