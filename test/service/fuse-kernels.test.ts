/** `POST /v1/fuse` with kernels: what the kernels make of the rows, to the last bit, and close to what is defined. */
import { beforeAll, describe, expect, it } from "vitest";
import { compilePlan } from "../../src/decoding/fuse/compile/compile.ts";
import { evaluatePlan, FUSE_PRESETS, type FusePresetName, fusePreset } from "../../src/decoding/fuse.ts";
import { createPipeline, presetSteps } from "../../src/decoding/pipeline.ts";
import { type Backend, createWasmBackend, kernelModules } from "../../src/node.ts";
import type { createApp } from "../../src/service/app.ts";
import { createRandom, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

type App = ReturnType<typeof createApp>;

interface Answer {
  readonly logits: (number | null)[];
  readonly probs?: number[];
  readonly token: number;
  readonly logprob: number;
  readonly audit?: object;
  readonly error?: { message: string; param: string; code: string };
}

let backend: Backend;
let withKernels: App;
const plain: App = fakeService(undefined, { maxBodyBytes: 64 << 20 }).app;
beforeAll(async () => {
  const modules = await kernelModules();
  backend = createWasmBackend(modules.simd);
  withKernels = fakeService(undefined, { modules, maxBodyBytes: 64 << 20 }).app;
});

async function ask(app: App, body: object): Promise<Answer> {
  const response = await app.request("/v1/fuse", { method: "POST", body: JSON.stringify(body) });
  return (await response.json()) as Answer;
}

/** What f32 and f64 may differ by: in units of the largest logit. */
const CLOSE = 2e-5;

/** Presets that need nothing but rows. */
const PRESETS = (Object.keys(FUSE_PRESETS) as FusePresetName[]).filter((name) => {
  try {
    const { inputs, tables, sources } = compilePlan(fusePreset(name));
    const isComplete = Object.values(tables).every(({ kind }) => kind !== "given");
    return Object.keys(inputs).length === 0 && isComplete && sources.every(({ extra }) => extra === 0);
  } catch {
    // It cannot be had without options.
    return false;
  }
});

describe("fusing with kernels", () => {
  it.each(PRESETS)("gives what the kernels give: %s", async (preset) => {
    const random = createRandom(preset.length);
    const plan = fusePreset(preset);
    for (const vocab of [3, 37, 1000]) {
      const rows = Object.fromEntries(
        compilePlan(plan).sources.map(({ name }) => [
          name,
          Array.from(Float32Array.from(randomRow(random, vocab))),
        ]),
      );
      const json = Object.fromEntries(
        Object.entries(rows).map(([name, row]) => [name, row.map((z) => (z === -Infinity ? null : z))]),
      );
      const body = {
        plan: { preset },
        rows: json,
        seed: 5,
        position: 3,
        return: ["logits", "probs", "audit"],
      };
      const [got, defined] = [await ask(withKernels, body), await ask(plain, body)];
      expect(got.error).toEqual(defined.error);
      if (got.error !== undefined) continue;
      const context = { seed: 5, position: 3 };
      const truth = evaluatePlan(plan, rows, context, backend.fuseKernels());
      expect(got.logits).toEqual(Array.from(truth.row, (z) => (z === -Infinity ? null : z)));
      const pipeline = createPipeline(presetSteps("edgewise", {}));
      const choice = pipeline.sample(truth.row, { history: [], promptLength: 0, seed: 5, position: 3 });
      expect([got.token, got.logprob]).toEqual([choice.token, choice.logProbability]);
      const largest = Math.max(...defined.logits.map((z) => Math.abs(z ?? 0)));
      for (const [id, z] of defined.logits.entries()) {
        if (z === null) expect(got.logits[id]).toBeNull();
        else expect(Math.abs(got.logits[id]! - z)).toBeLessThan(CLOSE * Math.max(1, largest));
      }
    }
  });

  it("samples as steps do without kernels", async () => {
    const random = createRandom(8);
    const base = Array.from({ length: 5000 }, () => Math.fround(4 * random.normal()));
    const plan = { sources: ["base"], source: "base" };
    for (const sampling of [{}, { temperature: 0.5 }, { top_p: 0.9 }, { min_p: 0.05 }, { top_k: 7 }]) {
      for (let seed = 0; seed < 8; seed++) {
        const body = { plan, rows: { base }, seed, sampling, return: ["logits"] };
        const [got, defined] = [await ask(withKernels, body), await ask(plain, body)];
        expect([got.token, got.logprob]).toEqual([defined.token, defined.logprob]);
      }
    }
  });

  it("takes rows as large as there may be, again and again", async () => {
    const vocab = 1 << 18;
    const data = Buffer.from(new Float32Array(vocab).fill(1).fill(2, 77, 78).buffer).toString("base64");
    const row = { encoding: "f32", data, shape: [vocab] };
    const plan = { preset: "proxy-tuning" };
    for (let time = 0; time < 3; time++) {
      const answer = await ask(withKernels, {
        plan,
        rows: { base: row, expert: row, anti: row },
        sampling: { top_k: 1 },
      });
      expect(answer.token).toBe(77);
    }
  });

  it("says the same of what is wrong", async () => {
    const plan = { preset: "proxy-tuning" };
    for (const rows of [
      { base: [1, 2], expert: [1, 2] },
      { base: [1, 2], expert: [1, 2], anti: [1, 2, 3] },
      { base: [null, null], expert: [1, 2], anti: [1, 2] },
      { base: [1, null], expert: [null, 2], anti: [1, 2] },
      { base: [1, "x"], expert: [1, 2], anti: [1, 2] },
    ]) {
      const body = { plan, rows };
      const [got, defined] = [await ask(withKernels, body), await ask(plain, body)];
      expect(got.error).toEqual(defined.error);
      expect(got.error!.code).toBeDefined();
    }
  });
});
