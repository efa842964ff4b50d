import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer } from "../../src/cli/serve.ts";
import { ROOT } from "./miniflare.ts";

const MODEL = join(ROOT, "models/edgewise-stories-q4_0.gguf");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-serve-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function text(url: URL): Promise<string> {
  const body = JSON.stringify({ prompt: "Once upon a time", max_tokens: 20, temperature: 0 });
  const answer = await (await fetch(new URL("/v1/completions", url), { method: "POST", body })).json();
  return (answer as { choices: { text: string }[] }).choices[0].text;
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
