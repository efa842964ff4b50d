/**
 * WebGPU: how near does the head matmul come to the card's own copying, how fast does a model of 135 million weights decode
 * there, and how is ONNX Runtime Web's WebGPU provider beside it in the same page?
 *
 *   EDGEWISE_GPU=1 node --import ./bench/register.mjs bench/webgpu.ts [--quick] [--json] [--anyway]
 *
 * Needs a GPU that Dawn (npm package `webgpu`, in test/runtimes) reaches by Vulkan. Without one nothing is measured, and it
 * says so. `--anyway` runs all of it on an emulated one, in small, to see that it works: those numbers mean nothing.
 */
import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import {
  createWebGpuBackend,
  type GpuDevice,
  type GpuOptions,
  type GpuProvider,
  openDevice,
} from "../src/backend/webgpu/index.ts";
import { UnsupportedError } from "../src/errors.ts";
import { loadModel } from "../src/node.ts";
import { testGpu } from "../test/support/gpu.ts";
import { createRandom } from "../test/support/random.ts";
import { syntheticModelBytes } from "../test/support/synthetic-model.ts";
import { type Candidate, type Comparison, measure, speedOver, type Timed } from "./harness.ts";
import { expectedRows, weightRows } from "./head-weights.ts";
import { Peer } from "./peer.ts";
import { type Missing, print } from "./report.ts";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    anyway: { type: "boolean", default: false },
  },
});

/** Calls between two waits: a wait alone takes as long as some of them. */
const CALLS = options.anyway ? 2 : 50;
const HEAD = options.anyway ? { vocab: 2048, hidden: 896 } : { vocab: 151_936, hidden: 896 };
const COPY_BYTES = (options.anyway ? 4 : 256) << 20;
const PROMPT = options.anyway ? 40 : 256;
/** A 135M llama, and one of its kind that an emulator can run. */
const MODEL = options.anyway
  ? { vocab: 512, hidden: 64, layers: 2, heads: 4, kvHeads: 2, feedForward: 128, contextLength: 64 }
  : { vocab: 50_304, hidden: 576, layers: 30, heads: 9, kvHeads: 3, feedForward: 1536, contextLength: 512 };
const TYPES = ["Q8_0", "Q4_0"] as const;
/** How products are made; a device may not have all of them. */
const VARIANTS: readonly GpuOptions[] = [{ packed: false, f16: false }, { packed: true }, { f16: true }];
/** Columns of a token, and of eight positions to verify. */
const COLUMNS = [1, 8] as const;

const EMULATED = /swiftshader|llvmpipe/i;

const timing = { warmupMilliseconds: options.quick ? 50 : 500, roundMilliseconds: 1 };
const timeOver = (of: string, name: (candidate: string) => string): Comparison => ({
  title: `time / ${of}`,
  baseline: name,
  of: "time",
});
const overOneColumn = timeOver("1 column", (name) => name.replace("8 columns", "1 column"));

try {
  const provider = await findGpu();
  await measureHead(provider);
  await measureModel(provider);
  await measurePeer();
} catch (error) {
  if (!(error instanceof UnsupportedError)) throw error;
  note(`WebGPU: not measured: no GPU (${error.message})`);
}

/** What is no table: standard output has JSON alone where that is asked for. */
function note(text: string): void {
  if (options.json) console.error(text);
  else console.log(text);
}

/** @throws {UnsupportedError} If there is none that is worth measuring. */
async function findGpu(): Promise<GpuProvider> {
  if (options.anyway) {
    const gpu = await testGpu();
    if (typeof gpu === "string") throw new UnsupportedError(gpu);
    return gpu;
  }
  const file = fileURLToPath(new URL("../test/runtimes/node_modules/webgpu/index.js", import.meta.url));
  if (!existsSync(file)) throw new UnsupportedError("the package webgpu is not in test/runtimes");
  const { create } = await import(pathToFileURL(file).href);
  return create([]) as GpuProvider;
}

async function openGpu(provider: GpuProvider, variant: GpuOptions): Promise<GpuDevice> {
  const gpu = await openDevice(provider, variant);
  const isEmulated = EMULATED.test(gpu.name);
  if (isEmulated && !options.anyway) {
    gpu.close();
    throw new UnsupportedError(`${gpu.name} is emulated`);
  }
  if (isEmulated) note(`\n${gpu.name}: software adapter, these numbers mean nothing`);
  return gpu;
}

/** Seconds of a call, of as many as make the wait for them small. */
async function timed(call: () => unknown, settle: () => Promise<unknown>, calls = CALLS): Promise<Timed> {
  const began = performance.now();
  for (let i = 0; i < calls; i++) call();
  await settle();
  return { seconds: (performance.now() - began) / 1000 / calls };
}

async function measureHead(provider: GpuProvider): Promise<void> {
  const { vocab, hidden } = HEAD;
  const { normal } = createRandom(3);
  const inputs = Float32Array.from({ length: Math.max(...COLUMNS) * hidden }, normal);
  const gpus: GpuDevice[] = [];
  const candidates: Candidate[] = [];
  for (const variant of VARIANTS) {
    const gpu = await openGpu(provider, variant).catch((error) => {
      if (gpus.length === 0 || !(error instanceof UnsupportedError)) throw error;
      note(error.message);
      return null;
    });
    if (gpu === null) continue;
    if (gpus.length === 0) candidates.push(copying(gpu));
    gpus.push(gpu);
    // What is allowed is for inputs of 14 bits; halves have 11, and so have their sums.
    const slack = gpu.products === "f16" ? 8 : 1;
    const backend = createWebGpuBackend(gpu);
    for (const type of TYPES) {
      const writer = backend.matrix(type, vocab, hidden);
      for (let row = 0; row < vocab; row += 1024) {
        writer.write(weightRows(type, row, Math.min(1024, vocab - row), hidden));
      }
      const weights = writer.finish();
      const [x, out] = [backend.floats(inputs.length), backend.floats(Math.max(...COLUMNS) * vocab)];
      backend.write(x, inputs);
      for (const columns of COLUMNS) {
        const call = () => backend.matmul(x, columns, [{ weights, out }]);
        const name = `${type} ${backend.build}, ${columns === 1 ? "1 column" : `${columns} columns`}`;
        candidates.push({
          name,
          bytes: backend.matrixBytes(type, vocab, hidden),
          run: () => timed(call, () => backend.settle()),
          async check() {
            call();
            const found = await backend.read(out);
            for (const { row, values, tolerance } of expectedRows(
              type,
              vocab,
              hidden,
              inputs.subarray(0, columns * hidden),
            )) {
              for (const [column, value] of values.entries()) {
                const got = found[column * vocab + row];
                if (!(Math.abs(got - value) <= slack * tolerance)) {
                  throw new Error(`${name}: row ${row} of column ${column} must be ${value}, got ${got}`);
                }
              }
            }
          },
        });
      }
    }
  }
  const report = await measure("head matmul on WebGPU, against copying", candidates, {
    shape: `${vocab.toLocaleString("en-US")} x ${hidden}, ${gpus[0].name}`,
    comparisons: [speedOver("copying"), overOneColumn],
    ...timing,
  });
  print(report, options.json);
  for (const gpu of gpus) gpu.close();
}

/** Each byte is read and written. */
function copying({ device }: GpuDevice): Candidate {
  // 12: copy from and to.
  const [from, to] = [0, 1].map(() => device.createBuffer({ size: COPY_BYTES, usage: 12 }));
  const copy = () => {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, to, 0, COPY_BYTES);
    device.queue.submit([encoder.finish()]);
  };
  return {
    name: "copying",
    bytes: 2 * COPY_BYTES,
    run: () => timed(copy, () => device.queue.onSubmittedWorkDone(), Math.min(CALLS, 10)),
  };
}

async function measureModel(provider: GpuProvider): Promise<void> {
  const { layers, hidden, vocab } = MODEL;
  const bytes = syntheticModelBytes({ type: "Q8_0", ...MODEL });
  const model = await loadModel(bytes, { backend: "webgpu", gpu: provider });
  const session = model.open();
  await session.forward([1, 2, 3]);
  const run = async (tokens: number) => {
    await session.forward(new Array(tokens).fill(5), Math.min(tokens, 8));
    session.truncate(3);
    return undefined;
  };
  const candidates = [
    ["a token", 1],
    ["8 positions to verify", 8],
    [`a prompt of ${PROMPT}`, PROMPT],
  ] as const;
  const report = await measure(
    `forward on WebGPU (${model.build}), rows read back`,
    candidates.map(([name, tokens]) => ({ name, tokens, run: () => run(tokens) })),
    {
      shape: `${layers} layers, D = ${hidden}, V = ${vocab.toLocaleString("en-US")}, Q8_0`,
      comparisons: [timeOver("a token", () => "a token")],
      ...timing,
    },
  );
  print(report, options.json);
  model.close();
}

/** Both in one page; theirs rounds inputs of either type to 8 bits where it has dots of bytes. */
async function measurePeer(): Promise<void> {
  const missing: Missing[] = [];
  const shape = ["--vocab", String(HEAD.vocab), "--hidden", String(HEAD.hidden)];
  const args = [...shape, ...(options.anyway ? ["--software"] : [])];
  await using peer = await Peer.startIfInstalled("ort-web", args, missing);
  if (peer === null) {
    for (const { name, reason } of missing) note(`${name}: ${reason}`);
    return;
  }
  const { adapter, variant, engine } = peer.about;
  const isEmulated = EMULATED.test(String(adapter));
  if (isEmulated && !options.anyway) {
    note(
      `ONNX Runtime Web: not measured: the page has ${adapter}; EDGEWISE_GPU=1 gives it this machine's GPU`,
    );
    return;
  }
  if (isEmulated) note(`\n${adapter}: software adapter, these numbers mean nothing`);
  for (const type of TYPES) {
    for (const columns of COLUMNS) {
      const ask = (side: "edgewise" | "ort-web", calls: number) =>
        peer.request("head", { side, type, columns, calls });
      const candidate = (side: "edgewise" | "ort-web", name: string): Candidate => ({
        name,
        run: async () => ({ seconds: (await ask(side, CALLS)).seconds / CALLS }),
      });
      const title = `edgewise ${variant}`;
      const report = await measure(
        `head in a page, ${type}, ${columns} at once`,
        [candidate("ort-web", "ONNX Runtime Web"), candidate("edgewise", title)],
        {
          shape: `${HEAD.vocab.toLocaleString("en-US")} x ${HEAD.hidden}, ${adapter}, ${engine}`,
          comparisons: [speedOver("ONNX Runtime Web")],
          warmupMilliseconds: 0,
          roundMilliseconds: 1,
        },
      );
      print({ ...report, peers: [peer.facts()] }, options.json);
    }
  }
}
