/** `edgewise generate` on the embedded model, within this process. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { generate } from "../../src/cli/generate.ts";
import { DRAFTER_NAMES } from "../../src/decoding/drafter/registry.ts";
import { ROOT } from "./edgewise.ts";

const DRAFT_MODEL = `model:${join(ROOT, "models/edgewise-stories-q4_0.gguf")}`;

/** Says itself again, so there is something to copy. */
const CHANT = "The cat sat. The dog sat. The cat sat. The dog sat. The cat sat. The dog";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-generate-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

interface Output {
  out: string;
  error: string;
}

async function run(args: readonly string[], signal = new AbortController().signal): Promise<Output> {
  const output: Output = { out: "", error: "" };
  const command = parseCommand(["generate", ...args]) as Extract<Command, { name: "generate" }>;
  await generate(command.options, {
    out: (text) => {
      output.out += text;
    },
    error: (text) => {
      output.error += text;
    },
    signal,
  });
  return output;
}

async function json(...args: string[]) {
  const { out, error } = await run([...args, "--json"]);
  expect(error).toBe("");
  return JSON.parse(out);
}

describe("generate with speculation", () => {
  it.each([
    ["greedy", ["--temperature", "0"]],
    ["the defaults", []],
    ["penalties, DRY and XTC", "--repeat-penalty 1.2 --dry-multiplier 0.8 --xtc-probability 0.5".split(" ")],
    ["mirostat", ["--mirostat", "2", "--mirostat-tau", "3"]],
  ])("gives the same text with every drafter: %s", async (_, sampling) => {
    const line = ["-p", CHANT, "-n", "40", "--seed", "7", ...sampling];
    const plain = await json(...line);
    const prediction = await file("prediction.txt", `${plain.text.slice(0, 40)}, and then`);
    const drafts = [
      ...["none", ...DRAFTER_NAMES, DRAFT_MODEL].map((name) => ["--draft", name]),
      ["--prediction", prediction],
      ["--draft", DRAFT_MODEL, "--draft-tree", "--draft-max", "6"],
      ["--draft", "suffix", "--draft-fixed"],
      ["--draft", DRAFT_MODEL, "--draft-fixed", "--draft-max", "3"],
      ["--draft", DRAFT_MODEL, "--draft-fixed", "--draft-tree"],
    ];
    for (const draft of drafts) {
      const { tokens, text, fingerprint } = await json(...line, ...draft);
      expect({ draft, tokens, text, fingerprint }).toEqual({
        draft,
        tokens: plain.tokens,
        text: plain.text,
        fingerprint: plain.fingerprint,
      });
    }
  });

  it("tells in JSON what it did", async () => {
    const number = expect.any(Number);
    const { speculation, tokens } = await json(
      ..."-n 40 --temperature 0 --draft suffix --draft-max 4 -p".split(" "),
      CHANT,
    );
    expect(speculation).toEqual({
      drafter: "suffix",
      verifier: "match",
      drafted: number,
      accepted: number,
      target_calls: number,
      tokens_per_call: number,
      acceptance_rate: number,
      reproducible: true,
      lossless: true,
      tested_at: expect.any(Array),
      accepted_at: expect.any(Array),
      timings: { draft_ms: number, target_ms: number, sample_ms: number },
    });
    const total = (counts: number[]) => counts.reduce((sum, count) => sum + count, 0);
    expect(total(speculation.accepted_at)).toBe(speculation.accepted);
    const tested = Math.max(1, total(speculation.tested_at));
    expect(speculation.acceptance_rate).toBeCloseTo(speculation.accepted / tested, 12);
    // The prompt's pass gives the first token.
    expect(speculation.tokens_per_call * speculation.target_calls).toBeCloseTo(tokens.length - 1, 9);
    expect(await json("-n", "3")).not.toHaveProperty("speculation");
  });

  it("tells in a few words elsewhere, and whether the text is another one", async () => {
    const line = ["-p", CHANT, "-n", "30", "--temperature", "0", "--draft", "suffix"];
    const words = /; suffix: \d+ of \d+ drafted accepted, \d\.\d tokens per pass; finish: length\n$/;
    expect((await run(line)).error).toMatch(words);
    expect((await run([...line, "--verifier", "token"])).error).toMatch(/; suffix with token: \d/);
    expect((await run([...line, "--verifier", "typical:epsilon=0.2"])).error).toMatch(
      /; suffix with typical \(lossy\): \d/,
    );
    const { speculation } = await json(...line, "--verifier", "typical:epsilon=0.2");
    expect(speculation).toMatchObject({ verifier: "typical", reproducible: false, lossless: false });
  });
});

describe("generate with log-probabilities", () => {
  it("tells those of the tokens and of the likeliest ones", async () => {
    const { logprobs, tokens, text } = await json(
      ..."-p Once -n 6 --preset edgewise --seed 3 --logprobs 3".split(" "),
    );
    expect(logprobs.map(({ token }: { token: number }) => token)).toEqual(tokens);
    expect(logprobs.map((one: { text: string }) => one.text).join("")).toBe(text);
    for (const { token, logprob, top } of logprobs) {
      expect(top.length).toBe(3);
      const sorted = top.map((one: { logprob: number }) => one.logprob);
      expect([...sorted].sort((a, b) => b - a)).toEqual(sorted);
      expect(logprob).toBeLessThanOrEqual(sorted[0]);
      const same = top.find((one: { token: number }) => one.token === token);
      if (same !== undefined) expect(same.logprob).toBe(logprob);
      expect(sorted.reduce((sum: number, value: number) => sum + Math.exp(value), 0)).toBeLessThanOrEqual(
        1 + 1e-12,
      );
    }
  });
});

describe("generate with several texts", () => {
  const line = ["-p", "Once upon a time", "-n", "12", "--seed", "5"];

  it("gives with --n what seed, seed + 1, … give alone", async () => {
    const { choices, prompt_tokens, fingerprint } = await json(...line, "--n", "3");
    expect(choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2]);
    for (const [index, choice] of choices.entries()) {
      const alone = await json(...line, "--seed", String(5 + index));
      expect(choice).toMatchObject({
        tokens: alone.tokens,
        text: alone.text,
        seed: 5 + index,
        finish_reason: alone.finish_reason,
      });
      expect([prompt_tokens, fingerprint]).toEqual([alone.prompt_tokens, alone.fingerprint]);
    }
  });

  it("prints them with a rule between", async () => {
    const { choices } = await json(...line, "--n", "3");
    const { out, error } = await run([...line, "--n", "3"]);
    const texts = choices.map(({ text }: { text: string }) => (text.endsWith("\n") ? text : `${text}\n`));
    expect(out).toBe(texts.join(`${"─".repeat(40)}\n`));
    expect(error).toMatch(/; 3 texts of 36 tokens in .*; finish: length; seed 5, 6, 7\n$/);
    expect((await run([...line, "--n", "1"])).out).toBe((await run(line)).out);
  });

  it("keeps with --best-of those that are likeliest per token", async () => {
    const all = await json(...line, "--n", "4", "--logprobs", "0");
    const mean = ({ logprobs }: { logprobs: { logprob: number }[] }) =>
      logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / logprobs.length;
    const best = [...all.choices].sort((a, b) => mean(b) - mean(a)).slice(0, 2);
    const { choices } = await json(...line, "--n", "2", "--best-of", "4");
    expect(choices.map(({ seed }: { seed: number }) => seed)).toEqual(best.map(({ seed }) => seed));
    expect(choices.map(({ text }: { text: string }) => text)).toEqual(best.map(({ text }) => text));
  });

  it("prints what there is of each when it is stopped", async () => {
    const controller = new AbortController();
    const command = parseCommand(["generate", ...line, "--n", "2", "-n", "200", "--ignore-eos"]);
    let out = "";
    const stopped = generate((command as Extract<Command, { name: "generate" }>).options, {
      out: (text) => {
        out += text;
        if (out.length > 30) controller.abort();
      },
      error: () => {},
      signal: controller.signal,
    });
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
    const { choices } = await json(...line, "--n", "2", "-n", "200", "--ignore-eos");
    const [first, second, ...more] = out.split(`\n${"─".repeat(40)}\n`);
    expect(more).toEqual([]);
    expect(choices[0].text.startsWith(first)).toBe(true);
    expect(choices[1].text.startsWith(second.trimEnd())).toBe(true);
  });
});

describe("generate with a file of steps", () => {
  it("does what it says", async () => {
    const line = ["-p", "Once", "-n", "12", "--seed", "4"];
    const steps = await file(
      "steps.json",
      '[{"step":"temperature","temperature":1.5},{"step":"top-k","k":5}]',
    );
    const { text } = await json(...line, "--pipeline", steps);
    expect(text).toBe((await json(...line, "--preset", "edgewise", "--temp", "1.5", "--top-k", "5")).text);
  });

  it.each([
    ["[{]", /^Cannot read ".*steps\.json": .*JSON/],
    ["{}", 'steps.json": "pipeline" must be an array, got object'],
    [
      '[{"step":"top-k","k":-1}]',
      'steps.json": "pipeline[0].k" must be an integer from 0 to 2147483647, got -1',
    ],
  ])("says what is wrong with %s before it loads a model", async (text, message) => {
    const steps = await file("steps.json", text);
    await expect(run(["-m", "none.gguf", "--pipeline", steps])).rejects.toThrow(message);
  });
});

describe("generate with DRY", () => {
  it("knows the breakers of the vocabulary", async () => {
    const line = ["-p", CHANT, "-n", "30", "--temperature", "0"];
    const breakers = (...texts: string[]) => texts.flatMap((text) => ["--dry-sequence-breaker", text]);
    const text = async (...args: string[]): Promise<string> => (await json(...line, ...args)).text;
    const repeating = await text();
    const dry = ["--dry-multiplier", "5"];
    expect(await text(...dry, ...breakers("none"))).not.toBe(repeating);
    expect(await text(...dry)).not.toBe(repeating);
    // Every token is one then, and nothing is left that could be repeated.
    expect(await text(...dry, ...breakers(..."THabcdefghijklmnopqrstuvwxyz. \n"))).toBe(repeating);
  });
});
