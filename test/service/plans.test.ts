/** Plans that are served as models. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fusePreset, type Plan } from "../../src/decoding/fuse.ts";
import { conceptRow, transitionGraph } from "../../src/engine/fuse/concept.ts";
import { fuseModels } from "../../src/engine/fuse/model.ts";
import { type GenerateOptions, type GenerateResult, loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels, type NamedPlan } from "../../src/service/app.ts";

const file = (name: string) => fileURLToPath(new URL(`../../models/${name}.gguf`, import.meta.url));
const PROMPT = "Once upon a time there was a dog";

const halves: Plan = {
  sources: ["base", "expert"],
  lin: [
    { source: "base", weight: 0.5 },
    { source: "expert", weight: 0.5 },
  ],
};

const PLANS: Record<string, NamedPlan> = {
  mixed: { plan: halves, sources: { base: "large", expert: "small" } },
  // A plan over a plan, and one model twice.
  guided: {
    plan: { preset: "cfg", options: { gamma: 4 } },
    sources: { prompted: "large", plain: "mixed" },
    prefixes: { prompted: "The robot flew to Mars and the robot ate the moon." },
  },
};

let large: Model;
let small: Model;
let app: ReturnType<typeof createApp>;
const loads: string[] = [];
beforeAll(async () => {
  [large, small] = [
    await loadModel(file("edgewise-stories-q8_0")),
    await loadModel(file("edgewise-stories-q4_0")),
  ];
  const load = (name: string, model: Model) => async () => {
    loads.push(name);
    return model;
  };
  app = createApp({
    models: lazyModels({ large: load("large", large), small: load("small", small) }, { plans: PLANS }),
  });
});
afterAll(() => {
  large?.close();
  small?.close();
});

async function complete(body: object) {
  const request = { prompt: PROMPT, max_tokens: 16, seed: 3, ...body };
  const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(request) });
  expect(response.status).toBe(200);
  return (await response.json()) as {
    model: string;
    system_fingerprint: string;
    choices: { text: string }[];
    speculation?: object;
  };
}

async function textOf(model: Model, options: GenerateOptions = {}): Promise<GenerateResult> {
  const pieces = model.generate(PROMPT, { maxTokens: 16, seed: 3, ...options });
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
  }
}

describe("a plan as a model", () => {
  it("is listed, and loads nothing until it is asked", async () => {
    const { data } = (await (await app.request("/v1/models")).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(["large", "small", "mixed", "guided"]);
    expect((await app.request("/v1/models/mixed")).status).toBe(200);
    expect(loads).toEqual([]);
  });

  it("decodes the fusion, and loads each model once", async () => {
    const mixed = fuseModels(halves, { base: large, expert: small });
    const { model, choices, system_fingerprint } = await complete({ model: "mixed" });
    const expected = await textOf(mixed);
    expect([model, choices[0].text, system_fingerprint]).toEqual([
      "mixed",
      expected.text,
      expected.fingerprint,
    ]);
    expect(loads).toEqual(["large", "small"]);
    const [again, plain] = await Promise.all([complete({ model: "mixed" }), complete({ model: "large" })]);
    expect(again.choices[0].text).toBe(expected.text);
    expect(plain.choices[0].text).toBe((await textOf(large)).text);
    expect(plain.system_fingerprint).not.toBe(expected.fingerprint);
    expect(loads).toEqual(["large", "small"]);
  });

  it("may be made of plans, with prefixes", async () => {
    const guided = fuseModels(fusePreset("cfg", { gamma: 4 }), {
      prompted: { source: large, prefix: "The robot flew to Mars and the robot ate the moon." },
      plain: fuseModels(halves, { base: large, expert: small }),
    });
    const { text } = await textOf(guided);
    expect((await complete({ model: "guided" })).choices[0].text).toBe(text);
    expect(text).not.toBe((await textOf(large)).text);
  });

  it("has the same text with drafts, and several texts", async () => {
    const plain = await complete({ model: "mixed", n: 2 });
    const drafted = await complete({ model: "mixed", draft: "suffix", n: 2 });
    expect(drafted.choices.map(({ text }) => text)).toEqual(plain.choices.map(({ text }) => text));
    expect(drafted.speculation).toBeDefined();
  });
});

describe("plans with inputs", () => {
  const concept = { positive: ["The dragon was scary"], negative: ["The sun was bright"] };
  const steer: NamedPlan = {
    plan: { preset: "steer", options: { strength: 0.7 } },
    sources: { base: "large" },
    inputs: { concept },
  };
  const graph = { texts: ["Once upon a time there was a dog who liked the king."] };
  const grad: NamedPlan = {
    plan: { preset: "grad", options: { alpha: 4 } },
    sources: { base: "large" },
    inputs: { graph: "graph.json" },
  };
  const route: NamedPlan = {
    plan: { preset: "fusion-route" },
    sources: { expert1: "large", expert2: "small", router: "small" },
    inputs: {
      routing: {
        byStep: [
          [0, 1],
          [1, 0],
        ],
      },
    },
  };
  const appOf = (plans: Record<string, NamedPlan>, files: Record<string, unknown> = {}) => {
    const read: string[] = [];
    const models = lazyModels(
      { large: async () => large, small: async () => small },
      {
        plans,
        readInput: async (file) => {
          read.push(file);
          if (!Object.hasOwn(files, file)) throw new RangeError(`Cannot read "${file}": there is none`);
          return files[file];
        },
      },
    );
    const app = createApp({ models, onError: () => {} });
    const ask = async (model: string) => {
      const body = JSON.stringify({ model, prompt: PROMPT, max_tokens: 16, seed: 3 });
      const response = await app.request("/v1/completions", { method: "POST", body });
      return (await response.json()) as {
        choices: { text: string }[];
        error?: { message: string; code: string };
      };
    };
    return { ask, read };
  };

  it("decode what the library does with them", async () => {
    const { ask, read } = appOf({ steer, grad, route }, { "graph.json": graph });
    const row = await conceptRow(large, concept);
    const steered = fuseModels(fusePreset("steer", { strength: 0.7 }), { base: large, concept: row });
    expect((await ask("steer")).choices[0].text).toBe((await textOf(steered)).text);
    const tables = { graph: await transitionGraph(large, graph.texts) };
    const graphed = fuseModels(fusePreset("grad", { alpha: 4 }), { base: large }, { tables });
    expect((await ask("grad")).choices[0].text).toBe((await textOf(graphed)).text);
    const inputs = (_: readonly number[], step: number) => ({ routing: step === 0 ? [0, 1] : [1, 0] });
    const routed = fuseModels(
      fusePreset("fusion-route"),
      { expert1: large, expert2: small, router: small },
      { inputs },
    );
    expect((await ask("route")).choices[0].text).toBe((await textOf(routed)).text);
    expect(read).toEqual(["graph.json"]);
  });

  it("say what is wrong with a file when it is read", async () => {
    const { ask } = appOf({ grad, missing: { ...grad, inputs: { graph: "none" } } }, { "graph.json": [1] });
    expect((await ask("grad")).error).toMatchObject({
      code: "model_load_failed",
      message: '"inputs.graph" must be an object, got array',
    });
    expect((await ask("missing")).error!.message).toBe('Cannot read "none": there is none');
  });

  it.each<[NamedPlan["inputs"], string]>([
    [undefined, '"plans.x.inputs.routing" must be given: 2 numbers'],
    [{ routing: [1] }, '"plans.x.inputs.routing" must have 2 numbers, got 1'],
    [
      { routing: [1, 0], graph: [] },
      '"plans.x.inputs" may have expert1, expert2, router, routing, got "graph"',
    ],
    [3 as never, '"plans.x.inputs" must be an object, got number'],
  ])("are refused before anything is loaded, case %#", (inputs, message) => {
    const never = () => Promise.reject(new Error("loaded"));
    const plans = { x: { ...route, inputs } };
    expect(() => lazyModels({ large: never, small: never }, { plans })).toThrow(message);
  });
});

describe("plans that are wrong", () => {
  const never = () => Promise.reject(new Error("loaded"));
  const models = (plans: unknown) =>
    lazyModels({ a: never, b: never }, { plans: plans as Record<string, NamedPlan> });
  const sources = { base: "a", expert: "b" };
  it.each<[unknown, string]>([
    [[], '"plans" must be an object, got array'],
    [{ x: 1 }, '"plans.x" must be an object, got number'],
    [{ x: { sources } }, '"plans.x.plan" must be an object, got undefined'],
    [
      { x: { plan: halves, sources: { base: "a", expert: "c" } } },
      '"plans.x.sources.expert" must be one of a, b, x, got "c"',
    ],
    [{ x: { plan: halves } }, '"plans.x.sources.base" must be one of a, b, x, got "base"'],
    [
      { x: { plan: halves, sources: { ...sources, anti: "a" } } },
      '"plans.x.sources" may have base, expert, got "anti"',
    ],
    [
      { x: { plan: halves, sources: { base: 1, expert: "b" } } },
      '"plans.x.sources.base" must be a text, got number',
    ],
    [{ x: { plan: halves, sources, base: "c" } }, '"plans.x.base" must be one of base, expert, got "c"'],
    [
      { x: { plan: halves, sources, prefixes: { c: "" } } },
      '"plans.x.prefixes" may have base, expert, got "c"',
    ],
    [
      { x: { plan: halves, sources, more: 1 } },
      '"plans.x" may have "plan", "inputs", "sources", "prefixes", "base", got "more"',
    ],
    [
      { x: { plan: { ...halves, lin: [{ source: "c" }] }, sources } },
      '"plans.x.plan.lin[0].source" must be one of',
    ],
    [
      { x: { plan: { preset: "dlf", options: { alpha: 1 } } } },
      '"plans.x.plan.options" must be of base, expert',
    ],
    [{ a: { plan: halves, sources } }, '"plans.a" must have a name of its own'],
    [
      { x: { plan: halves, sources: { base: "a", expert: "x" } } },
      '"plans.x" must not need itself, got x → x',
    ],
    [
      {
        x: { plan: halves, sources: { base: "y", expert: "a" } },
        y: { plan: halves, sources: { base: "z", expert: "z" } },
        z: { plan: halves, sources: { base: "a", expert: "x" } },
      },
      '"plans.x" must not need itself, got x → y → z → x',
    ],
  ])("are refused before anything is loaded, case %#", (plans, message) => {
    expect(() => models(plans)).toThrow(message);
  });

  it("take no time where many lead to the same", () => {
    const ladder = Array.from({ length: 200 }, (_, i) => {
      const next = i === 0 ? "a" : `p${i - 1}`;
      return [`p${i}`, { plan: halves, sources: { base: next, expert: next } }];
    });
    expect(models(Object.fromEntries(ladder)).names.length).toBe(202);
  });

  it("answer an error where models do not fit, and are tried again", async () => {
    let loads = 0;
    const load = async () => {
      loads++;
      if (loads === 1) throw new RangeError("Cannot load model: no such file");
      return large;
    };
    const errors: unknown[] = [];
    const app = createApp({
      models: lazyModels(
        { a: load },
        { plans: { x: { plan: halves, sources: { base: "a", expert: "a" } } } },
      ),
      onError: (error) => errors.push(error),
    });
    const ask = () =>
      app.request("/v1/completions", { method: "POST", body: JSON.stringify({ model: "x", max_tokens: 1 }) });
    const failed = await ask();
    expect([failed.status, ((await failed.json()) as { error: object }).error]).toMatchObject([
      500,
      { code: "model_load_failed", message: "Cannot load model: no such file" },
    ]);
    expect([(await ask()).status, loads, errors.length]).toEqual([200, 2, 1]);
  });
});
