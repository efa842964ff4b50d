/** A server that has a model to draft for another one. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kernelModules, loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import type { SpeculationReport, Usage } from "../../src/service/usage.ts";
import { openApp } from "../../src/service/worker-app.ts";
import { fakeModel, fakeService, framesOf } from "./fake-model.ts";

const FILE = (type: string) =>
  fileURLToPath(new URL(`../../models/edgewise-stories-${type}.gguf`, import.meta.url));

interface Answer {
  choices: { text: string }[];
  usage: Usage;
  speculation?: SpeculationReport;
  error?: { message: string; param: string; code: string };
}

let target: Model;
let draft: Model;
let app: ReturnType<typeof createApp>;

beforeAll(async () => {
  target = await loadModel(FILE("q8_0"));
  draft = await loadModel(FILE("q4_0"), { name: "little" });
  const models = lazyModels({ large: async () => target, small: async () => draft });
  app = createApp({ models, draftModel: "small", log: () => {} });
});
afterAll(() => {
  target?.close();
  draft?.close();
});

async function ask(body: object): Promise<Answer & { status: number }> {
  const given = { prompt: "Once upon a time", max_tokens: 40, seed: 3, ignore_eos: true, ...body };
  const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(given) });
  return { status: response.status, ...((await response.json()) as Answer) };
}

describe('draft: "model"', () => {
  it.each([{ temperature: 0 }, { temperature: 0.8 }, { temperature: 1, n: 3 }])(
    "gives the text of plain decoding: %j",
    async (sampling) => {
      const plain = await ask(sampling);
      const drafted = await ask({ ...sampling, draft: "model", speculation: { gamma: 4, adaptive: false } });
      expect(drafted.choices).toEqual(plain.choices);
      const { speculation, usage } = drafted;
      expect(speculation).toMatchObject({ drafter: "model:little", reproducible: true, lossless: true });
      expect(speculation!.accepted).toBeGreaterThan(10);
      expect(usage.completion_tokens_details).toMatchObject({
        accepted_prediction_tokens: speculation!.accepted,
        rejected_prediction_tokens: speculation!.drafted - speculation!.accepted,
      });
    },
  );

  it("works in chats, and in streams", async () => {
    const body = {
      messages: [{ role: "user", content: "Tell me a story" }],
      max_tokens: 10,
      draft: "model",
      stream: true,
    };
    const response = await app.request("/v1/chat/completions", {
      method: "POST",
      body: JSON.stringify(body),
    });
    const frames = framesOf(await response.text()) as { speculation?: SpeculationReport }[];
    expect(frames.at(-1)!.speculation).toMatchObject({ drafter: "model:little", verifier: "gumbel" });
  });

  it.each([
    ["token", {}],
    ["sequoia", { tree: true }],
    ["typical", {}],
  ])("has laws and trees for verifiers that want them: %s", async (verifier, speculation) => {
    const { status, speculation: report } = await ask({ draft: "model", verifier, speculation });
    expect(status).toBe(200);
    expect(report).toMatchObject({ verifier, drafter: "model:little", reproducible: false });
  });

  it("is refused where nobody drafts for the model", async () => {
    const own = await ask({ draft: "model", model: "small" });
    expect([own.status, own.error]).toMatchObject([
      400,
      {
        message: '"draft" must not be "model": this server has no model that drafts for "small"',
        param: "draft",
      },
    ]);
    const { post } = fakeService();
    expect((await post("/v1/completions", { prompt: "a", draft: "model" })).status).toBe(400);
    const { status, error } = await ask({ draft: "suffix", verifier: "sequoia" });
    expect([status, error!.param]).toEqual([400, "verifier"]);
  });

  it("needs a model that is there", () => {
    const models = { names: ["fake"], get: async () => fakeModel() };
    expect(() => createApp({ models, draftModel: "other", log: () => {} })).toThrow(
      '"draftModel" must be one of fake, got "other"',
    );
  });
});

it("a worker finds its draft model by a key, and serves it too", async () => {
  const asked: string[] = [];
  const files = {
    fetch: async (url: string) => {
      asked.push(new URL(url).pathname);
      return new Response(await readFile(FILE("q4_0")));
    },
  };
  const worker = openApp(
    { DRAFT_MODEL: "small.gguf", MODEL_FILES: files, LOG: "none" },
    { modules: await kernelModules(), stories: () => readFile(FILE("q8_0")) },
  );
  const { data } = (await (await worker.request("/v1/models")).json()) as { data: { id: string }[] };
  expect(data.map(({ id }) => id)).toEqual(["edgewise-stories-q8_0", "small.gguf"]);
  const body = JSON.stringify({ prompt: "Once", max_tokens: 8, temperature: 0, draft: "model" });
  const answer = await worker.request("/v1/completions", { method: "POST", body });
  expect((await answer.json()) as Answer).toMatchObject({
    model: "edgewise-stories-q8_0",
    speculation: { lossless: true, drafter: expect.stringMatching(/^model:/) },
  });
  expect(asked).toEqual(["/small.gguf"]);
});
