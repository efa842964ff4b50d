/** Models on a WebGPU device, and what happens when it goes away. */
import { readFile } from "node:fs/promises";
import { afterAll, describe, expect, it } from "vitest";
import {
  createWebGpuBackend,
  type GpuDevice,
  openDevice,
  type WebGpuBackend,
} from "../../src/backend/webgpu/index.ts";
import type { OpenGpu } from "../../src/engine/load-model.ts";
import type { GenerateOptions, Model } from "../../src/engine/model.ts";
import type { DrawnRows } from "../../src/engine/source.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { fuseModels, fusePreset, type LoadOptions, loadModel } from "../../src/node.ts";
import { testGpu } from "../support/gpu.ts";

const gpu = await testGpu();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`models on WebGPU: skipped, ${skip}`);

const FILE = new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url);
/** A device that is emulated on a busy machine. */
const TIMEOUT_MS = 180_000;

const PROMPT = "The little dog";

/** Devices of the models that were loaded, and their backends, last one last. */
const devices: GpuDevice[] = [];
const backends: WebGpuBackend[] = [];
const openGpu: OpenGpu = async (provider, options) => {
  const device = await openDevice(provider);
  devices.push(device);
  const backend = createWebGpuBackend(device, { ...options, ownsDevice: true });
  backends.push(backend);
  // Kernels are compiled ahead once; on the devices that follow those alone that are used.
  if (devices.length > 1) backend.prepare = async () => {};
  return backend;
};

async function load(options: LoadOptions = {}): Promise<Model> {
  if (typeof gpu === "string") throw new Error(gpu);
  return await loadModel(FILE, { backend: "auto", gpu, openGpu, contextLength: 256, ...options });
}

async function textOf(model: Model, options: GenerateOptions = {}, afterToken?: (count: number) => void) {
  const tokens: number[] = [];
  const steps = model.generate(PROMPT, { maxTokens: 10, temperature: 0, ...options });
  for (;;) {
    const step = await steps.next();
    if (step.done) return { ...step.value, seen: tokens };
    tokens.push(step.value.token);
    afterToken?.(tokens.length);
  }
}

/** Σ p ln(p / q) of two rows of logits. */
function divergence(p: ArrayLike<number>, q: ArrayLike<number>): number {
  const law = (row: ArrayLike<number>) => {
    const all = Array.from(row);
    const most = Math.max(...all);
    const total = all.reduce((sum, x) => sum + Math.exp(x - most), 0);
    return all.map((x) => x - most - Math.log(total));
  };
  const [a, b] = [law(p), law(q)];
  return a.reduce((sum, x, i) => sum + Math.exp(x) * (x - b[i]), 0);
}

describe.skipIf(skip !== undefined)("a model on WebGPU", { timeout: TIMEOUT_MS }, async () => {
  if (skip !== undefined) return;
  const model = await load();
  const plain = await loadModel(FILE, { backend: "reference", contextLength: 256 });
  const wasm = await loadModel(FILE, { contextLength: 256 });
  afterAll(() => {
    for (const each of [model, plain, wasm]) each.close();
  });

  it("says where it is", () => {
    expect([model.backend, model.build, model.fallback]).toEqual(["webgpu", "plain", undefined]);
    expect(model.fingerprint).not.toBe(wasm.fingerprint);
  });

  it("gives the rows of the definition, but for rounding", async () => {
    const tokens = model.tokenizer.encode("Once upon a time there was a dog");
    const rows = await model.open({ capacity: 64 }).forward(tokens, tokens.length);
    const expected = await plain.open({ capacity: 64 }).forward(tokens, tokens.length);
    for (let i = 0; i < tokens.length; i++) {
      expect(Math.abs(divergence(expected.row(i), rows.row(i)))).toBeLessThan(1e-6);
      expect(rows.argmax(i)).toBe(expected.argmax(i));
      expect(rows.logSumExp(i)).toBeCloseTo(expected.logSumExp(i), 3);
    }
  });

  it("gives a position the same row however calls were cut, in forks and in trees", async () => {
    const tokens = model.tokenizer.encode("A cat and a dog went out to play").slice(0, 8);
    const all = await model.open({ capacity: 32 }).forward(tokens, 8);
    const expected = Array.from({ length: 8 }, (_, i) => all.row(i).slice());
    const session = model.open({ capacity: 32 });
    for (const [i, token] of tokens.slice(0, 4).entries()) {
      expect((await session.forward([token])).row(0)).toEqual(expected[i]);
    }
    const fork = session.fork();
    // Two children, of which the second is right, and its own.
    const tree = await fork.forward([7, tokens[4], tokens[5]], 3, [-1, -1, 1]);
    expect([tree.row(1), tree.row(2)]).toEqual([expected[4], expected[5]]);
    fork.truncate(4, [1, 2]);
    expect((await fork.forward(tokens.slice(6), 2)).row(1)).toEqual(expected[7]);
    expect((await session.forward(tokens.slice(4), 4)).row(3)).toEqual(expected[7]);
  });

  it("gives a long prompt, of several passes, the same row", async () => {
    const tokens = Array.from({ length: 150 }, (_, i) => 1 + ((i * 37) % 250));
    const expected = (await model.open({ capacity: 150 }).forward(tokens)).row(0).slice();
    const session = model.open({ capacity: 150 });
    await session.forward(tokens.slice(0, 131), 0);
    await session.forward(tokens.slice(131, 143), 0);
    expect((await session.forward(tokens.slice(143), 1)).row(0)).toEqual(expected);
    const rows = await wasm.open({ capacity: 150 }).forward(tokens);
    expect(Math.abs(divergence(rows.row(0), expected))).toBeLessThan(1e-4);
  });

  it("decodes greedily what the definition decodes", async () => {
    const { tokens } = await textOf(model);
    expect(tokens).toEqual((await textOf(plain)).tokens);
  });

  it("draws the same text with and without drafts, and the one of the seed", async () => {
    const options = { temperature: 0.9, seed: 5, maxTokens: 8 };
    const { tokens } = await textOf(model, options);
    expect(tokens).toEqual((await textOf(plain, options)).tokens);
    for (const draft of ["prompt-lookup", "recycling-tree"] as const) {
      const speculation = { gamma: 3, adaptive: false };
      expect((await textOf(model, { ...options, draft, speculation })).tokens, draft).toEqual(tokens);
    }
    expect((await textOf(model, { ...options, topK: 20, topP: 0.9 })).tokens).toEqual(
      (await textOf(plain, { ...options, topK: 20, topP: 0.9 })).tokens,
    );
  });

  it.each<[string, number, GenerateOptions]>([
    ["the best token", 32, { temperature: 0 }],
    ["a draw", 32, { temperature: 0.9 }],
    ["a draw with penalties", 32, { temperature: 0.9, presencePenalty: 0.5, repetitionPenalty: 1.2 }],
    ["top-k 8", 32, { topK: 8 }],
    ["top-p", 32, { topP: 0.8 }],
    ["all that llama.cpp does", 32, { preset: "llamacpp", repetitionPenalty: 1.1 }],
    ["a list", 512, { minP: 0.2, xtc: { probability: 0.5, threshold: 0.1 } }],
  ])("a step is a command buffer, of which %s reads %i bytes", async (_, bytes, options) => {
    const [backend] = backends;
    // Pages and scratch are there from the second token on.
    const steps = model.generate(PROMPT, { maxTokens: 6, seed: 1, ...options });
    for (let i = 0; i < 2; i++) await steps.next();
    const before = backend.traffic;
    for (let i = 0; i < 3; i++) await steps.next();
    const { submissions, readBytes } = backend.traffic;
    expect([submissions - before.submissions, readBytes - before.readBytes]).toEqual([3, 3 * bytes]);
    await steps.return(undefined as never);
  });

  it("a text reads at most 64 bytes a token, and is the one of its rows", async () => {
    const [backend] = backends;
    for (const options of [
      { temperature: 1.1, topP: 0.95, seed: 4 },
      { preset: "vllm", temperature: 0.8, topK: 40, topP: 0.9, minP: 0.02, presencePenalty: 0.3, seed: 5 },
    ] as GenerateOptions[]) {
      const before = backend.traffic.readBytes;
      const { tokens } = await textOf(model, { ...options, maxTokens: 12 });
      expect(backend.traffic.readBytes - before).toBeLessThanOrEqual(64 * (tokens.length + 1));
      expect(tokens).toEqual((await textOf(plain, { ...options, maxTokens: 12 })).tokens);
    }
  });

  it("a step of several sessions is one command buffer too", async () => {
    const [backend] = backends;
    const calls = [1, 2, 3].map((seed) => {
      const tasks = [{ temperature: 0.8, seed, position: 2 }];
      return { session: model.open({ capacity: 16 }), tokens: [7, seed], tasks };
    });
    // Pages are there from the second call on.
    await model.forwardAll!(calls);
    const before = backend.traffic;
    const answers = (await model.forwardAll!(calls)) as DrawnRows[];
    const { submissions, readBytes } = backend.traffic;
    expect([submissions - before.submissions, readBytes - before.readBytes]).toEqual([1, 96]);
    const expected = calls.map(async ({ session, tokens, tasks }) => {
      session.truncate(2);
      return (await session.draw!(tokens, tasks)).drawn;
    });
    expect(answers.map(({ drawn }) => drawn)).toEqual(await Promise.all(expected));
  });

  it("decides on drafts by laws, where the rows are", async () => {
    const [backend] = backends;
    for (const verifier of ["token", "block"] as const) {
      const speculation = { gamma: 2, adaptive: false };
      const options = {
        temperature: 0.9,
        seed: 5,
        maxTokens: 6,
        draft: wasm,
        verifier,
        speculation,
      } as const;
      const before = backend.traffic.readBytes;
      const { tokens } = await textOf(model, options);
      expect(tokens).toEqual((await textOf(plain, options)).tokens);
      // 24 bytes a round, or less.
      expect(backend.traffic.readBytes - before).toBeLessThan(24 * 7);
    }
  });

  it("makes several texts at once, and is a part of a fusion", async () => {
    const options = { n: 2, seed: 3, temperature: 1, maxTokens: 6 };
    const texts: number[][] = [[], []];
    for await (const { index, token } of model.generateMany(PROMPT, options)) texts[index].push(token);
    const alone = [3, 4].map(async (seed) => (await textOf(model, { ...options, seed })).tokens);
    expect(texts).toEqual(await Promise.all(alone));
    const plan = fusePreset("dlf");
    const fusedOf = (base: Model) => fuseModels(plan, { base, expert: wasm, anti: wasm });
    const [fused, expected] = [fusedOf(model), fusedOf(plain)].map((each) => textOf(each, { maxTokens: 4 }));
    expect((await fused).tokens).toEqual((await expected).tokens);
  });
});

describe.skipIf(skip !== undefined)("without the device", { timeout: TIMEOUT_MS }, () => {
  it("a text goes on where it was, without losing or repeating a token", async () => {
    const model = await load();
    const device = devices.at(-1)!;
    const expected = await textOf(await loadModel(FILE, { contextLength: 256 }));
    const found = await textOf(model, {}, (count) => {
      if (count === 5) device.device.destroy();
    });
    expect(found.seen).toEqual(expected.tokens);
    expect(model.backend).toBe("wasm");
    expect(model.fallback).toMatch(/^Cannot go on with WebGPU: device lost/);
    expect(found).toMatchObject({ backend: "wasm", fallback: model.fallback });
    expect(expected).toMatchObject({ backend: "wasm" });
    expect(expected).not.toHaveProperty("fallback");
    model.close();
  });

  it("sessions go on too, forks and trees included", async () => {
    const model = await load();
    const session = model.open({ capacity: 32 });
    await session.forward([3, 4, 5]);
    const fork = session.fork();
    await fork.forward([9, 8, 7], 3, [-1, -1, 1]);
    devices.at(-1)!.device.destroy();
    fork.truncate(3, [1, 2]);
    const wasm = await loadModel(FILE, { contextLength: 256 });
    const expected = wasm.open({ capacity: 32 });
    const last = await expected.forward([3, 4, 5, 8, 7, 6]);
    expect((await fork.forward([6])).row(0)).toEqual(last.row(0));
    expected.truncate(3);
    expect((await session.forward([2])).row(0)).toEqual((await expected.forward([2])).row(0));
    model.close();
  });

  it("a model whose bytes are gone says so", async () => {
    const stream = new Blob([await readFile(FILE)]).stream();
    if (typeof gpu === "string") return;
    const model = await loadModel(stream, { backend: "webgpu", gpu, openGpu, contextLength: 64 });
    devices.at(-1)!.device.destroy();
    await expect(textOf(model)).rejects.toThrow(/cannot be loaded again, as its bytes came as a stream/);
  });
});

describe("without an adapter", () => {
  const none = { requestAdapter: async () => null };

  it("runs on Wasm, and says why", async () => {
    // Deno has a WebGPU of its own.
    const given = [
      { gpu: none },
      { openGpu: undefined },
      ...(globalThis.navigator && "gpu" in globalThis.navigator ? [] : [{}]),
    ];
    for (const options of given) {
      const model = await loadModel(FILE, { backend: "auto", contextLength: 64, ...options });
      expect(model.backend).toBe("wasm");
      expect(model.fallback).toMatch(
        /^Cannot use WebGPU: (there is no adapter|this host has none|this entry has no|the package webgpu does not)/,
      );
      expect((await textOf(model, { maxTokens: 2 })).tokens.length).toBe(2);
    }
  });

  it("is refused where it must be WebGPU", async () => {
    await expect(loadModel(FILE, { backend: "webgpu", gpu: none })).rejects.toThrow(UnsupportedError);
  });
});
