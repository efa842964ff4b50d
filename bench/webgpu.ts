/**
 * WebGPU: the head matmul against the card's own copying, tokens per second of a model of 135 million weights, and eight
 * positions against one. Needs a GPU that Dawn (npm package `webgpu`, in test/runtimes) reaches by Vulkan:
 *
 *   node --import ./bench/register.mjs bench/webgpu.ts
 *
 * Without one, or over an emulated one, nothing is measured, and it says so.
 */
import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createWebGpuBackend, type GpuProvider, openDevice } from "../src/backend/webgpu/index.ts";
import { UnsupportedError } from "../src/errors.ts";
import { loadModel } from "../src/node.ts";
import { syntheticModelBytes } from "../test/support/synthetic-model.ts";
import { median } from "./harness.ts";
import { weightRows } from "./head-weights.ts";

const VOCAB = 151_936;
const HIDDEN = 896;
/** Calls between two waits: a wait alone takes as long as some of them. */
const CALLS = 50;
const ROUNDS = 9;
const COPY_BYTES = 256 << 20;

async function findGpu(): Promise<GpuProvider> {
  const file = fileURLToPath(new URL("../test/runtimes/node_modules/webgpu/index.js", import.meta.url));
  if (!existsSync(file)) throw new UnsupportedError("the package webgpu is not in test/runtimes");
  const { create } = await import(pathToFileURL(file).href);
  return create([]) as GpuProvider;
}

/** Milliseconds per call of the median round. */
async function time(call: () => void, settle: () => Promise<unknown>, calls = CALLS): Promise<number> {
  const rounds: number[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    await settle();
    const began = performance.now();
    for (let i = 0; i < calls; i++) call();
    await settle();
    if (round >= 0) rounds.push((performance.now() - began) / calls);
  }
  return median(rounds);
}

async function measure(provider: GpuProvider): Promise<void> {
  const gpu = await openDevice(provider);
  if (/swiftshader|llvmpipe/i.test(gpu.name)) throw new UnsupportedError(`${gpu.name} is emulated`);
  console.log(`${gpu.name}\n`);
  const { device } = gpu;
  // 12: copy from and to.
  const [from, to] = [0, 1].map(() => device.createBuffer({ size: COPY_BYTES, usage: 12 }));
  const copy = () => {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, to, 0, COPY_BYTES);
    device.queue.submit([encoder.finish()]);
  };
  const copyMs = await time(copy, () => device.queue.onSubmittedWorkDone(), 10);
  // Each byte is read and written.
  const bandwidth = (2 * COPY_BYTES) / copyMs / 1e6;
  console.log(`copying: ${bandwidth.toFixed(0)} GB/s, read and write`);

  const backend = createWebGpuBackend(gpu);
  for (const type of ["Q8_0", "Q4_0"] as const) {
    const writer = backend.matrix(type, VOCAB, HIDDEN);
    for (let row = 0; row < VOCAB; row += 1187) {
      writer.write(weightRows(type, row, Math.min(1187, VOCAB - row), HIDDEN));
    }
    const weights = writer.finish();
    const [x, out] = [backend.floats(8 * HIDDEN), backend.floats(8 * VOCAB)];
    const run = (columns: number) =>
      time(
        () => backend.matmul(x, columns, [{ weights, out }]),
        () => backend.settle(),
      );
    const [one, eight] = [await run(1), await run(8)];
    const speed = weights.bytes / one / 1e6;
    console.log(
      `${type} head: ${one.toFixed(3)} ms, ${speed.toFixed(0)} GB/s, ${(speed / bandwidth).toFixed(2)} of copying; ` +
        `8 columns ${(eight / one).toFixed(2)} times that`,
    );
    for (const each of [weights, x, out]) backend.free(each);
  }
  backend.close();
  gpu.close();
  await decode(provider);
}

/** The shape of a 135M llama: 30 layers of 576, 9 heads over 3, 50,304 tokens. */
async function decode(gpu: GpuProvider): Promise<void> {
  const bytes = syntheticModelBytes({
    type: "Q8_0",
    vocab: 50_304,
    hidden: 576,
    layers: 30,
    heads: 9,
    kvHeads: 3,
    feedForward: 1536,
    contextLength: 512,
  });
  const model = await loadModel(bytes, { backend: "webgpu", gpu });
  const session = model.open();
  await session.forward([1, 2, 3]);
  const run = async (columns: number) => {
    const rounds: number[] = [];
    for (let round = 0; round < 40; round++) {
      const began = performance.now();
      await session.forward(new Array(columns).fill(5), columns);
      rounds.push(performance.now() - began);
      session.truncate(3);
    }
    return median(rounds.slice(5));
  };
  const [one, eight] = [await run(1), await run(8)];
  console.log(
    `135M, Q8_0: ${(1000 / one).toFixed(0)} tokens/s, row read back; verifying 8 positions ${(eight / one).toFixed(2)} ` +
      "times one",
  );
  model.close();
}

try {
  await measure(await findGpu());
} catch (error) {
  if (!(error instanceof UnsupportedError)) throw error;
  console.log(`WebGPU: not measured, ${error.message}`);
}
