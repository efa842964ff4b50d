/** Pipelines over rows that a device draws from: the token of the row, or nothing. */
import { describe, expect, it } from "vitest";
import type { Drawn, DrawTask } from "../../../src/backend/draw-kernels.ts";
import { referenceDrawKernels } from "../../../src/backend/reference/draw.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createPipeline, type Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";
import { context } from "./support.ts";

const VOCAB = 600;
const random = createRandom(21);

async function drawn(row: Float32Array, task: DrawTask): Promise<Drawn | null> {
  const backend = createReferenceBackend();
  const x = backend.floats(row.length);
  backend.write(x, row);
  return (await referenceDrawKernels.draw(x, row.length, [task]))[0];
}

const EDITS: readonly Step[] = [
  { step: "logit-bias", bias: { 3: 4, 17: -100, 99: 0.5, 5000: 9 } },
  { step: "repetition-penalty", penalty: 1.3 },
  { step: "presence-penalty", penalty: 0.5 },
  { step: "frequency-penalty", penalty: 0.25, scope: "output" },
  { step: "bad-words", words: [[40], [7, 8]] },
];
const temperature: Step = { step: "temperature", temperature: 0.7 };

const PIPELINES: Record<string, readonly Step[]> = {
  "as it is": [],
  temperature: [temperature],
  greedy: [{ step: "temperature", temperature: 0 }],
  "greedy behind cut-offs": [
    { step: "top-k", k: 40 },
    { step: "top-p", p: 0.9 },
    { step: "temperature", temperature: 0 },
  ],
  "top-k": [{ step: "top-k", k: 20 }, temperature],
  "llama.cpp": [
    { step: "top-k", k: 40 },
    { step: "top-p", p: 0.95 },
    { step: "min-p", p: 0.05 },
    temperature,
  ],
  "ties share a place": [{ step: "top-k", k: 5, ties: "all" }],
  "top-p": [{ step: "top-p", p: 0.8 }],
  "top-p of what is cooled, and more": [temperature, { step: "top-p", p: 0.9 }, { step: "min-p", p: 0.02 }],
  "min-p": [temperature, { step: "min-p", p: 0.1 }],
  "both orders of temperature": [
    temperature,
    { step: "top-k", k: 30 },
    { step: "top-p", p: 0.7 },
    temperature,
  ],
  "top-k behind top-p": [{ step: "top-p", p: 0.9 }, { step: "top-k", k: 4, ties: "all" }, temperature],
  "cuts of their own": [
    { step: "min-p", p: 0.03 },
    temperature,
    { step: "min-p", p: 0.1 },
    { step: "top-p", p: 0.95 },
    temperature,
    { step: "top-p", p: 0.9 },
  ],
  "greedy behind a temperature": [
    temperature,
    { step: "top-p", p: 0.5 },
    { step: "temperature", temperature: 0 },
  ],
  "top-k and typical": [
    { step: "top-k", k: 20 },
    { step: "typical", p: 0.9 },
  ],
  "top-p and typical": [temperature, { step: "top-p", p: 0.8 }, { step: "typical", p: 0.9 }],
  "min-p and xtc": [
    { step: "min-p", p: 0.1 },
    { step: "xtc", threshold: 0.1, probability: 0.5 },
  ],
};

const ROWS: Record<string, () => number> = {
  normal: () => 2 * random.normal(),
  peaked: () => (random.below(60) === 0 ? 9 + random.normal() : random.normal()),
  coarse: () => Math.round(3 * random.normal()) / 2,
  flat: () => -1,
  sparse: () => (random.below(20) === 0 ? random.normal() : [-Infinity, NaN][random.below(2)]),
};

describe("a row that is drawn from where it is", () => {
  for (const [name, steps] of Object.entries(PIPELINES)) {
    it(`gives the token of ${name}`, async () => {
      let told = 0;
      for (const [kind, value] of Object.entries(ROWS)) {
        for (const lead of [[], EDITS.slice(0, 2), EDITS]) {
          const pipeline = createPipeline([...lead, ...steps]);
          for (let position = 30; position < 38; position++) {
            const row = Float32Array.from({ length: VOCAB }, value);
            const history = Array.from({ length: position }, () => random.below(VOCAB));
            const where = context({ history, promptLength: 12, seed: 7 });
            const expected = pipeline.sample(row, where);
            const task = pipeline.drawTask(VOCAB, where);
            if (task === null) throw new Error(`no task for ${name}`);
            const found = await drawn(row, task);
            const choice = found && pipeline.sampleDrawn(found, VOCAB, where);
            if (choice === null) continue;
            told++;
            expect(choice.token, kind).toBe(expected.token);
            expect(choice.logProbability).toBeCloseTo(expected.logProbability, 9);
            expect(choice.state).toEqual(expected.state);
          }
        }
      }
      // Flat rows are left to who sees them, where a boundary lies among equal ones.
      expect(told).toBeGreaterThan(name.includes("top-p") || name.includes("min-p") ? 40 : 90);
    });
  }

  it("gives the same of the list that the first cut is made in, where cuts are in doubt", async () => {
    let told = 0;
    for (const steps of Object.values(PIPELINES)) {
      const pipeline = createPipeline([...EDITS.slice(0, 3), ...steps]);
      for (let position = 30; position < 36; position++) {
        const row = Float32Array.from({ length: VOCAB }, ROWS.normal);
        const history = Array.from({ length: position }, () => random.below(VOCAB));
        const where = context({ history, promptLength: 12, seed: 9 });
        const { cuts, ...task } = pipeline.drawTask(VOCAB, where)!;
        if (cuts === undefined) continue;
        const [first] = cuts;
        const at = first.cut === "top-k" ? 1 : first.temperature;
        const found = await drawn(row, { ...task, temperature: at, list: 150 });
        const choice = pipeline.sampleDrawn(found!, VOCAB, where);
        if (choice === null) continue;
        expect(choice.token).toBe(pipeline.sample(row, where).token);
        told++;
      }
    }
    expect(told).toBeGreaterThan(50);
  });

  it("obeys a mask", async () => {
    const pipeline = createPipeline([{ step: "bitmask" }, ...EDITS, { step: "top-k", k: 8 }]);
    for (let position = 0; position < 20; position++) {
      const row = Float32Array.from({ length: VOCAB }, ROWS.normal);
      const bitmask = Uint32Array.from({ length: 19 }, () => random.below(2 ** 32));
      const where = context({ history: [5, 40, 3], promptLength: 1, seed: position, bitmask });
      const found = await drawn(row, pipeline.drawTask(VOCAB, where)!);
      expect(pipeline.sampleDrawn(found!, VOCAB, where)?.token).toBe(pipeline.sample(row, where).token);
    }
  });

  it("allows no other ids than the pipeline does", async () => {
    const ids = [3, 17, 40, 64, 90, 599, 700];
    const pipeline = createPipeline([{ step: "allowed-ids", ids }, { step: "bitmask" }, EDITS[0]]);
    const row = Float32Array.from({ length: VOCAB }, ROWS.normal);
    for (let seed = 0; seed < 40; seed++) {
      const bitmask = new Uint32Array(19).fill(seed < 20 ? 0xffff_ffff : 0x0001_0001);
      const where = context({ seed, bitmask });
      const found = await drawn(row, pipeline.drawTask(VOCAB, where)!);
      expect(pipeline.sampleDrawn(found!, VOCAB, where)?.token).toBe(pipeline.sample(row, where).token);
    }
  });

  it("asks for longer lists where rows are flat, and for short ones again", async () => {
    const vocab = 4000;
    const pipeline = createPipeline([
      { step: "top-p", p: 0.5 },
      { step: "typical", p: 0.95 },
    ]);
    const lengths = new Set<number>();
    const step = async (row: Float32Array, seed: number) => {
      const where = context({ seed });
      const task = pipeline.drawTask(vocab, where)!;
      lengths.add(task.list!);
      const choice = pipeline.sampleDrawn((await drawn(row, task))!, vocab, where);
      if (choice !== null) expect(choice.token).toBe(pipeline.sample(row, where).token);
      return { list: task.list, isTold: choice !== null };
    };
    const flat = Float32Array.from({ length: vocab }, () => 1.5 * random.normal());
    for (let seed = 0; seed < 3; seed++) await step(flat, seed);
    expect(await step(flat, 3)).toEqual({ list: 992, isTold: true });
    const peaked = flat.map((x, id) => (id === 7 ? 20 : x));
    for (let seed = 4; seed < 134; seed++) expect((await step(peaked, seed)).isTold).toBe(true);
    expect([...lengths]).toEqual([62, 248, 992]);
    expect(await step(peaked, 200)).toEqual({ list: 62, isTold: true });
  });

  it.each<[string, readonly Step[]]>([
    ["a memory", [{ step: "mirostat-2", tau: 5, eta: 0.1 }]],
    ["a law of all tokens", [{ step: "typical", p: 0.9 }]],
    ["edits behind a temperature", [temperature, { step: "presence-penalty", penalty: 1 }]],
    [
      "more tokens than are told",
      [
        { step: "top-k", k: 500 },
        { step: "typical", p: 0.9 },
      ],
    ],
    ["more cuts than are made", Array.from({ length: 17 }, () => ({ step: "top-p", p: 0.9 }) as const)],
  ])("is not for pipelines with %s", (_, steps) => {
    const where = context({ history: [1, 2], promptLength: 1, seed: 1 });
    const task = createPipeline(steps).drawTask(VOCAB, where);
    expect(task?.cuts).toBeUndefined();
    expect(task?.list ?? null).toBe(steps.length > 16 ? 62 : null);
  });

  it("cuts by top-k where that is not too long, and not at all where nothing is cut", () => {
    const where = context({ history: [1, 2], promptLength: 1, seed: 1 });
    const cutsOf = (k: number, vocab: number) =>
      createPipeline([{ step: "top-k", k }]).drawTask(vocab, where);
    expect(cutsOf(1014, 5000)?.cuts).toEqual([{ cut: "top-k", k: 1014, ties: "lowest" }]);
    expect(cutsOf(1015, 5000)).toBeNull();
    expect(cutsOf(5000, 5000)).toEqual({ temperature: 1, seed: 1, position: 2 });
  });

  it("needs the row where temperatures multiply to what no task has", () => {
    const where = context({ history: [1, 2], promptLength: 1, seed: 1 });
    for (const each of [60, 1e-20]) {
      const step: Step = { step: "temperature", temperature: each };
      expect(createPipeline([step]).drawTask(VOCAB, where)).toMatchObject({ temperature: each });
      expect(createPipeline([step, step]).drawTask(VOCAB, where)).toBeNull();
    }
  });

  it("tells each cut the temperature that it is made at", () => {
    const where = context({ history: [1, 2], promptLength: 1, seed: 1 });
    const half: Step = { step: "temperature", temperature: 0.5 };
    const steps: Step[] = [half, { step: "top-p", p: 0.9 }, half, { step: "min-p", p: 0.1 }, half];
    expect(createPipeline(steps).drawTask(VOCAB, where)).toMatchObject({
      temperature: 0.125,
      cuts: [
        { cut: "top-p", p: 0.9, temperature: 0.5 },
        { cut: "min-p", p: 0.1, temperature: 0.25 },
      ],
    });
  });

  it("penalties that do not join need the row", () => {
    const pipeline = createPipeline([EDITS[1], EDITS[2], { step: "repetition-penalty", penalty: 2 }]);
    const where = context({ history: [1, 2], promptLength: 1, seed: 1 });
    expect(pipeline.drawTask(VOCAB, where)).toBeNull();
    expect(pipeline.drawTask(VOCAB, context({ history: [], promptLength: 0, seed: 1 }))).not.toBeNull();
  });

  it("asks for no more than it needs", () => {
    const where = context({ history: [4, 4, 6], promptLength: 1, seed: 2 ** 50, position: 9 });
    const { changes, ...task } = createPipeline([...EDITS.slice(1, 4), { step: "top-k", k: 3 }]).drawTask(
      VOCAB,
      where,
    )!;
    const cuts = [{ cut: "top-k", k: 3, ties: "lowest" }];
    expect(task).toEqual({ seed: 2 ** 50, position: 9, temperature: 1, cuts });
    expect(changes).toEqual({ tokens: Uint32Array.of(4, 6), changes: [0, 1.3, -0.75, 0, 1.3, -0.75] });
    expect(createPipeline([temperature]).drawTask(VOCAB, where)).toEqual({
      seed: 2 ** 50,
      position: 9,
      temperature: 0.7,
    });
  });
});
