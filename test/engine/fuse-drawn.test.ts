/** Tokens drawn from rows that were fused on a device: those of the rows, though hardly a byte of them is read. */
import { afterAll, describe, expect, it } from "vitest";
import { referenceKernels } from "../../src/decoding/fuse.ts";
import { generate } from "../../src/decoding/generate.ts";
import type { SamplingOptions } from "../../src/engine/model.ts";
import { openPipeline } from "../../src/engine/options.ts";
import {
  fuse,
  fuseModels,
  fusePreset,
  type GenerateOptions,
  type Model,
  readPlan,
  type Session,
} from "../../src/node.ts";
import {
  backends,
  bytesReadBy,
  compiledLate,
  devices,
  load,
  skip,
  TEXT,
  TIMEOUT_MS,
  VOCAB,
} from "./fuse-gpu.ts";
import { membersOf, planZoo } from "./fuse-plans.ts";
import { textOf } from "./on-off.ts";

if (skip !== undefined) console.info(`tokens of fused rows on WebGPU: skipped, ${skip}`);

const GREEDY = { temperature: 0, seed: 1, position: 9 };

const OPTIONS: Record<string, SamplingOptions> = {
  greedy: { temperature: 0 },
  temperature: { temperature: 0.9 },
  penalties: { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2, temperature: 0.8 },
  bias: { logitBias: { 9: 2, 11: -100 }, temperature: 0 },
  "top-k": { topK: 12, temperature: 0.9 },
  "top-p": { topP: 0.7, temperature: 0.8 },
  "min-p": { minP: 0.1 },
};

/** A text of a session as it is, or as one that gives rows alone. */
async function tokensOf(session: Session, options: SamplingOptions, hasDraw: boolean): Promise<number[]> {
  const settings = {
    pipeline: openPipeline(options),
    seed: 7,
    maxTokens: 5,
    endTokens: new Set<number>(),
    top: null,
  };
  const rowsOnly = {
    get length() {
      return session.length;
    },
    capacity: session.capacity,
    forward: session.forward.bind(session),
    truncate: session.truncate.bind(session),
  };
  const tokens: number[] = [];
  for await (const { token } of generate(hasDraw ? session : rowsOnly, TEXT, settings)) tokens.push(token);
  session.truncate(0);
  return tokens;
}

describe.skipIf(skip !== undefined)("tokens of fused rows", { timeout: TIMEOUT_MS }, async () => {
  if (skip !== undefined) return;
  const models = [await load(1), await load(2), await load(3)];
  const members = { base: models[0], expert: models[1], anti: models[2] };
  afterAll(() => {
    for (const model of models) model.close();
  });

  it.each(Object.entries(OPTIONS))("are those of rows that are read: %s", async (_, options) => {
    const session = fuse(fusePreset("dexperts"), members).open({ capacity: 40, promptLength: TEXT.length });
    const expected = await tokensOf(session, options, false);
    const read = await bytesReadBy(async () => {
      expect(await tokensOf(session, options, true)).toEqual(expected);
    });
    // A list of tokens takes 512 bytes; a row twice as many.
    expect(read / expected.length).toBeLessThan(512 + 100);
    session.close();
  });

  it.each([
    ["proxy tuning", 48],
    ["product", 48],
    ["token graph", 48],
    ["cfg on two prefixes", 48],
    ["dexperts", 48 + 56],
    ["mixture", 48 + 88],
    ["dlf, grid", 48 + 564],
  ])("of %s take %i bytes", async (what, bytes) => {
    const named = planZoo(VOCAB).find((plan) => plan.what === what)!;
    const session = fuse(named.plan, membersOf(named, models), named.options).open({ capacity: 40 });
    await session.forward(TEXT.slice(0, 3));
    const given = (length: number) => TEXT.slice(session.length, session.length + length);
    expect(await bytesReadBy(() => session.draw!(given(1), [GREEDY]))).toBe(bytes);
    expect(await bytesReadBy(() => session.draw!(given(2), [GREEDY, GREEDY]))).toBe(2 * bytes);
    session.close();
  });

  it.each(planZoo(VOCAB))("are the best ones of the rows: $what", async (named) => {
    const session = fuse(named.plan, membersOf(named, models), named.options).open({
      capacity: 40,
      promptLength: 3,
      audit: true,
    });
    const rows = await session.forward(TEXT, TEXT.length);
    const expected = TEXT.map((_, i) => rows.row(i).slice());
    const best = TEXT.map((_, i) => rows.argmax(i));
    const audits = session.audits();
    session.truncate(0);
    const answer = await session.draw!(
      TEXT,
      TEXT.map(() => GREEDY),
    );
    expect(answer.drawn).toEqual(best.map((token) => ({ token, logProbability: 0 })));
    expect(session.audits()).toEqual(audits);
    expect(() => answer.row(0)).toThrow(
      "Cannot read rows: they are on another device, and must be loaded first",
    );
    const loaded = await answer.load();
    expect(TEXT.map((_, i) => loaded.row(i))).toEqual(expected);
    expect(await answer.load()).toBe(loaded);
    // In a fork, and in a tree of which a path is kept.
    session.truncate(4);
    const fork = session.fork();
    const tree = await fork.draw!([7, ...TEXT.slice(4, 6)], [GREEDY, GREEDY], [-1, -1, 1]);
    expect(tree.drawn).toEqual(answer.drawn.slice(4, 6));
    fork.truncate(4, [1, 2]);
    const next = await fork.draw!(TEXT.slice(6), [GREEDY]);
    expect(next.drawn).toEqual(answer.drawn.slice(7));
    await expect(answer.load()).resolves.toBe(loaded);
    await session.forward([1]);
    await expect((await session.draw!([1], [GREEDY])).load().then(() => answer.load())).resolves.toBe(loaded);
    expect(() => loaded.row(0)).toThrow("Cannot read rows: their session was called again, or closed");
    for (const one of [session, fork]) one.close();
  });

  it("are decided on with a draft, by whoever verifies it", async () => {
    const fused = fuseModels(fusePreset("dlf"), members);
    const plain = fuseModels(fusePreset("dlf"), members, { kernels: referenceKernels });
    const speculation = { gamma: 3, adaptive: false };
    for (const options of [{ temperature: 0.9 }, { topK: 9 }]) {
      const settings: GenerateOptions = { maxTokens: 5, ignoreEos: true, seed: 3, ...options };
      const { tokens } = await textOf(plain, TEXT, settings);
      expect((await textOf(fused, TEXT, settings)).tokens).toEqual(tokens);
      const drafted = await textOf(fused, TEXT, { ...settings, draft: members.anti, speculation });
      expect(drafted.tokens).toEqual(tokens);
      const copied = await textOf(fused, TEXT, { ...settings, draft: "prompt-lookup", speculation });
      expect(copied.tokens).toEqual(tokens);
    }
    for (const verifier of ["token", "block"] as const) {
      const settings: GenerateOptions = {
        maxTokens: 8,
        ignoreEos: true,
        temperature: 1.2,
        seed: 4,
        verifier,
      };
      const options = { ...settings, draft: members.expert, speculation };
      const expected = await textOf(plain, TEXT, options);
      let found = expected;
      const read = await bytesReadBy(async () => {
        found = await textOf(fused, TEXT, options);
      });
      expect(found.tokens, verifier).toEqual(expected.tokens);
      expect(found.speculation?.accepted).toBe(expected.speculation?.accepted);
      // The drafter's rows are read, those of the target are not.
      expect(read).toBeLessThan((found.speculation!.drafted + 1) * 4 * VOCAB + 8 * 4 * 700);
    }
  });

  it("of several texts are drawn together", async () => {
    const fused = fuseModels(fusePreset("proxy-tuning"), members);
    const options: GenerateOptions = { maxTokens: 6, ignoreEos: true, seed: 2, temperature: 0.9 };
    const { tokens } = await textOf(fused, TEXT, options);
    const texts: number[][] = [[], []];
    for await (const { index, token } of fused.generateMany(TEXT, { ...options, n: 2 }))
      texts[index].push(token);
    expect(texts[0]).toEqual(tokens);
    const source = fuse(fusePreset("proxy-tuning"), members);
    const sessions = [source.open({ capacity: 20 }), source.open({ capacity: 20 })];
    await Promise.all(sessions.map((session) => session.forward(TEXT, 0)));
    const before = backends[0].traffic.submissions;
    const read = await bytesReadBy(() =>
      source.forwardAll(sessions.map((session) => ({ session, tokens: [5], tasks: [GREEDY] }))),
    );
    expect([read, backends[0].traffic.submissions - before]).toEqual([96, 1]);
  });

  it("are none where a row is none, which is told as of rows", async () => {
    const none = readPlan({
      sources: ["a", "b"],
      lin: [{ source: "a" }, { source: "b" }],
      support: [{ allow: [6] }],
    });
    const five = new Float32Array(VOCAB).fill(-Infinity).fill(1, 5, 6);
    const source = fuse(none, { a: models[0], b: five });
    const answer = await source.open({ capacity: 20 }).draw!(TEXT, [GREEDY, GREEDY]);
    expect(answer.drawn).toEqual([null, null]);
    const said = "Cannot fuse: the plan leaves no token above −∞";
    expect(() => answer.row(0)).toThrow("must be loaded first");
    const rows = await answer.load();
    expect(() => rows.row(1)).toThrow(said);
    const fused = fuseModels(none, { a: models[0], b: five });
    await expect(textOf(fused, TEXT, { temperature: 0 })).rejects.toThrow(said);

    // What is wrong at one step is wrong behind it, where plans remember.
    const huge = new Float32Array(VOCAB).fill(3e38);
    const plan = readPlan({
      sources: ["a", "b"],
      let: { slow: { smooth: { stat: "entropy", of: "a" }, rate: 0.5 } },
      lin: [
        { source: "a", weight: "slow" },
        {
          source: "b",
          weight: {
            schedule: [
              [0, 0],
              [2, 9],
              [3, 0],
            ],
          },
        },
      ],
    });
    const session = fuse(plan, { a: models[0], b: huge }).open({ capacity: 20, promptLength: 2 });
    const some = await session.draw!(
      TEXT,
      TEXT.map(() => GREEDY),
    );
    expect(some.drawn.map((drawn) => drawn !== null)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
    const loaded = await some.load();
    expect(loaded.row(2).length).toBe(VOCAB);
    for (const index of [3, 7]) {
      expect(() => loaded.row(index)).toThrow("Cannot fuse: logits that are added up pass the largest f32");
    }
    const next = await session.draw!([3], [GREEDY]);
    expect(next.drawn).toEqual([null]);
    session.close();
  });

  it("are asked for with tasks that are ones", async () => {
    const session = fuse(fusePreset("proxy-tuning"), members).open({ capacity: 20 });
    await expect(session.draw!([1, 2], [{ ...GREEDY, temperature: -1 }])).rejects.toThrow(
      '"tasks[0].temperature" must be a number from 0 to 100, got -1',
    );
    await expect(session.draw!([1], [GREEDY, GREEDY])).rejects.toThrow(
      '"rows" must be an integer from 0 to 1, got 2',
    );
    expect(session.length).toBe(0);
    session.close();
  });

  it("take no kernel that was compiled while they waited", () => {
    // Those of the models are left to be compiled late here.
    expect(compiledLate.length).toBeGreaterThan(10);
    expect(compiledLate.filter((name) => /^(fuse|match|tilt)/.test(name))).toEqual([]);
  });
});

describe.skipIf(skip !== undefined)("a device that goes away", { timeout: TIMEOUT_MS }, async () => {
  if (skip !== undefined) return;
  const expected = fuseOf([await load(4), await load(5)]);
  const rows = await expected.forward(TEXT, TEXT.length);
  const best = TEXT.map((_, i) => ({ token: rows.argmax(i), logProbability: 0 }));
  const TASKS = [GREEDY, GREEDY];

  function fuseOf([base, expert]: readonly Model[]): Session {
    return fuse(fusePreset("proxy-tuning"), { base, expert, anti: base }).open({ capacity: 20 });
  }

  async function open() {
    const models = [await load(4), await load(5)];
    const session = fuseOf(models);
    await session.draw!(TEXT.slice(0, 4), TASKS);
    const lose = () => devices.at(-1)!.destroy();
    return { models, session, lose };
  }

  /** Tokens that the session would choose go on as if nothing had happened. */
  async function expectOn(session: Session) {
    const after = TEXT.slice(session.length);
    const found = await session.forward(after, after.length);
    expect(after.map((_, i) => found.argmax(i))).toEqual(best.slice(-after.length).map(({ token }) => token));
    expect(session.draw).toBeUndefined();
    session.close();
  }

  it("before a call", async () => {
    const { session, lose } = await open();
    const { draw } = session;
    lose();
    await devices.at(-1)!.lost;
    const answer = await draw!(TEXT.slice(4, 6), TASKS);
    expect([answer.drawn, session.length]).toEqual([[null, null], 6]);
    expect((await answer.load()).argmax(1)).toBe(best[5].token);
    await expectOn(session);
  });

  it("in the middle of one", async () => {
    const { models, session, lose } = await open();
    const asked = session.draw!(TEXT.slice(4, 6), TASKS);
    await null;
    lose();
    const answer = await asked;
    expect([answer.drawn, session.length]).toEqual([[null, null], 6]);
    expect((await answer.load()).argmax(1)).toBe(best[5].token);
    expect(models.map(({ backend }) => backend)).toEqual(["wasm", "wasm"]);
    await expectOn(session);
  });

  it("before its rows are read", async () => {
    const { session, lose } = await open();
    const answer = await session.draw!([7, ...TEXT.slice(4, 6)], TASKS, [-1, -1, 1]);
    expect(answer.drawn).toEqual(best.slice(4, 6));
    lose();
    const loaded = await answer.load();
    expect(session.length).toBe(7);
    expect([loaded.argmax(0), loaded.argmax(1)]).toEqual(best.slice(4, 6).map(({ token }) => token));
    session.truncate(4, [1, 2]);
    await expectOn(session);
  });

  it("for one of the models: tokens are drawn on the device of the other", async () => {
    for (const which of [-1, -2]) {
      const { models, session } = await open();
      backends.at(which)!.abandon();
      const answer = await session.draw!(TEXT.slice(4, 6), TASKS);
      expect(answer.drawn).toEqual(best.slice(4, 6));
      expect(models.map(({ backend }) => backend).sort()).toEqual(["wasm", "webgpu"]);
      backends.at(-3 - which)!.abandon();
      expect((await answer.load()).argmax(1)).toBe(best[5].token);
      await expectOn(session);
    }
  });

  it("in the middle of a text with drafts", async () => {
    const [base, expert] = [await load(4), await load(5)];
    const fused = fuseModels(fusePreset("proxy-tuning"), { base, expert, anti: base });
    const options: GenerateOptions = {
      maxTokens: 6,
      temperature: 0.8,
      seed: 3,
      ignoreEos: true,
      draft: "prompt-lookup",
    };
    const { tokens } = await textOf(fused, TEXT, options);
    const found: number[] = [];
    for await (const { token } of fused.generate(TEXT, options)) {
      found.push(token);
      if (found.length === 3) devices.at(-1)!.destroy();
    }
    expect(found).toEqual(tokens);
    for (const model of [base, expert]) model.close();
  });

  it("while kernels are compiled", async () => {
    devices.at(-1)!.destroy();
    await devices.at(-1)!.lost;
    const session = fuseOf([await load(4), await load(5)]);
    devices.at(-1)!.destroy();
    const found = await session.forward(TEXT, TEXT.length);
    expect(TEXT.map((_, i) => found.argmax(i))).toEqual(best.map(({ token }) => token));
    session.close();
  });
});
