/** Drafts of a model's own hidden states on WebGPU: the text is that of plain decoding there, and goes on without a device. */
import { afterAll, describe, expect, it } from "vitest";
import { createWebGpuBackend, type GpuDevice, openDevice } from "../../../src/backend/webgpu/index.ts";
import type { GenerateOptions, GenerateResult } from "../../../src/engine/model.ts";
import { loadModel, type Model } from "../../../src/node.ts";
import { stories, withHead } from "../../support/compressed-model.ts";
import { testGpu } from "../../support/gpu.ts";
import { syntheticModelBytes } from "../../support/synthetic-model.ts";
import { ToyGrammar } from "../../support/toy-grammar.ts";
import { textOf } from "../on-off.ts";

const gpu = await testGpu();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`draft self on WebGPU: skipped, ${skip}`);

/** A device that is emulated on a busy machine. */
const TIMEOUT_MS = 180_000;
const PROMPT = "Once upon a time";
const TOKENS = [7, 100, 261];
const SELF: GenerateOptions = { draft: "self", speculation: { adaptive: false, gamma: 4 } };

/** What drafts. */
const HEADS = {
  "a shortlist": Promise.resolve(stories),
  "a vq head": withHead({ method: "vq", codes: 256, residual: 0 }),
  "residual codes": withHead({ method: "vq", codes: 256, residual: 16 }),
  "product codes": withHead({ method: "pq" }),
  "a small model": Promise.resolve(syntheticModelBytes({ type: "Q8_0", vocab: 320 })),
  "the model's own vq head": withHead({ method: "vq", codes: 256, residual: 0, replace: true }),
};
type HeadName = keyof typeof HEADS;
const NAMES = (Object.keys(HEADS) as HeadName[]).filter((name) => name !== "a small model");

describe.skipIf(skip !== undefined)("draft self on WebGPU", { timeout: TIMEOUT_MS }, () => {
  const provider = typeof gpu === "string" ? undefined : gpu;
  let shared: GpuDevice | undefined;
  const models: Model[] = [];
  const load = async (head: HeadName, device: GpuDevice) => {
    const backend = createWebGpuBackend(device);
    backend.prepare = async () => {};
    const options = { backend: "auto", gpu: provider, openGpu: async () => backend } as const;
    models.push(await loadModel(await HEADS[head], { ...options, contextLength: 128 }));
    return { model: models.at(-1)!, backend };
  };
  // One device for all: kernels are compiled once.
  const onDevice = async (head: HeadName) => {
    shared ??= await openDevice(provider);
    return await load(head, shared);
  };
  afterAll(() => {
    for (const model of models) model.close();
  });

  it.each(NAMES)("gives the text of plain decoding, mostly from drafts: %s", async (head) => {
    const { model, backend } = await onDevice(head);
    const asked: GenerateOptions = { temperature: 0.8, maxTokens: 10, seed: 3, ignoreEos: true };
    const plain = await textOf(model, PROMPT, asked);
    const before = backend.traffic;
    const drafted = await textOf(model, PROMPT, { ...asked, ...SELF });
    const after = backend.traffic;
    expect(drafted.tokens).toEqual(plain.tokens);
    const { accepted, drafted: guesses, targetCalls } = drafted.speculation!;
    expect(drafted.speculation).toMatchObject({ drafter: "self", verifier: "match", lossless: true });
    expect(accepted).toBeGreaterThan(3);
    // A command buffer for each token drafted, and for each call that verifies.
    expect(after.submissions - before.submissions).toBeLessThanOrEqual(guesses + targetCalls + 2);
    // 32 bytes a token, of drafts and of rows; hardly ever is a row of 16 KiB read.
    const most = 32 * (guesses + 5 * (targetCalls + 1)) + 2 * 4 * model.vocab;
    expect(after.readBytes - before.readBytes).toBeLessThanOrEqual(most);
    expect(model.backend).toBe("webgpu");
  });

  it("follows penalties, cut-offs and a grammar, and other verifiers", async () => {
    // All tokens of so small a vocabulary are on the shortlist.
    const { model } = await onDevice("a small model");
    const grammar = () => new ToyGrammar(model.vocab, 7);
    for (const sampling of [
      { repetitionPenalty: 1.3, presencePenalty: 0.5, topP: 0.9 },
      { temperature: 0.9, topK: 20, minP: 0.02 },
      { typicalP: 0.9 },
      { constraint: grammar, temperature: 0 },
    ]) {
      const asked: GenerateOptions = { maxTokens: 12, seed: 8, ignoreEos: true, ...sampling };
      const plain = await textOf(model, TOKENS, asked);
      const drafted = await textOf(model, TOKENS, { ...asked, ...SELF });
      expect(drafted.tokens).toEqual(plain.tokens);
      expect(drafted.speculation!.accepted).toBeGreaterThan(2);
    }
    const asked: GenerateOptions = { maxTokens: 10, temperature: 0.8, seed: 1, ignoreEos: true };
    const { tokens, speculation } = await textOf(model, TOKENS, { ...asked, ...SELF, verifier: "token" });
    expect(tokens).toHaveLength(10);
    expect(speculation).toMatchObject({ verifier: "token", drafter: "self" });
    expect(speculation!.accepted).toBeGreaterThan(0);
  });

  it("goes on in this process when the device is lost, and drafts there as heads do that draw by their own noise", async () => {
    const device = await openDevice(provider);
    const { model } = await load("the model's own vq head", device);
    const asked: GenerateOptions = { ...SELF, maxTokens: 20, temperature: 0, ignoreEos: true };
    const steps = model.generate(PROMPT, asked);
    const tokens: number[] = [];
    let step = await steps.next();
    for (; !step.done; step = await steps.next()) {
      tokens.push(step.value.token);
      if (tokens.length === 4) device.device.destroy();
    }
    expect(model.backend).toBe("wasm");
    expect(model.fallback).toMatch(/^Cannot go on with WebGPU: device lost/);
    expect(tokens).toEqual(step.value.tokens);
    const wasm = await loadModel(await HEADS["the model's own vq head"], { contextLength: 128 });
    models.push(wasm);
    expect(tokens).toEqual((await textOf(wasm, PROMPT, { ...asked, draft: "none" })).tokens);
    // Of 20 tokens 16 came after it.
    expect(step.value.speculation!.accepted).toBeGreaterThan(8);
    const sampled = { ...asked, temperature: 0.8, seed: 4 };
    expect((await textOf(model, PROMPT, sampled)).tokens).toEqual(
      (await textOf(wasm, PROMPT, { ...sampled, draft: "none" })).tokens,
    );
  });

  it("has the text where the device was lost before", async () => {
    const device = await openDevice(provider);
    const { model } = await load("a small model", device);
    const wasm = await loadModel(await HEADS["a small model"], { contextLength: 128 });
    models.push(wasm);
    device.device.destroy();
    await device.device.lost;
    const asked: GenerateOptions = { ...SELF, maxTokens: 12, temperature: 0.8, seed: 2, ignoreEos: true };
    const expected = await textOf(wasm, TOKENS, { ...asked, draft: "none" });
    expect((await textOf(model, TOKENS, asked)).tokens).toEqual(expected.tokens);
    expect(model.backend).toBe("wasm");
  });

  it("has several texts where the device is lost as they begin", async () => {
    const device = await openDevice(provider);
    const { model } = await load("a small model", device);
    const wasm = await loadModel(await HEADS["a small model"], { contextLength: 128 });
    models.push(wasm);
    const asked: GenerateOptions = { ...SELF, maxTokens: 12, temperature: 0.8, seed: 2, ignoreEos: true };
    const texts = manyOf(model, asked);
    device.device.destroy();
    for (const [i, { tokens }] of (await texts).entries()) {
      const expected = await textOf(wasm, TOKENS, { ...asked, seed: 2 + i, draft: "none" });
      expect(tokens).toEqual(expected.tokens);
    }
    expect(model.backend).toBe("wasm");
  });
});

async function manyOf(model: Model, options: GenerateOptions): Promise<readonly GenerateResult[]> {
  const steps = model.generateMany(TOKENS, { ...options, n: 3 });
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}
