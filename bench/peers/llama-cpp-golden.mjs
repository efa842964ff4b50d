/**
 * Writes test/golden/llama-cpp-*.json: greedy tokens and log-probabilities of llama.cpp, and how far those are from the
 * truth, for the models and tokens of test/accuracy/cases.ts.
 *
 *   node --import ./bench/register.mjs bench/peers/llama-cpp-golden.mjs [stories] [synthetic] [--only NAME]
 *
 * With `--only` the models whose names begin so are run, and the others stay as they are in the files.
 *
 * One thread, F16 cache, as llama.cpp runs by default. Its own rounding decides between tokens that are nearly equally
 * likely: a greedy step is marked unsafe where its two best log-probabilities are closer than `SAFETY` times its error
 * there. In F16 and F32 no step is.
 */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  DIVERGENCE_TOKENS,
  LARGE_VOCABULARY,
  randomTokens,
  STORY_MODELS,
  SYNTHETIC_CASES,
  syntheticFile,
  windowsOf,
} from "../../test/accuracy/cases.ts";
import { PROMPTS, STORY } from "../../test/accuracy/story.ts";
import { divergence, logSoftmax } from "../oracle/divergence.ts";
import { Oracle } from "../oracle/forward.ts";
import { parseGguf } from "../oracle/gguf.ts";
import { Peer } from "../peer.ts";

const CONTEXT = 256;
const STORY_TOKENS = 96;
const SYNTHETIC_TOKENS = 64;
/** Random prompts tried per synthetic model; fewer where rows are long. */
const ATTEMPTS = 16;
const PROMPT_TOKENS = 12;
const SAFETY = 4;
/** Of a row: how many of its most likely tokens are kept. */
const TOP = 50;

const folder = await mkdtemp(join(tmpdir(), "llama-cpp-golden-"));
const { values, positionals: asked } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string", default: "" } },
});
const wanted = (part) => asked.length === 0 || asked.includes(part);
try {
  if (wanted("stories")) await save("stories", await storyGoldens());
  if (wanted("synthetic")) await save("synthetic", await syntheticGoldens());
} finally {
  await rm(folder, { recursive: true });
}

async function storyGoldens() {
  const golden = { models: {} };
  for (const name of STORY_MODELS.filter((model) => model.startsWith(values.only))) {
    const path = fileURLToPath(new URL(`../../models/${name}.gguf`, import.meta.url));
    await withModel(path, async ({ peer, oracle, sha256 }) => {
      const greedy = [];
      for (const prompt of PROMPTS) {
        const { tokens } = await peer.request("tokenize", { text: prompt });
        greedy.push({ prompt, ...(await continuation(peer, oracle, tokens, STORY_TOKENS)) });
      }
      const { tokens: story } = await peer.request("tokenize", { text: STORY });
      const windows = windowsOf(story, oracle.bos, CONTEXT);
      const meanDivergence = await divergenceOf(peer, oracle, windows);
      const rows = await keyRows(peer, oracle, windows[0], [0, 9, 100, CONTEXT - 1]);
      Object.assign(golden, about(peer), { story });
      golden.models[name] = { sha256, meanDivergence, greedy, rows };
      report(name, golden.models[name]);
    });
  }
  return golden;
}

async function syntheticGoldens() {
  const golden = { models: {} };
  const path = join(folder, "synthetic.gguf");
  for (const synthetic of [...SYNTHETIC_CASES, LARGE_VOCABULARY].filter((model) =>
    model.name.startsWith(values.only),
  )) {
    const { name } = synthetic;
    await writeFile(path, syntheticFile(synthetic));
    await withModel(path, async ({ peer, oracle, sha256 }) => {
      const tokens = randomTokens(name, oracle.vocab, DIVERGENCE_TOKENS);
      const meanDivergence = await divergenceOf(peer, oracle, [tokens]);
      const greedy = [await bestContinuation(peer, oracle, synthetic)];
      const rows = await keyRows(peer, oracle, tokens, [DIVERGENCE_TOKENS - 1]);
      Object.assign(golden, about(peer));
      golden.models[name] = { sha256, meanDivergence, greedy, rows };
      report(name, golden.models[name]);
    });
  }
  return golden;
}

async function withModel(path, work) {
  const bytes = new Uint8Array(await readFile(path));
  const peer = await Peer.start("llama-cpp", [path, "--context", `${CONTEXT}`]);
  try {
    const sha256 = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    await work({ peer, oracle: new Oracle(parseGguf(bytes)), sha256 });
  } finally {
    await peer[Symbol.asyncDispose]();
  }
}

/** Random models tend to repeat themselves: the prompt after which they do so least. In F16 and F32 all steps are safe. */
async function bestContinuation(peer, oracle, { name, type }) {
  const score = ({ tokens, unsafe }) =>
    (type === "F16" || type === "F32") && unsafe.length > 0
      ? 0
      : new Set(tokens.filter((_, step) => !unsafe.includes(step))).size;
  let best;
  const attempts = oracle.vocab > 100_000 ? 2 : ATTEMPTS;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const prompt = randomTokens(`${name} prompt ${attempt}`, oracle.vocab, PROMPT_TOKENS);
    const found = await continuation(peer, oracle, prompt, SYNTHETIC_TOKENS);
    if (best === undefined || score(found) > score(best)) best = found;
  }
  return best;
}

/**
 * llama.cpp's greedy tokens after a prompt.
 *
 * @returns `unsafe`: steps whose token may be another where the rounding is; `margin`: the smallest distance of the two
 *   best log-probabilities at the other steps; `error`: the largest of llama.cpp's distances from the truth there.
 */
async function continuation(peer, oracle, promptTokens, n) {
  const { tokens } = await peer.request("greedy", { tokens: promptTokens, n });
  const sequence = [...promptTokens, ...tokens].slice(0, -1);
  const truth = oracle.forward(sequence);
  const rows = await logProbabilities(peer, sequence);
  const unsafe = [];
  let margin = Number.POSITIVE_INFINITY;
  let error = 0;
  tokens.forEach((token, step) => {
    const at = promptTokens.length - 1 + step;
    const row = rows[at];
    const expected = logSoftmax(truth.subarray(at * oracle.vocab, (at + 1) * oracle.vocab));
    const [best, second] = twoBest(row);
    const distance = row[best] - row[second];
    const off = Math.max(Math.abs(row[best] - expected[best]), Math.abs(row[second] - expected[second]));
    if (best !== token || distance < SAFETY * off) {
      unsafe.push(step);
      return;
    }
    margin = Math.min(margin, distance);
    error = Math.max(error, off);
  });
  return { promptTokens, tokens, unsafe, margin: rounded(margin), error: rounded(error) };
}

/** The most likely tokens after some positions, with the largest error among them. */
async function keyRows(peer, oracle, tokens, positions) {
  const truth = oracle.forward(tokens);
  const rows = await logProbabilities(peer, tokens);
  return positions.map((position) => {
    const row = rows[position];
    const expected = logSoftmax(truth.subarray(position * oracle.vocab, (position + 1) * oracle.vocab));
    const ids = byProbability(row).slice(0, TOP);
    return {
      position,
      ids,
      logProbabilities: ids.map((id) => rounded(row[id])),
      error: rounded(Math.max(...ids.map((id) => Math.abs(row[id] - expected[id])))),
    };
  });
}

async function divergenceOf(peer, oracle, windows) {
  let sum = 0;
  let count = 0;
  for (const window of windows) {
    const truth = oracle.forward(window);
    const rows = await logProbabilities(peer, window);
    rows.forEach((row, index) => {
      const expected = truth.subarray(index * oracle.vocab, (index + 1) * oracle.vocab);
      sum += divergence(logSoftmax(expected), row);
    });
    count += window.length;
  }
  return Number((sum / count).toPrecision(4));
}

/** A row per token. */
async function logProbabilities(peer, tokens) {
  const file = join(folder, "rows");
  const { rows, vocab } = await peer.request("logits", { tokens, file });
  const bytes = await readFile(file);
  const logits = new Float32Array(bytes.buffer, bytes.byteOffset, rows * vocab);
  return Array.from({ length: rows }, (_, row) =>
    logSoftmax(logits.subarray(row * vocab, (row + 1) * vocab)),
  );
}

/** The first two of `byProbability`. */
function twoBest(row) {
  let [best, second] = row[1] > row[0] ? [1, 0] : [0, 1];
  for (let id = 2; id < row.length; id++) {
    if (row[id] > row[best]) [best, second] = [id, best];
    else if (row[id] > row[second]) second = id;
  }
  return [best, second];
}

function byProbability(row) {
  return Array.from(row, (_, id) => id).sort((a, b) => row[b] - row[a] || a - b);
}

function rounded(value) {
  return Number(value.toFixed(6));
}

/** The numbers, not the tokens, depend on the instructions that the CPU has. */
function about({ about: { peer, version, system } }) {
  return { from: `${peer} ${version}`, system };
}

function report(name, { meanDivergence, greedy }) {
  const sequences = greedy.map(({ tokens, unsafe, margin, error }) => {
    const different = new Set(tokens).size;
    return `${tokens.length} (${different}, ${unsafe.length}, ${margin}, ${error})`;
  });
  console.log(`${name}: divergence ${meanDivergence}`);
  console.log(`  greedy tokens (different, unsafe, margin, error): ${sequences.join(", ")}`);
}

/** One line per model, so that a change shows where it is. */
async function save(name, golden) {
  const url = new URL(`../../test/golden/llama-cpp-${name}.json`, import.meta.url);
  const old = values.only === "" ? { models: {} } : JSON.parse(await readFile(url, "utf8"));
  const { models, ...rest } = { ...old, ...golden, models: { ...old.models, ...golden.models } };
  const lines = Object.entries(models).map((entry) => entry.map((part) => JSON.stringify(part)).join(": "));
  const text = `{\n${JSON.stringify(rest).slice(1, -1)},\n"models": {\n${lines.join(",\n")}\n}}\n`;
  await writeFile(url, text);
}
