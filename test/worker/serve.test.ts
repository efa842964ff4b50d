import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { startServer } from "../../src/cli/serve.ts";
import { fuseModels, fusePreset, loadModel, type Model } from "../../src/node.ts";
import { ROOT } from "./miniflare.ts";

const MODEL = join(ROOT, "models/edgewise-stories-q4_0.gguf");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-serve-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function textOf(model: Model): Promise<string> {
  let text = "";
  for await (const piece of model.generate("Once upon a time", { maxTokens: 20, temperature: 0 }))
    text += piece.text;
  return text;
}

async function text(url: URL, model?: string): Promise<string> {
  const body = JSON.stringify({ model, prompt: "Once upon a time", max_tokens: 20, temperature: 0 });
  const answer = await (await fetch(new URL("/v1/completions", url), { method: "POST", body })).json();
  return (answer as { choices: { text: string }[] }).choices[0].text;
}

/** Node 20 has no relaxed SIMD, so fingerprints may tell another build. */
function withoutBuild(answer: unknown): string {
  return JSON.stringify(answer).replace(/"system_fingerprint":"[^"]*"/g, "");
}

// Node 20 runs no TypeScript, so this one needs the build that `npm test` makes.
const BUILT = join(ROOT, "dist/cli/serve.js");
if (!existsSync(BUILT))
  console.log("skipped: dist/ is not built, so serve() cannot run as a process of its own");

describe.skipIf(!existsSync(BUILT))("serve", () => {
  it("prints one request to paste, and stops at Ctrl-C", async () => {
    const script = `import(${JSON.stringify(BUILT)}).then(({ serve }) => serve({ port: 0 }))`;
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    for await (const data of child.stdout) {
      output += data;
      if (/^curl .*\n/m.test(output)) break;
    }
    const [, url, body] = /^curl (\S+) -d '([^']+)'$/m.exec(output)!;
    expect(output.match(/curl/g)!.length).toBe(1);
    const answer = await (await fetch(url, { method: "POST", body })).json();
    expect((answer as { choices: { text: string }[] }).choices[0].text).toMatch(/[a-z]/);
    const exit = once(child, "exit");
    child.kill("SIGINT");
    expect(await exit).toEqual([0, null]);
    await expect(fetch(url)).rejects.toThrow();
  });
});

describe("startServer", () => {
  it("serves the embedded model", async () => {
    const server = await startServer({ port: 0 });
    expect(server.model).toBe("edgewise-stories-q8_0");
    expect(await text(server.url)).toMatch(/[a-z]/);
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow();
  });

  it("serves the same in this process: models, files, plans and keys", async () => {
    const copy = join(folder, "a b#1.gguf");
    await copyFile(MODEL, copy);
    const args = [
      "serve",
      "--port",
      "0",
      "--api-key",
      "key-of-alice",
      "-m",
      copy,
      "--plan",
      "both=preset:mixture",
    ];
    const sources = ["--source", `a=${MODEL}`, "--source", `b=${copy}`];
    const { options } = parseCommand([...args, ...sources]) as Extract<Command, { name: "serve" }>;
    const answers: unknown[] = [];
    for (const runtime of ["node", "workerd"] as const) {
      const server = await startServer({ ...options, runtime });
      const ask = async (model: string | undefined, key?: string) => {
        const body = JSON.stringify({ model, prompt: "Once", max_tokens: 12, seed: 4 });
        const init = { method: "POST", body, headers: { authorization: `Bearer ${key}` } };
        const response = await fetch(new URL("/v1/completions", server.url), init);
        const { id: _, created: __, ...answer } = (await response.json()) as Record<string, unknown>;
        return [response.status, answer];
      };
      const key = "key-of-alice";
      answers.push([server.model, await ask(undefined, key), await ask("both", key), await ask(undefined)]);
      await server.close();
      await expect(fetch(server.url)).rejects.toThrow();
    }
    const [inNode, inWorkerd] = answers;
    expect(withoutBuild(inNode)).toEqual(withoutBuild(inWorkerd));
    expect(JSON.stringify(inNode)).toMatch(/^\["a b#1",\[200,.*\[200,.*\[401,/);
  });

  it.each([
    ["a file", copyFile],
    ["a link", symlink],
  ])("serves %s, whatever its name", async (_, make) => {
    const path = join(folder, `tést %20 #1 ${make.name}.gguf`);
    await make(MODEL, path);
    const server = await startServer({ model: path, port: 0 });
    expect(server.model).toBe(`tést %20 #1 ${make.name}`);
    expect(await text(server.url)).toMatch(/[a-z]/);
    await server.close();
  });

  it("wants the keys of a file and of the command line, and tries itself out without them", async () => {
    const apiKeyFile = join(folder, "keys.txt");
    await writeFile(apiKeyFile, "# ours\nalice:key-of-alice\n");
    const hash = createHash("sha256").update("key-of-bob").digest("hex");
    const access = { apiKeys: [`sha256:${hash}`], apiKeyFile, requestsPerMinute: 1 };
    const server = await startServer({ port: 0, access });
    const status = async (key?: string) => {
      const headers = key === undefined ? undefined : { authorization: `Bearer ${key}` };
      return (await fetch(new URL("/v1/models", server.url), { headers })).status;
    };
    expect([await status(), await status("key-of-bob"), await status("key-of-alice")]).toEqual([
      401, 200, 200,
    ]);
    expect(await status("key-of-bob")).toBe(429);
    expect([server.wantsKey, server.isOpen]).toEqual([true, false]);
    await server.close();
  });

  it("serves plans over files of several folders, each loaded under a name of its own", async () => {
    const copy = join(folder, "edgewise-stories-q8_0.gguf");
    await copyFile(MODEL, copy);
    const input = join(folder, "bias.json");
    await writeFile(input, JSON.stringify(new Array(4096).fill(0)));
    const { options } = parseCommand([
      "serve",
      ...["--port", "0", "--plan", "both=preset:mixture", "--source", `a=${MODEL}`, "--source", `b=${copy}`],
      ...["--plan", "steered=preset:steer", "--source", `base=${MODEL}`, "--input", `concept=${input}`],
      ...["--prefix", "b=The king"],
    ]) as Extract<Command, { name: "serve" }>;
    const server = await startServer(options);
    try {
      expect(server.model).toBe("both");
      const { data } = (await (await fetch(new URL("/v1/models", server.url))).json()) as {
        data: { id: string }[];
      };
      expect(data.map(({ id }) => id)).toEqual([
        "edgewise-stories-q8_0",
        "edgewise-stories-q4_0",
        "edgewise-stories-q8_0-2",
        "both",
        "steered",
      ]);
      const model = await loadModel(MODEL);
      const both = fuseModels(fusePreset("mixture"), { a: model, b: { source: model, prefix: "The king" } });
      expect(await text(server.url)).toBe(await textOf(both));
      // A concept that is nothing steers nowhere.
      expect(await text(server.url, "steered")).toBe(await textOf(model));
      model.close();
    } finally {
      await server.close();
    }
  });

  it.each<[string, readonly string[], string]>([
    [
      "lacks a source",
      ["--plan", "x=preset:mixture", "--source", `a=${MODEL}`],
      '"--source" must be given for',
    ],
    [
      "lacks an input",
      ["--plan", "x=preset:grad", "--source", `base=${MODEL}`],
      '"--input graph" must be given: a table of the kind "graph"',
    ],
    [
      "does not know a source",
      ["--plan", "x=preset:min-p", "--source", `base=${MODEL}`, "--source", `y=${MODEL}`],
      '"--source" must be of a plan, got "y"',
    ],
    [
      "has a file that is none",
      ["--plan", "x=preset:min-p", "--source", "base=none.gguf"],
      "there is no such file",
    ],
  ])("refuses a plan that %s", async (_, args, message) => {
    const { options } = parseCommand(["serve", "--port", "0", ...args]) as Extract<
      Command,
      { name: "serve" }
    >;
    await expect(startServer(options)).rejects.toThrow(message);
  });

  it.each([
    ["is missing", "none.gguf", null, "there is no such file"],
    ["is no GGUF", "text.gguf", "hello", 'this one with "hell"'],
    ["is empty", "empty.gguf", "", 'this one with "\\u0000'],
    ["is only its first bytes", "cut.gguf", "GGUF\u0003\0\0\0", /Cannot serve .*cut.gguf: Cannot/],
  ])("refuses a file that %s", async (_, name, content, message) => {
    const path = join(folder, name);
    if (content !== null) await writeFile(path, content);
    await expect(startServer({ model: path, port: 0 })).rejects.toThrow(message);
  });

  it("refuses a folder, a wrong port and one in use", async () => {
    await expect(startServer({ model: folder, port: 0 })).rejects.toThrow("it is not a file");
    await expect(startServer({ port: 70000 })).rejects.toThrow('"port" must be');
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as { port: number };
    await expect(startServer({ port })).rejects.toThrow("the port is in use; choose another with --port");
    other.close();
  });
});
