import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { edgewise, isBuilt } from "./edgewise.ts";

/** Long enough to be interrupted: random weights rarely say the end. */
const ENDLESS = ["--ignore-eos", "--temperature", "1"];

let folder: string;
let slow: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-cli-"));
  slow = join(folder, "slow.gguf");
  await writeFile(
    slow,
    syntheticModelBytes({ hidden: 256, layers: 4, feedForward: 512, contextLength: 100_000 }),
  );
});
afterAll(() => rm(folder, { recursive: true }));

describe.skipIf(!isBuilt)("edgewise generate", () => {
  const story = ["generate", "-p", "Once upon a time", "-n", "30", "--temperature", "0", "--seed", "1"];

  it("prints the text and a newline, and one line of statistics elsewhere", async () => {
    const { code, out, error } = await edgewise(story);
    const { text } = JSON.parse((await edgewise([...story, "--json"])).out);
    expect([code, out]).toEqual([0, `${text}\n`]);
    expect(error).toMatch(
      /^edgewise-stories-q8_0 on wasm (simd|relaxed): loaded in .* ms; prompt 5 tokens in .*; 30 tokens in .*; finish: length\n$/,
    );
  });

  it("prints one JSON object and nothing else with --json", async () => {
    const { code, out, error } = await edgewise([...story, "--json"]);
    expect([code, error]).toEqual([0, ""]);
    expect(out.match(/\n/g)).toEqual(["\n"]);
    const result = JSON.parse(out);
    const number = expect.any(Number);
    expect(result).toEqual({
      prompt_tokens: [0, 446, 438, 259, 404],
      tokens: expect.any(Array),
      text: expect.stringMatching(/^, there was a little girl/),
      finish_reason: "length",
      timings: {
        load_ms: number,
        prompt_ms: number,
        prompt_tokens_per_second: number,
        decode_ms: number,
        tokens_per_second: number,
      },
      backend: "wasm",
      build: expect.stringMatching(/^(simd|relaxed)$/),
      seed: 1,
      fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(result.tokens.length).toBe(30);
  });

  it("gives the same text for the same seed, other text for another, and tells a seed that it drew", async () => {
    const sampled = ["generate", "-p", "The", "-n", "20"];
    const first = await edgewise(sampled);
    const [, seed] = /seed (\d+)\n$/.exec(first.error)!;
    expect((await edgewise([...sampled, "--seed", seed])).out).toBe(first.out);
    expect((await edgewise([...sampled, "--seed", "12"])).out).not.toBe(
      (await edgewise([...sampled, "--seed", "13"])).out,
    );
  });

  it("gives the same text with both builds that there are, and with none a reason", async () => {
    const text = async (...args: string[]) => (await edgewise([...story, ...args])).out;
    expect(await text("--build", "simd")).toBe(await text());
    const relaxed = await edgewise([...story, "--build", "relaxed"]);
    if (relaxed.code === 0) expect(relaxed.out).toBe(await text());
    else expect(relaxed.error).toMatch(/^edgewise: Cannot use the relaxed build: .*\n$/);
  });

  it("does not trust a relaxed build that this engine gets wrong", async ({ skip }) => {
    if (!process.version.startsWith("v20.")) skip("only Node 20 has relaxed SIMD behind a flag");
    const flags = ["--experimental-wasm-relaxed-simd"];
    const { tokens } = JSON.parse((await edgewise([...story, "--json"])).out);
    const auto = JSON.parse((await edgewise([...story, "--json"], { flags })).out);
    expect(auto).toMatchObject({ tokens, build: "simd" });
    const asked = await edgewise([...story, "--build", "relaxed"], { flags });
    expect(asked).toMatchObject({
      code: 1,
      error: "edgewise: Cannot use the relaxed build: relaxed_dot is missing or wrong on this engine\n",
    });
  });

  it("runs on the reference backend", async () => {
    const { out } = await edgewise([...story, "-n", "4", "--backend", "reference", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ backend: "reference", build: null, tokens: expect.any(Array) });
  });

  it("ends before a stop text, and says so", async () => {
    const { out } = await edgewise([...story, "--stop", "##", "--stop", " little", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ text: ", there was a", finish_reason: "stop" });
  });

  it("prints what it held back for a stop text that did not come", async () => {
    const { text } = JSON.parse((await edgewise([...story, "--json"])).out);
    expect((await edgewise([...story, "--stop", `${text.slice(-3)}#`])).out).toBe(`${text}\n`);
  });

  it("reads the prompt from standard input or a file", async () => {
    const path = join(folder, "prompt.txt");
    await writeFile(path, "Once upon a time");
    const expected = (await edgewise(story)).out;
    const rest = story.slice(3);
    expect((await edgewise(["generate", "-f", path, ...rest])).out).toBe(expected);
    const fromInput = await edgewise(["generate", "-f", "-", ...rest], { input: "Once upon a time" });
    expect(fromInput.out).toBe(expected);
  });

  it("begins a text of its own without a prompt, and emits nothing if asked for nothing", async () => {
    expect(JSON.parse((await edgewise(["generate", "-n", "3", "--json"])).out).prompt_tokens).toEqual([0]);
    expect(await edgewise(["generate", "-n", "0"])).toMatchObject({ code: 0, out: "\n" });
  });

  it("makes a user's message of the prompt with --chat", async () => {
    const chatTemplate = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}";
    const path = join(folder, "chat.gguf");
    await writeFile(path, syntheticModelBytes({ chatTemplate }));
    const tokens = async (...args: string[]): Promise<number[]> =>
      JSON.parse((await edgewise(["generate", "-m", path, "-n", "1", "--json", ...args])).out).prompt_tokens;
    expect(await tokens("--chat", "-p", "hi")).toEqual(await tokens("-p", "[user] hi"));
  });

  it("stops at Ctrl-C, with what was said until then", async () => {
    const { code, signal, out, error } = await edgewise(["generate", "-m", slow, ...ENDLESS], {
      onStart: (child) => child.stdout!.once("data", () => child.kill("SIGINT")),
    });
    expect([code, signal, error]).toEqual([130, null, "\n"]);
    expect(out.length).toBeGreaterThan(0);
  });

  it("goes quietly when nobody reads any more", async () => {
    const { code, signal, error } = await edgewise(["generate", "-m", slow, ...ENDLESS], {
      onStart: (child) => child.stdout!.once("data", () => child.stdout!.destroy()),
    });
    expect([code, signal, error]).toEqual([0, null, ""]);
  });

  it.each([
    ["a file that is not there", ["-m", "none.gguf"], 'Cannot read "none.gguf": there is no such file'],
    ["a folder", ["-m", "src"], "Cannot read the file: it is a folder"],
    ["a prompt that is not there", ["-f", "none.txt"], 'Cannot read "none.txt": there is no such file'],
    [
      "what is no GGUF",
      ["-m", "package.json"],
      'Cannot read GGUF: file must begin with "GGUF" (47 47 55 46), got 7b 0a 20 20',
    ],
    [
      "too long a prompt",
      ["-p", "a ".repeat(999)],
      '"prompt" must have at most 256 tokens, the context of the model, got',
    ],
    ["too long a context", ["--context", "257"], '"contextLength" must be an integer from 1 to 256, got 257'],
  ])("says in one line what is wrong with %s", async (_, args, message) => {
    const { code, out, error } = await edgewise(["generate", ...args]);
    expect([code, out]).toEqual([1, ""]);
    expect(error).toMatch(/^edgewise: [^\n]+\n$/);
    expect(error).toContain(message);
  });
});

describe.skipIf(!isBuilt)("edgewise", () => {
  it("tells the version and the help", async () => {
    expect(await edgewise(["--version"])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
    expect(await edgewise(["--help"])).toMatchObject({
      code: 0,
      out: expect.stringContaining("Usage: edgewise"),
    });
    expect(await edgewise(["serve", "--help"])).toMatchObject({
      code: 0,
      out: expect.stringContaining("--port"),
    });
  });

  it("shows the help for nothing, and exits as for wrong arguments", async () => {
    expect(await edgewise([])).toMatchObject({ code: 2, out: "", error: expect.stringContaining("Usage:") });
    expect(await edgewise(["generate", "--top-k", "x"])).toMatchObject({
      code: 2,
      out: "",
      error: 'edgewise: "--top-k" must be an integer, got "x"\n',
    });
    expect(await edgewise(["generate", "--xtc-probability", "0.5", "--xtc-threshold", "2"])).toMatchObject({
      code: 2,
      out: "",
      error: 'edgewise: "--xtc-threshold" must be a number from 0 to 1, got 2\n',
    });
  });

  it("inspects, whether the file can run or not", async () => {
    expect(await edgewise(["inspect", slow])).toMatchObject({
      code: 0,
      error: "",
      out: expect.stringContaining("Can run."),
    });
    expect(await edgewise(["inspect", "package.json"])).toMatchObject({ code: 1, out: "" });
  });

  it("passes the options of serve on", async () => {
    expect(await edgewise(["serve", "--model", "none.gguf", "--port", "0"])).toMatchObject({
      code: 1,
      error: 'edgewise: Cannot serve "none.gguf": there is no such file\n',
    });
  });
});
