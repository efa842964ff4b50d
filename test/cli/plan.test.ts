/** `edgewise generate --plan`: fused models on the command line, within this process. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { auditSummary } from "../../src/cli/audit-report.ts";
import { generate } from "../../src/cli/generate.ts";
import { explainPlan, fusePreset, type Plan, planFingerprint } from "../../src/decoding/fuse.ts";
import { conceptRow, transitionGraph } from "../../src/engine/fuse/concept.ts";
import { fuseModels } from "../../src/engine/fuse/model.ts";
import { type GenerateOptions, type GenerateResult, loadModel, type Model } from "../../src/node.ts";
import { ROOT } from "./edgewise.ts";

const Q8 = join(ROOT, "models/edgewise-stories-q8_0.gguf");
const Q4 = join(ROOT, "models/edgewise-stories-q4_0.gguf");
const OTHER = join(ROOT, "../shared/models/stories3M-q8_0.gguf");
if (!existsSync(OTHER)) console.log("skipped: ../shared/models has no model of another vocabulary");
const PROMPT = "Once upon a time there was a dog";
const LINE = ["-p", PROMPT, "-n", "24", "--seed", "3", "--preset", "edgewise"];

let folder: string;
let large: Model;
let small: Model;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-plan-"));
  [large, small] = [await loadModel(Q8), await loadModel(Q4)];
});
afterAll(async () => {
  large?.close();
  small?.close();
  await rm(folder, { recursive: true });
});

async function file(name: string, json: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof json === "string" ? json : JSON.stringify(json));
  return path;
}

async function run(args: readonly string[]): Promise<{ out: string; error: string }> {
  const output = { out: "", error: "" };
  const { options } = parseCommand(["generate", ...args]) as Extract<Command, { name: "generate" }>;
  await generate(options, {
    out: (text) => {
      output.out += text;
    },
    error: (text) => {
      output.error += text;
    },
    signal: new AbortController().signal,
  });
  return output;
}

async function json(...args: string[]) {
  return JSON.parse((await run([...args, "--json"])).out);
}

async function textOf(model: Model, options: GenerateOptions): Promise<GenerateResult> {
  const pieces = model.generate(PROMPT, { maxTokens: 24, seed: 3, ...options });
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
  }
}

const BOTH = ["--source", `base=${Q8}`, "--source", `expert=${Q4}`];
const halves: Plan = {
  sources: ["base", "expert"],
  lin: [
    { source: "base", weight: 0.5 },
    { source: "expert", weight: 0.5 },
  ],
};

describe("generate with a plan", () => {
  it("gives the text of the library's fusion", async () => {
    const plan = await file("halves.json", halves);
    const model = fuseModels(halves, { base: large, expert: small });
    const expected = await textOf(model, {});
    const { tokens, text, fingerprint } = await json(...LINE, "--plan", plan, ...BOTH);
    expect([tokens, text, fingerprint]).toEqual([expected.tokens, expected.text, expected.fingerprint]);
    expect(tokens).not.toEqual((await json(...LINE)).tokens);
    const again = await json(
      ...LINE,
      "--plan",
      plan,
      ...[...BOTH].reverse().flatMap((_, i, all) => {
        // The same sources in another order.
        return i % 2 === 0 ? ["--source", all[i]] : [];
      }),
    );
    expect(again.tokens).toEqual(tokens);
  });

  it("of one source is that source", async () => {
    const plan = await file("one.json", { sources: ["only"], source: "only" });
    const plain = await json(...LINE);
    const fused = await json(...LINE, "--plan", plan, "--source", `only=${Q8}`);
    expect([fused.tokens, fused.text]).toEqual([plain.tokens, plain.text]);
  });

  it("takes presets with options, in files too", async () => {
    const options = { gamma: 4 };
    const sources = [
      "--source",
      `prompted=${Q8}`,
      "--source",
      `plain=${Q8}`,
      "--prefix",
      "prompted=The robot flew to Mars and the robot ate the moon.",
    ];
    const model = fuseModels(fusePreset("cfg", options), {
      prompted: { source: large, prefix: "The robot flew to Mars and the robot ate the moon." },
      plain: large,
    });
    const { tokens } = await textOf(model, {});
    expect((await json(...LINE, "--plan", "preset:cfg:gamma=4", ...sources)).tokens).toEqual(tokens);
    expect(tokens).not.toEqual((await json(...LINE)).tokens);
    const preset = await file("preset.json", { preset: "cfg", options });
    expect((await json(...LINE, "--plan", preset, ...sources)).tokens).toEqual(tokens);
  });

  it("works with drafts, several texts and statistics", async () => {
    const fused = ["--plan", await file("plan.json", halves), ...BOTH];
    const plain = await json(...LINE, ...fused);
    for (const draft of ["suffix", `model:${Q4}`]) {
      const drafted = await json(...LINE, ...fused, "--draft", draft);
      expect([draft, drafted.tokens]).toEqual([draft, plain.tokens]);
      expect(drafted.speculation.targetCalls ?? drafted.speculation.target_calls).toBeGreaterThan(0);
    }
    const { choices } = await json(...LINE, ...fused, "--n", "2");
    expect(choices[0].tokens).toEqual(plain.tokens);
    const { out, error } = await run([...LINE, ...fused]);
    expect(out).toBe(`${plain.text}\n`);
    expect(error).toMatch(/; 24 tokens in .*; finish: length; seed 3\n$/);
  });

  it("explains without loading anything", async () => {
    const { out, error } = await run([
      "--plan",
      "preset:contrastive",
      "--explain",
      "--source",
      "expert=nowhere.gguf",
    ]);
    const needs = [
      "needs",
      "  --source expert=FILE   a model",
      "  --source amateur=FILE  a model",
      "a source may also be a row that is always the same, --input NAME=FILE, if one is a model",
    ];
    expect([out, error]).toEqual([`${explainPlan(fusePreset("contrastive"))}\n${needs.join("\n")}\n`, ""]);
  });

  it("audits", async () => {
    const args = ["--plan", await file("audit.json", halves), ...BOTH];
    const { fusion, tokens } = await json(...LINE, ...args, "--audit");
    const { audits } = await textOf(fuseModels(halves, { base: large, expert: small }), { audit: true });
    expect(fusion).toEqual({ plan: planFingerprint(halves), ...auditSummary(audits!) });
    expect(fusion.rows).toBe(tokens.length);
    expect(fusion.weights).toEqual({ plan: [0.5, 0.5] });
    expect(Object.keys(fusion.sources)).toEqual(["base", "expert"]);
    expect(await json(...LINE, ...args)).not.toHaveProperty("fusion");
  });

  it.each<[string, () => Promise<string[]>, string]>([
    ["a missing source", async () => ["--plan", "preset:dlf", ...BOTH], "as in anti=model.gguf"],
    [
      "an unknown source",
      async () => ["--plan", "preset:min-p", ...BOTH],
      '"--source" must be of base, got "expert"',
    ],
    ["no JSON", async () => ["--plan", await file("bad.json", "{")], 'bad.json": '],
    [
      "no plan",
      async () => ["--plan", await file("wrong.json", { sources: ["a"], lin: [{ source: "b" }] })],
      'wrong.json": "plan.lin[0].source" must be one of a, got "b"',
    ],
  ])("refuses %s", async (_, args, message) => {
    await expect(run([...(await args()), "-p", "a"])).rejects.toThrow(message);
  });
});

describe("what a plan needs beside models", () => {
  const concept = { positive: ["The dragon was scary"], negative: ["The sun was bright"] };
  const base = ["--source", `base=${Q8}`];

  it("is given by --input: numbers, tables, rows, and texts to make them of", async () => {
    const routing = await file("routing.json", [0, 1]);
    const experts = ["expert1", "expert2", "router"].flatMap((name, i) => [
      "--source",
      `${name}=${i === 0 ? Q8 : Q4}`,
    ]);
    const routed = await json(
      ...LINE,
      "--plan",
      "preset:fusion-route",
      ...experts,
      "--input",
      `routing=${routing}`,
    );
    const route = fuseModels(
      fusePreset("fusion-route"),
      { expert1: large, expert2: small, router: small },
      { inputs: { routing: [0, 1] } },
    );
    expect(routed.tokens).toEqual((await textOf(route, {})).tokens);

    const row = await conceptRow(large, concept);
    const steer = await json(
      ...LINE,
      "--plan",
      "preset:steer:strength=0.7",
      ...base,
      "--input",
      `concept=${await file("concept.json", concept)}`,
    );
    const steered = fuseModels(fusePreset("steer", { strength: 0.7 }), { base: large, concept: row });
    expect(steer.tokens).toEqual((await textOf(steered, {})).tokens);

    const corpus = "Once upon a time there was a dog who liked the king. ".repeat(30);
    const grad = await json(
      ...LINE,
      "--plan",
      "preset:grad:alpha=3",
      ...base,
      "--input",
      `graph=${await file("corpus.txt", corpus)}`,
    );
    const graph = await transitionGraph(large, [corpus]);
    const graphed = fuseModels(fusePreset("grad", { alpha: 3 }), { base: large }, { tables: { graph } });
    expect(grad.tokens).toEqual((await textOf(graphed, {})).tokens);
  });

  it("is options of a preset, as JSON or from files", async () => {
    const sources = ["--source", `x=${Q8}`, "--source", `y=${Q4}`];
    const plan = 'preset:mixture:sources=["x","y"],weights=[0.25,0.75]';
    const { tokens } = await json(...LINE, "--plan", plan, ...sources);
    const model = fuseModels(fusePreset("mixture", { sources: ["x", "y"], weights: [0.25, 0.75] }), {
      x: large,
      y: small,
    });
    expect(tokens).toEqual((await textOf(model, {})).tokens);
    const weights = await file("weights.json", [0.25, 0.75]);
    const again = `preset:mixture:sources=["x","y"],weights=@${weights}`;
    expect((await json(...LINE, "--plan", again, ...sources)).tokens).toEqual(tokens);
    const counts = Array.from({ length: large.vocab }, (_, id) => 1 + (id % 5));
    const prior = `preset:logit-adjustment:tau=0.5,counts=@${await file("counts.json", counts)}`;
    const adjusted = fuseModels(fusePreset("logit-adjustment", { tau: 0.5, counts }), { base: large });
    expect((await json(...LINE, "--plan", prior, ...base)).tokens).toEqual(
      (await textOf(adjusted, {})).tokens,
    );
  });

  it("is told by --explain", async () => {
    const needs = async (plan: string) =>
      (await run(["--plan", plan, "--explain"])).out.split("\nneeds\n")[1].split("\n");
    expect(await needs("preset:grad")).toEqual([
      "  --source base=FILE  a model",
      '  --input graph=FILE  a table of the kind "graph"',
      "",
    ]);
    expect(await needs("preset:fusion-route")).toContain("  --input routing=FILE   2 numbers");
    expect(await needs("preset:gac")).toContain(
      '  --input a=FILE   a table of the kind "projection"; made of the models\' tokens, unless given',
    );
  });

  it("is not needed to fuse models of different vocabularies", async () => {
    if (!existsSync(OTHER)) return;
    const other = await loadModel(OTHER);
    for (const preset of ["unite", "gac", "eva"] as const) {
      const sources = ["--source", `a=${Q8}`, "--source", `b=${OTHER}`];
      const got = await json(...LINE, "--plan", `preset:${preset}`, ...sources);
      const model = fuseModels(fusePreset(preset), { a: large, b: other });
      const { tokens, text } = await textOf(model, {});
      expect([got.tokens, got.text]).toEqual([tokens, text]);
    }
    other.close();
  });

  it.each<[string, () => Promise<string[]>, string]>([
    [
      "a missing input",
      async () => ["--plan", "preset:grad", ...base],
      '"--input graph" must be given: a table of the kind "graph"',
    ],
    [
      "one that is not of the plan",
      async () => ["--plan", "preset:min-p", ...base, "--input", `x=${await file("x.json", [1])}`],
      '"--input" must be of base, got "x"',
    ],
    [
      "one that does not fit",
      async () => [
        "--plan",
        "preset:grad",
        ...base,
        "--input",
        `graph=${await file("bad-graph.json", { kind: "graph", ids: [1], values: [] })}`,
      ],
      '"--input graph.values" must have 1 numbers',
    ],
    [
      "one that is no JSON",
      async () => ["--plan", "preset:grad", ...base, "--input", `graph=${await file("half.json", "{")}`],
      'half.json": ',
    ],
    [
      "an option that is no JSON",
      async () => ["--plan", 'preset:mixture:sources=["a"', ...base],
      '"--plan" must have JSON in the option sources',
    ],
    [
      "an option whose file is wrong",
      async () => ["--plan", `preset:mixture:weights=@${await file("w.json", [1])}`, ...base],
      '"--plan preset:mixture options.weights" must have 2 numbers',
    ],
    [
      "a source that is given twice",
      async () => ["--plan", "preset:min-p", ...base, "--input", "base=row.json"],
      '"--input base=" must be left out beside "--source base="',
    ],
    [
      "an input without a plan",
      async () => ["--input", "base=row.json"],
      '"--input" needs "--plan" beside it',
    ],
  ])("refuses %s", async (_, args, message) => {
    const argv = await args();
    await expect((async () => run([...argv, "-p", "a"]))()).rejects.toThrow(message);
  });
});

describe("auditSummary", () => {
  const audit = (entropy: number, choice: number, weight: number, alpha: number) => ({
    sources: choice === 0 ? ["a"] : ["a", "b"],
    weights: [{ path: "plan", weights: [1, weight] }],
    routes: [{ path: "plan", choice }],
    matches: [{ path: "plan.let.x", expert: choice, alpha, objective: 0, targets: [] }],
    entropies: { a: entropy, ...(choice === 1 && { b: 4 }) },
    entropy,
  });

  it("counts and averages by path", () => {
    expect(auditSummary([audit(1, 0, 0.5, 1), audit(2, 1, 1.5, 2), audit(3, 1, 1, 0)])).toEqual({
      rows: 3,
      sources: { a: { rows: 3, entropy: 2 }, b: { rows: 2, entropy: 4 } },
      entropy: 2,
      weights: { plan: [1, 1] },
      routes: { plan: [1, 2] },
      matches: { "plan.let.x": { experts: [1, 2], alpha: 1 } },
    });
    expect(auditSummary([])).toMatchObject({ rows: 0, entropy: 0, weights: {} });
  });
});
