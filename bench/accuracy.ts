/**
 * How far are a runtime's log-probabilities from the truth, an f64 run over the same file's dequantised weights?
 *
 *   node --import ./bench/register.mjs bench/accuracy.ts [model.gguf ...] [--text file.txt] [--tokens 2048] [--window 256]
 *        [--candidates simd,relaxed,reference,llama.cpp,llama.cpp-f32] [--quick] [--json]
 *
 * Default: the embedded models, on text that each writes itself (temperature 1, seeds 0, 1, ...). A text of yours is cut
 * into windows, each with BOS in front where the file asks for one. Every position counts. Printed per candidate: mean
 * and largest KL(truth || candidate) in nats per token, and how often both have the same best token.
 * `llama.cpp-f32` runs the file converted to F32 with an F32 cache: it holds the oracle itself against a second truth.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadModel } from "../src/node.ts";
import { type Candidate, openCandidate } from "./accuracy-candidates.ts";
import { describeMachine } from "./machine.ts";
import { divergence, logSoftmax } from "./oracle/divergence.ts";
import { Oracle } from "./oracle/forward.ts";
import { parseGguf } from "./oracle/gguf.ts";
import { type Missing, printTable } from "./report.ts";

const EMBEDDED = ["f16", "q8_0", "q4_0"].map((type) =>
  fileURLToPath(new URL(`../models/edgewise-stories-${type}.gguf`, import.meta.url)),
);

interface Accuracy {
  readonly candidate: string;
  readonly tokens: number;
  /** Nats per token. */
  readonly meanDivergence: number;
  readonly largestDivergence: number;
  /** Share of positions whose best token is the truth's. */
  readonly sameBest: number;
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: "string" },
    tokens: { type: "string" },
    window: { type: "string", default: "256" },
    candidates: { type: "string", default: "simd,relaxed,reference,llama.cpp" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const tokens = Number(options.tokens ?? (options.quick ? 512 : 2048));
const window = Number(options.window);

for (const path of positionals.length > 0 ? positionals : EMBEDDED) await report(path);

async function report(path: string): Promise<void> {
  const missing: Missing[] = [];
  const results = await measureAccuracy(path, missing);
  const model = basename(path);
  const text = options.text === undefined ? "text of its own" : basename(options.text);
  if (options.json) {
    const machine = describeMachine();
    console.log(JSON.stringify({ question: "accuracy", model, text, machine, results, missing }));
    return;
  }
  console.log(`\naccuracy: ${model}, ${tokens} tokens of ${text} in windows of ${window}`);
  printTable([
    ["", "mean KL, nats", "largest KL", "same best token"],
    ...results.map(({ candidate, meanDivergence, largestDivergence, sameBest }) => [
      candidate,
      meanDivergence.toExponential(2),
      largestDivergence.toExponential(2),
      sameBest.toFixed(4),
    ]),
  ]);
  for (const { name, reason } of missing) console.log(`${name}: ${reason}`);
}

async function measureAccuracy(path: string, missing: Missing[]): Promise<Accuracy[]> {
  const folder = await mkdtemp(join(tmpdir(), "accuracy-"));
  const oracle = new Oracle(parseGguf(new Uint8Array(await readFile(path))));
  const candidates: Candidate[] = [];
  try {
    for (const name of options.candidates.split(",")) {
      const candidate = await openCandidate(name, { path, window, folder, missing });
      if (candidate !== null) candidates.push(candidate);
    }
    const sums = candidates.map(() => ({ kl: 0, largest: 0, same: 0 }));
    const sequences = await windows(path, oracle.bos);
    for (const sequence of sequences) {
      const truth = oracle.forward(sequence);
      for (const [i, candidate] of candidates.entries()) {
        let position = 0;
        for await (const row of candidate.rows(sequence)) {
          const expected = truth.subarray(position * oracle.vocab, (position + 1) * oracle.vocab);
          const kl = divergence(logSoftmax(expected), logSoftmax(row));
          sums[i].kl += kl;
          sums[i].largest = Math.max(sums[i].largest, kl);
          sums[i].same += Number(argmax(expected) === argmax(row));
          position++;
        }
        if (position !== sequence.length)
          throw new RangeError(`${candidate.name} gave ${position} of ${sequence.length} rows`);
      }
    }
    const count = sequences.length * window;
    return candidates.map(({ name }, i) => ({
      candidate: name,
      tokens: count,
      meanDivergence: sums[i].kl / count,
      largestDivergence: sums[i].largest,
      sameBest: sums[i].same / count,
    }));
  } finally {
    for (const candidate of candidates) await candidate[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  }
}

/** Sequences of `window` tokens, the same for every candidate. */
async function windows(path: string, bos: number | null): Promise<number[][]> {
  const count = Math.floor(tokens / window);
  if (count === 0) throw new RangeError(`tokens must be at least one window of ${window}, got ${tokens}`);
  const model = await loadModel(path);
  const prefix: readonly number[] = bos === null ? [] : [bos];
  const size = window - prefix.length;
  try {
    if (options.text === undefined) {
      return await Promise.all(Array.from({ length: count }, (_, seed) => writeText(seed)));
    }
    // Eight bytes per token are more than any text needs.
    const text = (await readFile(options.text, "utf8")).slice(0, 8 * tokens);
    const plain = model.tokenizer.encode(text, { special: false });
    if (plain.length < count * size)
      throw new RangeError(`Text must have ${count * size} tokens, has ${plain.length}`);
    return Array.from({ length: count }, (_, i) => [...prefix, ...plain.slice(i * size, (i + 1) * size)]);
  } finally {
    model.close();
  }

  async function writeText(seed: number): Promise<number[]> {
    const start = prefix.length === 0 ? model.tokenizer.encode("Once") : prefix;
    const sequence = [...start];
    const writing = { maxTokens: window - start.length, temperature: 1, seed, ignoreEos: true };
    for await (const { token } of model.generate(start, writing)) sequence.push(token);
    return sequence;
  }
}

function argmax(row: ArrayLike<number>): number {
  let best = 0;
  for (let token = 1; token < row.length; token++) if (row[token] > row[best]) best = token;
  return best;
}
