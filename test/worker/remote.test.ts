/** Servers of rows on the command line and in the worker, over sockets: a peer on this machine has the large model. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { generate } from "../../src/cli/generate.ts";
import { score } from "../../src/cli/score.ts";
import { startServer } from "../../src/cli/serve.ts";
import { fuseModels, fusePreset, loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { type NodeServer, serveNode } from "../../src/service/node.ts";
import { llamaCppFake } from "../support/remote-servers.ts";
import { ROOT } from "./miniflare.ts";

const Q8 = join(ROOT, "models/edgewise-stories-q8_0.gguf");
const Q4 = join(ROOT, "models/edgewise-stories-q4_0.gguf");
const PROMPT = "Once upon a time";
const KEY = "0123456789abcdef0123456789abcdef";

let folder: string;
let keyFile: string;
let large: Model;
let small: Model;
let peer: NodeServer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-remote-"));
  keyFile = join(folder, "key.txt");
  await writeFile(keyFile, `${KEY}\n`);
  [large, small] = [await loadModel(Q8), await loadModel(Q4)];
  const open = createApp({ models: lazyModels({ large: async () => large }), keys: [KEY], log: () => {} });
  peer = await serveNode(open, { port: 0 });
});
afterAll(async () => {
  await peer?.close();
  large?.close();
  small?.close();
  await rm(folder, { recursive: true });
});

async function textOf(model: Model): Promise<string> {
  let text = "";
  for await (const piece of model.generate(PROMPT, { maxTokens: 20, temperature: 0 })) text += piece.text;
  return text;
}

const terminal = (out: string[]) => ({
  out: (text: string) => out.push(text),
  error: () => {},
  signal: new AbortController().signal,
});

async function run(...args: string[]): Promise<string> {
  const out: string[] = [];
  const line = ["generate", "-p", PROMPT, "-n", "20", "--temperature", "0", "--json", ...args];
  const { options } = parseCommand(line) as Extract<Command, { name: "generate" }>;
  await generate(options, terminal(out) as Parameters<typeof generate>[1]);
  return (JSON.parse(out.join("")) as { text: string }).text;
}

const sources = () => [
  ...["--source", `base=${peer.url.origin}/v1#large`, "--source-key", `base=${keyFile}`],
  ...["--source", `expert=${Q4}`, "--source", `anti=${Q4}`],
];

describe("a server as a source", () => {
  it("is fused by edgewise generate", async () => {
    const expected = await textOf(
      fuseModels(fusePreset("proxy-tuning", { alpha: 0.5 }), { base: large, expert: small, anti: small }),
    );
    expect(await run("--plan", "preset:proxy-tuning:alpha=0.5", ...sources())).toBe(expected);
  });

  it("is fused by the worker, whose key it is sent", async () => {
    const { options } = parseCommand([
      ...["serve", "--port", "0", "--plan", "tuned=preset:proxy-tuning"],
      ...sources(),
    ]) as Extract<Command, { name: "serve" }>;
    const server = await startServer(options);
    try {
      const ask = async (model: string) => {
        const body = JSON.stringify({ model, prompt: PROMPT, max_tokens: 20, temperature: 0 });
        const response = await fetch(new URL("/v1/completions", server.url), { method: "POST", body });
        return ((await response.json()) as { choices: { text: string }[] }).choices[0].text;
      };
      const plan = fusePreset("proxy-tuning");
      const tuned = await textOf(fuseModels(plan, { base: large, expert: small, anti: small }));
      // Sessions of one model in several requests at a time, and after each other.
      const there = await textOf(large);
      expect(await Promise.all(["tuned", "base", "tuned"].map(ask))).toEqual([tuned, there, tuned]);
      expect(await ask("tuned")).toBe(tuned);
    } finally {
      await server.close();
    }
  }, 60_000);

  it("verifies what a model here drafts", async () => {
    const open = createApp({ models: lazyModels({ large: async () => large }), log: () => {} });
    const server = await serveNode(open, { port: 0 });
    try {
      const address = server.url.origin;
      expect(await run("--model", address, "--draft", `model:${Q4}`)).toBe(await textOf(large));
      await expect(run("--model", address)).rejects.toThrow('"--model" must be a file');
    } finally {
      await server.close();
    }
  });

  it.each([
    [["--source", "base=http://127.0.0.1:1"], '"--source base=" is a server, which has no tokenizer'],
    [
      ["--source", `base=${Q4}`, "--source-key", "base=key.txt"],
      '"--source-key base=" needs "--source base=http',
    ],
  ])("is refused: %j", async (args, message) => {
    await expect(run("--plan", "preset:min-p", ...args)).rejects.toThrow(message);
  });

  it("scores a text where its rows are whole, and is refused where they are not", async () => {
    const text = join(folder, "text.txt");
    await writeFile(text, "Once upon a time there was a dog.");
    const judge = async (...args: string[]) => {
      const { options } = parseCommand(["score", "--file", text, "--json", ...args]) as Extract<
        Command,
        { name: "score" }
      >;
      const out: string[] = [];
      await score(options, terminal(out) as Parameters<typeof score>[1]);
      return JSON.parse(out.join("")).scores;
    };
    const plan = ["--plan", "preset:proxy-tuning"];
    const files = ["--source", `base=${Q8}`, "--source", `expert=${Q4}`, "--source", `anti=${Q4}`];
    expect(await judge(...plan, ...sources())).toEqual(await judge(...plan, ...files));
    const fake = llamaCppFake(large);
    const server = await serveNode(
      {
        fetch: async (request) => {
          const body = request.method === "POST" ? await request.text() : undefined;
          return await fake.fetch(request.url, { method: request.method, body });
        },
      },
      { port: 0 },
    );
    try {
      const partial = [
        "--source",
        `base=${server.url.origin}`,
        "--source",
        `expert=${Q4}`,
        "--source",
        `anti=${Q4}`,
      ];
      await expect(judge(...plan, ...partial)).rejects.toThrow("of its rows 64 tokens are known");
    } finally {
      await server.close();
    }
  });
});
