/** Texts of a model whose rows lie on another device, which draws from them. The device here is a reference backend. */
import { describe, expect, it } from "vitest";
import type { Drawn, DrawTask } from "../../src/backend/draw-kernels.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import type { WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { ChoiceConstraint } from "../../src/decoding/constraint.ts";
import { Batcher } from "../../src/engine/batch.ts";
import type { GenerateOptions, GenerateResult, Model } from "../../src/engine/model.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { loadModel } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";

const BYTES = syntheticModelBytes({ vocab: 320 });
const PROMPT = [5, 6, 7, 8, 5, 6, 7];

/** What such a device was asked, and how it behaves. */
class Device {
  readonly tasks: DrawTask[] = [];
  rowsRead = 0;
  scans = 0;
  failure: string | null = null;
  isSilent = false;
  readonly backend: WebGpuBackend;

  constructor() {
    const backend = createReferenceBackend();
    const { draw, scan } = backend.drawKernels!();
    const read = backend.read.bind(backend);
    const told = (drawn: readonly (Drawn | null)[]) => (this.isSilent ? drawn.map(() => null) : drawn);
    const expectWell = () => {
      if (this.failure !== null) throw new UnsupportedError(`Cannot go on with WebGPU: ${this.failure}`);
    };
    this.backend = Object.assign(backend, {
      traffic: { submissions: 0, readBytes: 0 },
      prepare: async () => {},
      settle: async () => {},
      settleMemory: async () => {},
      abandon: () => {},
      expectKvRoom: () => {},
      read: (x: Parameters<typeof read>[0]) => {
        expectWell();
        this.rowsRead += x.length / 320;
        return read(x);
      },
      drawKernels: () => ({
        draw: async (...[x, vocab, tasks]: Parameters<typeof draw>) => {
          expectWell();
          this.tasks.push(...tasks);
          return told(await draw(x, vocab, tasks));
        },
        scan: async (...call: Parameters<typeof scan>) => {
          expectWell();
          this.scans++;
          return this.isSilent ? null : await scan(...call);
        },
      }),
    }) as unknown as WebGpuBackend;
    Object.defineProperty(this.backend, "failure", { get: () => this.failure });
  }
}

async function open(): Promise<{ model: Model; device: Device }> {
  const device = new Device();
  const openGpu = async () => device.backend;
  const provider = { requestAdapter: async () => null };
  const model = await loadModel(BYTES, { backend: "webgpu", gpu: provider, openGpu, contextLength: 128 });
  device.rowsRead = 0;
  return { model, device };
}

async function textOf(model: Model, options: GenerateOptions): Promise<GenerateResult> {
  const text = model.generate(PROMPT, { maxTokens: 12, seed: 2, ...options });
  for (;;) {
    const step = await text.next();
    if (step.done) return step.value;
  }
}

async function tokensOf(model: Model, options: GenerateOptions): Promise<readonly number[]> {
  return (await textOf(model, options)).tokens;
}

const counts = ({ speculation }: GenerateResult) => [
  speculation?.drafted,
  speculation?.accepted,
  speculation?.tested,
];

/** Tokens, and one that is no part of the text if that is how it ended. */
const stepsOf = ({ tokens, finishReason }: GenerateResult) =>
  tokens.length + (finishReason === "stop" ? 1 : 0);

const { model, device } = await open();
const plain = await loadModel(BYTES, { backend: "reference", contextLength: 128 });

const OPTIONS: Record<string, GenerateOptions> = {
  greedy: { temperature: 0 },
  temperature: { temperature: 0.9 },
  penalties: { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2, temperature: 0.8 },
  "penalties, greedy": { repetitionPenalty: 1.5, logitBias: { 9: 2, 11: -100 }, temperature: 0 },
  "top-k": { topK: 12, temperature: 0.9 },
  "top-p": { topP: 0.7, temperature: 0.8 },
  "min-p": { minP: 0.1 },
  "top-k, top-p and min-p": { topK: 40, topP: 0.9, minP: 0.05, temperature: 1.2, repetitionPenalty: 1.1 },
  "as llama.cpp": { preset: "llamacpp" },
  "as vLLM": { preset: "vllm", topK: 30, topP: 0.9, temperature: 0.7 },
};

describe("tokens drawn where the rows are", () => {
  for (const [name, options] of Object.entries(OPTIONS)) {
    it(`are those of the rows: ${name}`, async () => {
      const expected = await textOf(plain, options);
      device.tasks.length = 0;
      device.rowsRead = 0;
      expect(await tokensOf(model, options)).toEqual(expected.tokens);
      expect(device.tasks.length).toBe(stepsOf(expected));
      expect(device.rowsRead).toBe(0);
    });

    it(`with drafts too: ${name}`, async () => {
      const expected = await tokensOf(plain, options);
      const drafts = { draft: "prompt-lookup", speculation: { gamma: 3, adaptive: false } } as const;
      device.tasks.length = 0;
      device.rowsRead = 0;
      expect(await tokensOf(model, { ...options, ...drafts })).toEqual(expected);
      expect(device.tasks.length).toBeGreaterThanOrEqual(expected.length);
      expect(device.rowsRead).toBe(0);
    });

    it(`by rows where the device tells nothing: ${name}`, async () => {
      device.isSilent = true;
      device.rowsRead = 0;
      const found = await textOf(model, options);
      device.isSilent = false;
      expect(found.tokens).toEqual(await tokensOf(plain, options));
      expect(device.rowsRead).toBe(stepsOf(found));
    });
  }

  for (const verifier of ["token", "block"] as const) {
    it(`are decided on by laws: ${verifier}`, async () => {
      const drafter = await loadModel(syntheticModelBytes({ vocab: 320, layers: 1 }), { contextLength: 128 });
      for (const draft of ["prompt-lookup", drafter] as const) {
        for (const options of [
          { temperature: 1.3 },
          { presencePenalty: 0.4, logitBias: { 9: 2 } },
          { temperature: 1.3, topK: 40, topP: 0.9 },
        ]) {
          const speculation = { gamma: 3, adaptive: false };
          const expected = await textOf(plain, { ...options, draft, speculation, verifier });
          device.rowsRead = 0;
          device.scans = 0;
          const found = await textOf(model, { ...options, draft, speculation, verifier });
          expect(found.tokens).toEqual(expected.tokens);
          expect(counts(found)).toEqual(counts(expected));
          expect([device.scans > 0, device.rowsRead]).toEqual([true, 0]);
          device.isSilent = true;
          expect((await textOf(model, { ...options, draft, speculation, verifier })).tokens).toEqual(
            expected.tokens,
          );
          device.isSilent = false;
        }
      }
      drafter.close();
    });
  }

  it("obey a grammar, to its end", async () => {
    const constraint = () =>
      new ChoiceConstraint({ vocab: 320, choices: [[9, 10, 11], [9, 12], [30]], endTokens: [319] });
    const plainly = { temperature: 2, constraint, stopTokens: [319] };
    device.rowsRead = 0;
    for (const seed of [1, 2, 3, 4]) {
      for (const options of [plainly, { ...plainly, draft: "prompt-lookup" as const }]) {
        const expected = await tokensOf(plain, { ...options, seed });
        expect(await tokensOf(model, { ...options, seed })).toEqual(expected);
      }
    }
    expect(device.rowsRead).toBe(0);
  });

  it("are not drawn where rows are asked for", async () => {
    device.tasks.length = 0;
    for (const options of [
      { logProbabilities: 0 },
      { typicalP: 0.9 },
      { mirostat: { version: 2 as const } },
    ]) {
      expect(await tokensOf(model, options as GenerateOptions)).toEqual(
        await tokensOf(plain, options as GenerateOptions),
      );
    }
    const recycling = { draft: "recycling", speculation: { gamma: 3, adaptive: false } } as const;
    expect(await tokensOf(model, recycling)).toEqual(await tokensOf(plain, recycling));
    expect(device.tasks).toEqual([]);
  });

  it("of several texts at once, and of sessions in a batch", async () => {
    const textsOf = async (one: Model) => {
      const texts: number[][] = [[], [], []];
      const many = one.generateMany(PROMPT, { n: 3, seed: 8, temperature: 1, maxTokens: 8 });
      for await (const { index, token } of many) texts[index].push(token);
      return texts;
    };
    device.rowsRead = 0;
    expect(await textsOf(model)).toEqual(await textsOf(plain));
    expect(device.rowsRead).toBe(0);
    const batcher = new Batcher(model);
    const tasks = [{ temperature: 0, seed: 0, position: 3 }];
    const [first, second] = [batcher.open({ capacity: 16 }), batcher.open({ capacity: 16 })];
    const answers = await Promise.all([
      first.draw!([5, 6], tasks),
      second.draw!([7], tasks),
      first.forward([9]),
    ]);
    const alone = plain.open({ capacity: 16 });
    const rows = await alone.forward([5, 6]);
    expect(answers[0].drawn).toEqual([{ token: rows.argmax(0), logProbability: 0 }]);
    expect(answers[1].drawn.length).toBe(1);
    expect(answers[2].row(0)).toEqual((await alone.forward([9])).row(0));
  });
});

describe("a session that draws", () => {
  const greedy = { temperature: 0, seed: 0, position: 3 };

  it("keeps its rows for whoever loads them, until it is called again", async () => {
    const session = model.open({ capacity: 16 });
    const answer = await session.draw!([5, 6, 7], [greedy, greedy]);
    expect(() => answer.row(0)).toThrow(/must be loaded first/);
    const rows = await answer.load();
    const expected = await plain.open({ capacity: 16 }).forward([5, 6, 7], 2);
    expect([rows.row(0), rows.row(1)]).toEqual([expected.row(0), expected.row(1)]);
    await session.forward([8]);
    await expect(answer.load()).rejects.toThrow(/called again/);
    expect(() => rows.row(0)).toThrow(/called again/);
  });

  it.each<[RegExp, object]>([
    [/"tasks\[0\]\.temperature" must be/, { temperature: Number.NaN }],
    [/"tasks\[0\]\.seed" must be/, { seed: -1 }],
    [/"tasks\[0\]\.position" must be/, { position: 2 ** 32 }],
    [/"tasks\[0\]\.list" must be/, { list: 321 }],
    [/"tasks\[0\]\.cuts\[0\]\.cut" must be one of top-k/, { cuts: [{ cut: "top-q", p: 1, temperature: 1 }] }],
    [/"tasks\[0\]\.cuts\[0\]\.k" must be/, { cuts: [{ cut: "top-k", k: 0, ties: "all" }] }],
    [/"tasks\[0\]\.cuts\[0\]\.p" must be/, { cuts: [{ cut: "top-p", p: 1.1, temperature: 1 }] }],
    [/"tasks\[0\]\.cuts\[0\]\.temperature" must be/, { cuts: [{ cut: "min-p", p: 0.1, temperature: 0 }] }],
    [
      /"tasks\[0\]\.cuts\.length" must be/,
      { cuts: new Array(17).fill({ cut: "top-p", p: 0.5, temperature: 1 }) },
    ],
    [/"tasks\[0\]\.mask\.length" must be/, { mask: new Uint32Array(9) }],
    [
      /"tasks\[0\]\.changes\.tokens\[1\]" must be/,
      { changes: { tokens: [1, 320], changes: [0, 1, 0, 0, 1, 0] } },
    ],
    [/"tasks\[0\]\.changes\.changes\.length" must be/, { changes: { tokens: [1], changes: [0, 1] } }],
  ])("refuses what would reach beyond the row: %s", async (message, wrong) => {
    const session = model.open({ capacity: 16 });
    await expect(session.draw!([5], [{ ...greedy, ...wrong }])).rejects.toThrow(message);
    expect(session.length).toBe(0);
  });

  it.each<[RegExp, object]>([
    [/"scan\.tokens\.length" must be/, { tokens: [] }],
    [/"scan\.tokens\[0\]" must be/, { tokens: [320] }],
    [/"scan\.start" must be/, { start: -1 }],
    [/"scan\.rows\[0\]\.length" must be/, { rows: [new Float32Array(319)] }],
  ])("refuses a draft that is none of it: %s", async (message, wrong) => {
    const session = model.open({ capacity: 16 });
    const scan = { verifier: "token", tokens: [6], start: 2, seed: 1, ...wrong } as const;
    await expect(session.draw!([5, 6], [greedy, greedy], undefined, scan)).rejects.toThrow(message);
    expect(session.length).toBe(0);
  });

  it("is not there where rows are at hand", () => {
    expect(plain.open({ capacity: 16 }).draw).toBeUndefined();
  });

  it("goes on elsewhere when the device is lost, also between a draw and its row", async () => {
    const { model, device } = await open();
    const session = model.open({ capacity: 16 });
    device.isSilent = true;
    const answer = await session.draw!([5, 6], [greedy]);
    device.failure = "device lost";
    const wasm = await loadModel(BYTES, { contextLength: 128 });
    const other = wasm.open({ capacity: 16 });
    expect((await answer.load()).row(0)).toEqual((await other.forward([5, 6])).row(0));
    expect([session.length, session.draw]).toEqual([2, undefined]);
    expect((await session.forward([9])).row(0)).toEqual((await other.forward([9])).row(0));
    for (const each of [model, wasm]) each.close();
  });
});
