/**
 * What does a codebook head take, and what does it cost in quality? What do residual codes add?
 *
 *   node --import ./bench/register.mjs bench/compressed-head.ts [--builds simd,relaxed] [--states 8192] [--quick] [--json]
 *
 * Time: V = 151,936, D = 896, K = 2,048, one thread, against the dense Q8_0 head. The codebook stays in the cache, as it does
 * while it drafts; copies of the dense head take turns. Every answer is compared with the row first.
 *
 * Quality: the models of ../shared/models, each calibrated with four fifths of a text that it was not trained on and compared
 * on the rest, where they are there. Beside it what the paper claims for a head that is trained with its model.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { type Backend, type Floats, type Matrix, stride, type Top } from "../src/backend/backend.ts";
import { RESIDUAL_WORDS } from "../src/backend/head-kernels.ts";
import { createWasmBackend } from "../src/backend/wasm/index.ts";
import type { Build } from "../src/backend/wasm/instantiate.ts";
import { compressHead } from "../src/compress/compress-head.ts";
import { UnsupportedError } from "../src/errors.ts";
import { editGguf, openGguf } from "../src/format/gguf-write.ts";
import type { HeadMethod } from "../src/model/head/stored-head.ts";
import { VqHead } from "../src/model/head/vq-head.ts";
import { kernelModules, loadModel } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, measure, speedOver } from "./harness.ts";
import { weightRows } from "./head-weights.ts";
import { type Missing, print, printTable } from "./report.ts";

const VOCAB = 151_936;
const HIDDEN = 896;
const CODES = 2048;
/** Bytes of residual codes for a token, and rows of their basis. */
const RESIDUAL = 32;
const BASIS = 128;
const ROWS_AT_ONCE = 4096;
const DENSE_COPIES = 3;
/** Tokens drafted, in texts of that temperature, and how many texts. */
const GAMMA = 4;
const TEMPERATURE = 0.8;
const TEXTS = 8;
const SHARED = new URL("../../shared/", import.meta.url);
const MODELS = ["edgewise-stories-q8_0", "stories3M-q8_0"];
const TEXT = "corpus/held-out-stories.txt";

const { values: options } = parseArgs({
  options: {
    builds: { type: "string", default: "simd,relaxed" },
    states: { type: "string", default: "8192" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
/** Method, codewords and bytes of residual codes, of those that have them. */
const HEADS: readonly (readonly [HeadMethod, number, number])[] = options.quick
  ? [
      ["vq", 256, 0],
      ["vq", 256, 32],
    ]
  : [
      ...[256, 512, 1024, 2048].flatMap((codes) => [["vq", codes, 0] as const, ["vq", codes, 32] as const]),
      ["pq", 0, 0],
      ["certified", 0, 0],
    ];

await timeHeads(options.builds.split(",") as Build[]);
await compareHeads();

async function timeHeads(builds: readonly Build[]): Promise<void> {
  const missing: Missing[] = [];
  const candidates: Candidate[] = [];
  for (const build of builds) {
    candidates.push(...((await ifSupported(build, missing, () => headsOf(build))) ?? []));
  }
  const dense = candidates[0]?.name;
  if (dense === undefined) throw new UnsupportedError("Cannot measure: no build runs here");
  const shape = `V = 151,936, D = 896, K = 2,048`;
  const comparisons = [{ ...speedOver(dense), of: "time" as const, title: `time / ${dense}` }];
  print(
    await measure("a token by a codebook head", candidates, {
      shape,
      missing,
      comparisons,
      ...(options.quick && { roundMilliseconds: 5, warmupMilliseconds: 100 }),
    }),
    options.json,
  );
}

async function headsOf(build: Build): Promise<Candidate[]> {
  const { simd, relaxed } = await kernelModules();
  if (build === "relaxed" && relaxed === undefined) {
    throw new UnsupportedError("Cannot use the relaxed build: this engine has no relaxed SIMD");
  }
  const backend = createWasmBackend(build === "relaxed" ? relaxed! : simd, { build });
  const random = createRandom(1);
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const dense = Array.from({ length: DENSE_COPIES }, () => matrixOf(backend, VOCAB));
  const weights = {
    codebook: matrixOf(backend, CODES),
    codes: Uint16Array.from({ length: VOCAB }, () => random.below(CODES)),
    bias: normals(VOCAB).map((value) => 2 * value - 3),
  };
  const head = new VqHead(backend, weights);
  const residual = new VqHead(backend, {
    ...weights,
    residual: {
      basis: matrixOf(backend, BASIS),
      bytes: RESIDUAL,
      codes: Uint8Array.from({ length: VOCAB * RESIDUAL }, () => random.below(256)),
      words: normals(BASIS * RESIDUAL_WORDS).map((value) => value / 20),
      bias: weights.bias,
    },
  });
  const state = backend.floats(HIDDEN);
  backend.write(state, normals(HIDDEN));
  const out = backend.floats(stride(VOCAB));
  let calls = 0;
  const named = (name: string, run: () => unknown, check: () => void, bytes: number): Candidate => ({
    name: `${build} ${name}`,
    run: () => void run(),
    check,
    bytes,
  });
  const row = () => rowOf(backend, head, state, out);
  return [
    named(
      "dense Q8_0, row",
      () => backend.matmul(state, 1, [{ weights: dense[calls++ % DENSE_COPIES], out }]),
      () => {},
      dense[0].bytes,
    ),
    named(
      "vq argmax",
      () => head.argmax(state),
      () => expectEqual(head.argmax(state), bestOf(row())),
      head.bytes,
    ),
    named(
      "vq sample",
      () => head.sample(state, { seed: 1, position: calls++ }),
      () => expectLaw(head, state, row()),
      head.bytes,
    ),
    named(
      "vq top 40",
      () => head.top(state, 40),
      () => expectEqual((head.top(state, 40) as Top).ids[0], bestOf(row())),
      head.bytes,
    ),
    named(
      "vq log Z",
      () => head.logPartition(state),
      () => expectPartition(head, state, row()),
      head.bytes,
    ),
    named(
      "vq + 32 B argmax",
      () => residual.argmax(state),
      () => expectEqual(residual.argmax(state), bestOf(rowOf(backend, residual, state, out))),
      residual.bytes,
    ),
    named(
      "vq + 32 B top 40",
      () => residual.top(state, 40),
      () =>
        expectEqual((residual.top(state, 40) as Top).ids[0], bestOf(rowOf(backend, residual, state, out))),
      residual.bytes,
    ),
    named(
      "vq + 32 B sample",
      () => residual.sample(state, { seed: 1, position: calls++ }),
      () => expectLaw(residual, state, rowOf(backend, residual, state, out)),
      residual.bytes,
    ),
    named(
      "vq row",
      () => head.rows(state, 1, out),
      () => {},
      head.bytes + 10 * VOCAB,
    ),
  ];
}

function matrixOf(backend: Backend, rows: number): Matrix {
  const writer = backend.matrix("Q8_0", rows, HIDDEN);
  for (let row = 0; row < rows; row += ROWS_AT_ONCE) {
    writer.write(weightRows("Q8_0", row, Math.min(ROWS_AT_ONCE, rows - row), HIDDEN));
  }
  return writer.finish();
}

function rowOf(backend: Backend, head: VqHead, state: Floats, out: Floats): Float32Array {
  head.rows(state, 1, out);
  return (backend.read(out) as Float32Array).slice(0, VOCAB);
}

function bestOf(row: Float32Array): number {
  return row.reduce((best, logit, id) => (logit > row[best] ? id : best), 0);
}

function partitionOf(row: Float32Array): number {
  const most = row[bestOf(row)];
  return most + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
}

function expectEqual(actual: unknown, expected: number): void {
  if (actual !== expected) throw new Error(`Head gave ${actual} instead of ${expected}`);
}

function expectPartition(head: VqHead, state: Floats, row: Float32Array): void {
  const actual = head.logPartition(state) as number;
  if (Math.abs(actual - partitionOf(row)) > 1e-8)
    throw new Error(`log Z is ${actual}, ${partitionOf(row)} by the row`);
}

/** The mean log-probability of draws is the law's, as nearly as so many draws can tell. */
function expectLaw(head: VqHead, state: Floats, row: Float32Array): void {
  const logZ = partitionOf(row);
  const expected = row.reduce((sum, logit) => sum + Math.exp(logit - logZ) * (logit - logZ), 0);
  const square = row.reduce((sum, logit) => sum + Math.exp(logit - logZ) * (logit - logZ) ** 2, 0);
  const draws = 4000;
  let mean = 0;
  for (let position = 0; position < draws; position++) {
    mean += (row[head.sample(state, { seed: 9, position }) as number] - logZ) / draws;
  }
  const deviation = Math.sqrt((square - expected ** 2) / draws);
  if (Math.abs(mean - expected) > 5 * deviation)
    throw new Error(`Draws have ${mean}, the law has ${expected}`);
}

async function compareHeads(): Promise<void> {
  const lines: string[][] = [];
  for (const name of options.quick ? MODELS.slice(0, 1) : MODELS) {
    const path = new URL(`models/${name}.gguf`, SHARED);
    if (!existsSync(path)) {
      console.log(`skipped: ${name}, there is no ../shared/models/${name}.gguf`);
      continue;
    }
    const [file, text] = [await readFile(path), await readFile(new URL(TEXT, SHARED), "utf8")];
    lines.push([name, "dense", "", "", "", "", "", "", "", (await emitted(file)).toFixed(2)]);
    for (const [method, codes, residual] of HEADS) {
      const { report, ...edit } = await compressHead(file, await kernelModules(), {
        method,
        ...(codes > 0 && { codes }),
        residual,
        text,
        states: options.quick ? 512 : Number(options.states),
      });
      const drafts = method === "certified" ? "" : (await emitted(await edited(file, edit))).toFixed(2);
      if (options.json) console.log(JSON.stringify({ model: name, drafts: Number(drafts), ...report }));
      const { bytes, denseBytes, quality } = report;
      const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
      lines.push([
        name,
        `${method}${codes > 0 ? ` ${codes}` : ""}${residual > 0 ? ` + ${residual} B` : ""}`,
        bytes.toLocaleString("en-US"),
        percent(bytes / denseBytes),
        quality.kl.toFixed(4),
        `${quality.nllChange < 0 ? "" : "+"}${quality.nllChange.toFixed(4)}`,
        percent(Math.exp(quality.nllChange) - 1),
        percent(quality.top1),
        percent(quality.top10),
        drafts,
      ]);
    }
  }
  if (options.json || lines.length === 0) return;
  console.log("\nquality of compressed heads, on text that neither the model nor the head has seen");
  const title = [
    "model",
    "head",
    "bytes a token",
    "of dense",
    "KL, nats",
    "NLL",
    "perplexity",
    "same best",
    "best 10",
    `tokens a pass`,
  ];
  const paper = ["paper (arXiv:2505.10202)", "vq, trained", "", "1 %", "", "", "+4 %", "", "", ""];
  printTable([title, ...lines, paper]);
  console.log(
    `tokens a pass: with ${GAMMA} drafted by the head, at temperature ${TEMPERATURE}; "dense": by its shortlist`,
  );
}

/** A file as `edgewise compress-head` writes it. */
async function edited(file: Uint8Array, edit: Parameters<typeof editGguf>[1]): Promise<Uint8Array> {
  const source = await openGguf(async (from, to) => file.subarray(from, to), file.length);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(Uint8Array.from(piece));
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** Tokens that a pass of the model leaves behind, when its head drafts. */
async function emitted(file: Uint8Array): Promise<number> {
  const model = await loadModel(file);
  let [tokens, passes] = [0, 0];
  for (let seed = 1; seed <= TEXTS; seed++) {
    const text = model.generate("Once upon a time", {
      maxTokens: 128,
      temperature: TEMPERATURE,
      seed,
      ignoreEos: true,
      draft: "self",
      speculation: { gamma: GAMMA, adaptive: false },
    });
    for (;;) {
      const { done, value } = await text.next();
      if (!done) continue;
      tokens += value.tokens.length;
      passes += value.speculation?.targetCalls ?? value.tokens.length;
      break;
    }
  }
  model.close();
  return tokens / passes;
}
