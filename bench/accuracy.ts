/**
 * How far are a runtime's log-probabilities from the truth, an f64 run over the same file's dequantised weights?
 *
 *   node --import ./bench/register.mjs bench/accuracy.ts model.gguf text.txt [--tokens 2048] [--window 256]
 *        [--candidates edgewise,llama.cpp,llama.cpp-f32] [--json]
 *
 * The text is cut into windows, each with BOS in front where the file asks for one; every position counts. Printed per
 * candidate: mean and largest KL(truth || candidate) in nats per token, and how often both have the same best token.
 * `llama.cpp-f32` runs the file converted to F32 with an F32 cache: it holds the oracle itself against a second truth.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Model } from "../src/engine/model.ts";
import { loadModel } from "../src/node.ts";
import { divergence, logSoftmax } from "./oracle/divergence.ts";
import { Oracle } from "./oracle/forward.ts";
import { parseGguf } from "./oracle/gguf.ts";
import { toF32 } from "./oracle/to-f32.ts";
import { Peer } from "./peer.ts";

/** Gives the rows of one window, one after the other. */
interface Candidate extends AsyncDisposable {
  rows(tokens: readonly number[]): AsyncIterable<Float32Array>;
}

interface Accuracy {
  readonly candidate: string;
  readonly tokens: number;
  /** Nats per token. */
  readonly meanDivergence: number;
  readonly largestDivergence: number;
  /** Share of positions whose best token is the truth's. */
  readonly sameBest: number;
}

class LlamaCpp implements Candidate {
  readonly #peer: Peer;
  readonly #file: string;

  constructor(peer: Peer, file: string) {
    this.#peer = peer;
    this.#file = file;
  }

  async *rows(tokens: readonly number[]): AsyncIterable<Float32Array> {
    const { rows, vocab } = await this.#peer.request("logits", { tokens, file: this.#file });
    const bytes = await readFile(this.#file);
    for (let row = 0; row < rows; row++) {
      yield new Float32Array(bytes.buffer, bytes.byteOffset + row * vocab * 4, vocab);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#peer[Symbol.asyncDispose]();
  }
}

class Edgewise implements Candidate {
  readonly #model: Model;

  constructor(model: Model) {
    this.#model = model;
  }

  async *rows(tokens: readonly number[]): AsyncIterable<Float32Array> {
    const session = this.#model.open({ capacity: tokens.length });
    try {
      const rows = await session.forward(tokens, tokens.length);
      for (let row = 0; row < rows.count; row++) yield rows.row(row);
    } finally {
      session.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#model.close();
  }
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "2048" },
    window: { type: "string", default: "256" },
    candidates: { type: "string", default: "edgewise,llama.cpp" },
    json: { type: "boolean", default: false },
  },
});
const [modelPath, textPath] = positionals;
if (textPath === undefined)
  throw new TypeError("Arguments must be a model and a text: accuracy.ts model.gguf text.txt");

const folder = await mkdtemp(join(tmpdir(), "accuracy-"));
try {
  const results = await measureAccuracy(folder);
  if (options.json) console.log(JSON.stringify({ model: modelPath, text: textPath, results }));
  else console.table(results);
} finally {
  await rm(folder, { recursive: true });
}

async function measureAccuracy(folder: string): Promise<Accuracy[]> {
  const bytes = new Uint8Array(await readFile(modelPath));
  const file = parseGguf(bytes);
  const oracle = new Oracle(file);
  const candidates = new Map<string, Candidate>();
  for (const name of options.candidates.split(",")) {
    candidates.set(name, await openCandidate(name, folder, () => toF32(file)));
  }
  const sums = new Map([...candidates.keys()].map((name) => [name, { kl: 0, largest: 0, same: 0 }]));
  let tokens = 0;
  for (const window of await windows(oracle)) {
    const truth = oracle.forward(window);
    for (const [name, candidate] of candidates) {
      const sum = sums.get(name)!;
      let position = 0;
      for await (const row of candidate.rows(window)) {
        const expected = truth.subarray(position * oracle.vocab, (position + 1) * oracle.vocab);
        const kl = divergence(logSoftmax(expected), logSoftmax(row));
        sum.kl += kl;
        sum.largest = Math.max(sum.largest, kl);
        sum.same += Number(argmax(expected) === argmax(row));
        position++;
      }
      if (position !== window.length)
        throw new RangeError(`${name} gave ${position} of ${window.length} rows`);
    }
    tokens += window.length;
  }
  for (const candidate of candidates.values()) await candidate[Symbol.asyncDispose]();
  return [...sums].map(([candidate, { kl, largest, same }]) => ({
    candidate,
    tokens,
    meanDivergence: kl / tokens,
    largestDivergence: largest,
    sameBest: same / tokens,
  }));
}

async function openCandidate(name: string, folder: string, f32: () => Uint8Array): Promise<Candidate> {
  const rowsFile = join(folder, `${name}.rows`);
  const settings = ["--context", options.window];
  if (name === "llama.cpp")
    return new LlamaCpp(await Peer.start("llama-cpp", [modelPath, ...settings]), rowsFile);
  if (name === "llama.cpp-f32") {
    const path = join(folder, "f32.gguf");
    await writeFile(path, f32());
    const peer = await Peer.start("llama-cpp", [path, "--kv", "F32", "--flash", "off", ...settings]);
    return new LlamaCpp(peer, rowsFile);
  }
  if (name === "edgewise") return new Edgewise(await loadModel(modelPath));
  throw new RangeError(`Candidate must be edgewise, llama.cpp or llama.cpp-f32, got ${name}`);
}

/** Windows of the text in llama.cpp's tokens, so that every candidate sees the same. */
async function windows({ bos }: Oracle): Promise<number[][]> {
  await using peer = await Peer.start("llama-cpp", [modelPath]);
  const total = Number(options.tokens);
  const size = Number(options.window);
  // Eight bytes per token are more than any text needs.
  const text = (await readFile(textPath, "utf8")).slice(0, 8 * total);
  const { tokens } = await peer.request("tokenize", { text });
  const plain = bos === null ? tokens : tokens.slice(1);
  const prefix = bos === null ? [] : [bos];
  const step = size - prefix.length;
  return Array.from({ length: Math.floor(total / size) }, (_, i) => [
    ...prefix,
    ...plain.slice(i * step, (i + 1) * step),
  ]);
}

function argmax(row: ArrayLike<number>): number {
  let best = 0;
  for (let token = 1; token < row.length; token++) if (row[token] > row[best]) best = token;
  return best;
}
