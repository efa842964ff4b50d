/** `edgewise score`: means over a text, against sums that are made here. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { score } from "../../src/cli/score.ts";
import { TEXT_SCORES } from "../../src/cli/score-arguments.ts";
import type { ScoreReport } from "../../src/cli/score-report.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { edgewise, isBuilt, ROOT } from "./edgewise.ts";

const Q8 = join(ROOT, "models/edgewise-stories-q8_0.gguf");
const Q4 = join(ROOT, "models/edgewise-stories-q4_0.gguf");
const TEXT =
  "Once upon a time there was a little dog. The little dog liked to run in the park. One day he saw a big red ball, " +
  "and he was very happy. “Can I play with you?” he asked. The ball did not say a word.";

let folder: string;
let large: Model;
let small: Model;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-score-"));
  [large, small] = [await loadModel(Q8), await loadModel(Q4)];
});
afterAll(async () => {
  large?.close();
  small?.close();
  await rm(folder, { recursive: true });
});

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

async function run(args: readonly string[], signal = new AbortController().signal) {
  const output = { out: "", error: "" };
  const { options } = parseCommand(["score", ...args]) as Extract<Command, { name: "score" }>;
  await score(options, {
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

async function report(...args: string[]): Promise<ScoreReport> {
  const path = await file("text.txt", TEXT);
  return JSON.parse((await run(["-f", path, ...args, "--json"])).out);
}

/** Probabilities before each token of the text, in chunks that begin with BOS. */
async function laws(model: Model, context: number): Promise<{ token: number; law: number[] }[]> {
  const [bos, ...body] = model.tokenizer.encode(TEXT);
  expect(bos).toBe(model.tokenizer.bos);
  const found: { token: number; law: number[] }[] = [];
  for (let at = 0; at < body.length; at += context) {
    const chunk = body.slice(at, at + context);
    const session = model.open({ capacity: context });
    const rows = await session.forward([bos, ...chunk.slice(0, -1)], chunk.length);
    chunk.forEach((token, i) => {
      const row = Array.from(rows.row(i));
      const top = Math.max(...row);
      const total = row.reduce((sum, z) => sum + Math.exp(z - top), 0);
      found.push({ token, law: row.map((z) => Math.exp(z - top) / total) });
    });
    session.close();
  }
  return found;
}

function meanAndError(values: readonly number[]): [mean: number, error: number] {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return [mean, Math.sqrt(squares / (values.length - 1) / values.length)];
}

describe("score", () => {
  it.each([256, 40, 16, 1])("gives mean and error of the likelihood, in chunks of %i", async (context) => {
    const { scores, tokens, bytes, chunks, model, fingerprint } = await report("--context", String(context));
    const nlls = (await laws(large, context)).map(({ token, law }) => -Math.log(law[token]));
    const [mean, error] = meanAndError(nlls);
    expect(scores.nll.mean).toBeCloseTo(mean, 9);
    expect(scores.nll.standard_error).toBeCloseTo(error, 9);
    expect(Math.log(scores.nll.perplexity as number)).toBeCloseTo(mean, 9);
    const size = new TextEncoder().encode(TEXT).length;
    expect(scores.nll.bits_per_byte).toBeCloseTo((mean * nlls.length) / size / Math.LN2, 9);
    expect([tokens, bytes, chunks]).toEqual([nlls.length, size, Math.ceil(nlls.length / context)]);
    expect([model, fingerprint]).toEqual([large.name, large.fingerprint]);
  });

  it("gives the same likelihood with rows and without, to the last digit", async () => {
    for (const context of ["256", "7"]) {
      const alone = await report("--context", context);
      const beside = await report("--context", context, "--scores", "entropy,nll");
      expect(alone.scores.nll).toEqual(beside.scores.nll);
    }
  });

  it("compares two models row by row", async () => {
    const { scores, against } = await report("--against", Q4, "--scores", "kl,total-variation,nll");
    const [ours, theirs] = [await laws(large, 256), await laws(small, 256)];
    // KL of the reference from the row, as the score "kl" has it.
    const kls = ours.map(({ law }, i) =>
      theirs[i].law.reduce((sum, p, token) => sum + p * Math.log(p / law[token]), 0),
    );
    const distances = ours.map(
      ({ law }, i) => theirs[i].law.reduce((sum, p, token) => sum + Math.abs(p - law[token]), 0) / 2,
    );
    expect(scores.kl.mean).toBeCloseTo(meanAndError(kls)[0], 8);
    expect(scores.kl.standard_error).toBeCloseTo(meanAndError(kls)[1], 8);
    expect(scores["total-variation"].mean).toBeCloseTo(meanAndError(distances)[0], 9);
    expect(Object.keys(scores)).toEqual(["kl", "total-variation", "nll"]);
    expect(against).toBe(small.name);
    const same = await report("--against", Q8);
    expect(same.scores.kl).toEqual({ mean: 0, standard_error: 0 });
    expect(Object.keys(same.scores)).toEqual(["nll", "kl", "total-variation", "top-k-agreement"]);
  });

  it("judges a plan", async () => {
    const plan = await file("plan.json", JSON.stringify({ sources: ["a"], source: "a" }));
    const plain = await report();
    const one = await report("--plan", plan, "--source", `a=${Q8}`);
    expect(one.scores).toEqual(plain.scores);
    const sources = ["--source", `a=${Q8}`, "--source", `b=${Q4}`];
    const { scores } = await report("--plan", "preset:mixture", ...sources);
    const [ours, theirs] = [await laws(large, 256), await laws(small, 256)];
    const nlls = ours.map(({ token, law }, i) => -Math.log((law[token] + theirs[i].law[token]) / 2));
    expect(scores.nll.mean).toBeCloseTo(meanAndError(nlls)[0], 6);
  });

  it("has every score that a text can have", async () => {
    const names = TEXT_SCORES.filter((name) => name !== "jei-gate").join(",");
    const gate = "jei-gate:maxProbability=1,entropy=1,margin=1,escortEntropy=1,bias=0";
    const { scores } = await report("--against", Q4, "--context", "20", "--scores", `${names},${gate}`);
    expect(Object.keys(scores).sort()).toEqual([...TEXT_SCORES].sort());
    for (const { mean } of Object.values(scores)) expect(Number.isFinite(mean)).toBe(true);
  });

  it("prints a table", async () => {
    const path = await file("text.txt", TEXT);
    const { out, error } = await run(["-f", path, "--against", Q4, "--context", "50"]);
    expect(error).toBe("");
    const [first, ...lines] = out.trimEnd().split("\n");
    expect(first).toMatch(
      /^edgewise-stories-q8_0 against edgewise-stories-q4_0: \d+ tokens, \d+ bytes, in 2 chunks$/,
    );
    expect(lines[0]).toMatch(
      /^ {2}nll {14}[\d.]+ ± [\d.]+; perplexity [\d.]+; [\d.]+ ± [\d.]+ bits per byte$/,
    );
    expect(lines[1]).toMatch(/^ {2}kl {15}[\d.]+ ± [\d.]+$/);
    expect(lines.length).toBe(4);
  });

  it("refuses what has no token, another vocabulary, and stops when told", async () => {
    const empty = await file("empty.txt", "");
    await expect(run(["-f", empty])).rejects.toThrow("Cannot score the text: it has no token to score");
    const other = await file("other.gguf", syntheticModelBytes({}));
    const path = await file("text.txt", TEXT);
    await expect(run(["-f", path, "--against", other])).rejects.toThrow(
      '"--against" must be a model of the same vocabulary, got one with another',
    );
    await expect(run(["-f", path], AbortSignal.abort())).rejects.toThrow(/abort/);
  });

  it("scores all but the first token where texts have no BOS", async () => {
    const path = await file("no-bos.gguf", syntheticModelBytes({}));
    const model = await loadModel(path);
    const body = model.tokenizer.encode(TEXT, { special: false });
    const hasBos = model.tokenizer.encode(TEXT).length > body.length;
    const { tokens } = await report("-m", path, "--context", "10");
    expect(tokens).toBe(hasBos ? body.length : body.length - 1);
    model.close();
  });
});

describe.skipIf(!isBuilt)("edgewise score", () => {
  it("reads standard input and prints one JSON object", async () => {
    const { code, out, error } = await edgewise(["score", "-f", "-", "--json"], { input: TEXT });
    expect([code, error]).toEqual([0, ""]);
    expect(JSON.parse(out).scores.nll.mean).toBeGreaterThan(0);
    const missing = await edgewise(["score", "-f", "nowhere.txt"]);
    expect([missing.code, missing.out]).toEqual([1, ""]);
    expect(missing.error).toBe('edgewise: Cannot read "nowhere.txt": there is no such file\n');
  });
});
