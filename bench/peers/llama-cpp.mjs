/**
 * Native llama.cpp as a peer process: one JSON request per line on stdin, one JSON answer per line on stdout.
 *
 *   node bench/peers/llama-cpp.mjs model.gguf [--threads 1] [--context 512] [--sequences 1] [--kv F16|F32] [--flash auto|on|off]
 *        [--cpu icelake]
 *
 * | request | answer |
 * |---|---|
 * | `{task: "tokenize", text}` | `{tokens}`, BOS first if the file asks for it |
 * | `{task: "greedy", tokens, n}` | `{tokens}`, the n that follow; the lowest id wins ties |
 * | `{task: "decode", tokens, n}` | `{tokens, seconds, tokensPerSecond}` |
 * | `{task: "prefill", tokens}` | `{seconds, tokensPerSecond}` |
 * | `{task: "streams", prompts, n}` | `{streams}`, of each `{firstMs, gapsMs}`: prompts one after the other, then all in one batch |
 * | `{task: "logits", tokens, file}` | `{rows, vocab}`; `file` receives rows x vocab f32, little-endian |
 *
 * The addon's own context is driven, below the public classes: their batching queue would be counted against llama.cpp.
 * One batch holds a whole request (n_batch = n_ubatch = context), which is the fastest prefill llama.cpp has.
 *
 * llama.cpp picks the code for this CPU out of several libraries; `--cpu` names one instead, which must run here.
 */
import { mkdtemp, open, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { serve } from "./json-lines.mjs";

const SEQUENCE = 0;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "1" },
    context: { type: "string", default: "512" },
    sequences: { type: "string", default: "1" },
    kv: { type: "string", default: "F16" },
    flash: { type: "string", default: "auto" },
    cpu: { type: "string" },
  },
});
const [modelPath] = positionals;
if (modelPath === undefined) throw new TypeError("Model path is missing: llama-cpp.mjs model.gguf");
const threads = Number(values.threads);
const contextSize = Number(values.context);
const flashAttention = { auto: "auto", on: true, off: false }[values.flash];

if (values.cpu !== undefined) await loadCpuLibrary(values.cpu);
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
  logger: (_level, message) => process.stderr.write(message),
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({
  contextSize,
  batchSize: contextSize,
  sequences: Number(values.sequences),
  threads: { ideal: threads, min: threads },
  flashAttention,
  experimentalKvCacheKeyType: values.kv,
  experimentalKvCacheValueType: values.kv,
  ignoreMemorySafetyChecks: true,
});
const native = context._ctx;
native.setThreads(threads);
const greedySampler = new llama._bindings.AddonSampler(model._model);
greedySampler.applyConfig({ temperature: 0 });

/** Loads one library before node-llama-cpp would choose; it keeps what is loaded. */
async function loadCpuLibrary(name) {
  const binaries = fileURLToPath(
    new URL("./node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/", import.meta.url),
  );
  // llama.cpp takes the best library of a folder, so this one gets a folder of its own.
  const folder = await mkdtemp(join(tmpdir(), "llama-cpu-"));
  try {
    const library = `libggml-cpu-${name}.so`;
    await symlink(join(binaries, library), join(folder, library));
    const addon = createRequire(import.meta.url)(join(binaries, "llama-addon.node"));
    addon.setLogger(() => {});
    addon.loadBackends(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Appends tokens at `position`; gives the batch index of each row asked for. */
async function forward(tokens, position, rows) {
  native.initBatch(tokens.length);
  const indices = native.addToBatch(SEQUENCE, position, Uint32Array.from(tokens), Uint32Array.from(rows));
  await native.decodeBatch();
  return indices;
}

async function decode({ tokens, n }) {
  native.disposeSequence(SEQUENCE);
  let [index] = await forward(tokens, 0, [tokens.length - 1]);
  const emitted = [await native.sampleToken(index, greedySampler)];
  const start = performance.now();
  while (emitted.length < n) {
    [index] = await forward([emitted.at(-1)], tokens.length + emitted.length - 1, [0]);
    emitted.push(await native.sampleToken(index, greedySampler));
  }
  const seconds = (performance.now() - start) / 1000;
  return { tokens: emitted, seconds, tokensPerSecond: (n - 1) / seconds };
}

/** A context holds `--context` positions per sequence. */
async function streams({ prompts, n }) {
  const start = performance.now();
  const streams = [];
  for (const [sequence, tokens] of prompts.entries()) {
    native.disposeSequence(sequence);
    native.initBatch(tokens.length);
    const [index] = native.addToBatch(
      sequence,
      0,
      Uint32Array.from(tokens),
      Uint32Array.from([tokens.length - 1]),
    );
    await native.decodeBatch();
    const last = await native.sampleToken(index, greedySampler);
    const at = performance.now();
    streams.push({ last, length: tokens.length, firstMs: at - start, at, gapsMs: [] });
  }
  for (let step = 1; step < n; step++) {
    native.initBatch(streams.length);
    const indices = streams.map(({ last, length }, sequence) =>
      native.addToBatch(sequence, length + step - 1, Uint32Array.of(last), Uint32Array.of(0)),
    );
    await native.decodeBatch();
    for (const [i, stream] of streams.entries()) {
      stream.last = await native.sampleToken(indices[i][0], greedySampler);
      const now = performance.now();
      stream.gapsMs.push(now - stream.at);
      stream.at = now;
    }
  }
  return { streams: streams.map(({ firstMs, gapsMs }) => ({ firstMs, gapsMs })) };
}

async function prefill({ tokens }) {
  native.disposeSequence(SEQUENCE);
  const start = performance.now();
  const [index] = await forward(tokens, 0, [tokens.length - 1]);
  await native.sampleToken(index, greedySampler);
  const seconds = (performance.now() - start) / 1000;
  return { seconds, tokensPerSecond: tokens.length / seconds };
}

/** Logits of one row in token order; the addon gives [token, logit, token, logit, ...] sorted by logit. */
async function readRow(index) {
  const [, , , pairs] = await native.sampleToken(index, greedySampler, false, false, true, false);
  const row = new Float32Array(pairs.length / 2);
  for (let i = 0; i < pairs.length; i += 2) row[pairs[i]] = pairs[i + 1];
  return row;
}

async function logits({ tokens, file }) {
  native.disposeSequence(SEQUENCE);
  const indices = await forward(tokens, 0, tokens.keys());
  const output = await open(file, "w");
  let vocab = 0;
  try {
    for (const index of indices) {
      const row = await readRow(index);
      vocab = row.length;
      await output.write(new Uint8Array(row.buffer));
    }
  } finally {
    await output.close();
  }
  return { rows: indices.length, vocab };
}

/** Argmax over the row itself: the greedy sampler does not say which of two equal logits it takes. */
async function greedy({ tokens, n }) {
  native.disposeSequence(SEQUENCE);
  let [index] = await forward(tokens, 0, [tokens.length - 1]);
  const emitted = [];
  for (;;) {
    const row = await readRow(index);
    let best = 0;
    for (let token = 1; token < row.length; token++) if (row[token] > row[best]) best = token;
    emitted.push(best);
    if (emitted.length === n) return { tokens: emitted };
    [index] = await forward([best], tokens.length + emitted.length - 1, [0]);
  }
}

function tokenize({ text }) {
  const tokens = [...model.tokenize(text, false)];
  const { bos, shouldPrependBosToken } = model.tokens;
  return { tokens: shouldPrependBosToken && bos !== null ? [bos, ...tokens] : tokens };
}

await serve(
  { tokenize, greedy, decode, streams, prefill, logits },
  {
    peer: "llama.cpp",
    version: llama.llamaCppRelease.release,
    threads: native.getThreads(),
    flashAttention: values.flash,
    kv: values.kv,
    system: llama.systemInfo.trim(),
  },
);
await context.dispose();
await model.dispose();
await llama.dispose();
