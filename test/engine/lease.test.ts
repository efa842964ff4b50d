/** Who holds memory and never comes back: it is taken when others need it, and not before. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Lease } from "../../src/engine/lease.ts";
import { backendOf } from "../../src/engine/model-backend.ts";
import { prefixCacheStats } from "../../src/engine/model-prompts.ts";
import { MemoryError } from "../../src/errors.ts";
import { fuseModels, fusePreset, loadModel, type Model } from "../../src/node.ts";

/** While they are over, nobody who waits for one goes on: so ends a request that is cut off. */
const tasks = vi.hoisted(() => ({ areOver: false }));
vi.mock(import("../../src/decoding/next-task.ts"), async (original) => {
  const { nextTask } = await original();
  return { nextTask: () => (tasks.areOver ? new Promise<void>(() => {}) : nextTask()) };
});

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));

/** Positions that a session of the tests is for: its memory is some half of what there is beside the weights. */
const CAPACITY = 256;
const MINUTE = 60_000;

let bytes: Uint8Array;
/** Bytes that keys and values of `CAPACITY` positions take. */
let sessionBytes: number;
let maxMemoryBytes: number;
let model: Model;

beforeAll(async () => {
  bytes = await readFile(MODEL);
  const free = await loadModel(bytes);
  const before = backendOf(free)!.usedBytes;
  const session = free.open({ capacity: CAPACITY });
  sessionBytes = backendOf(free)!.usedBytes - before;
  session.close();
  maxMemoryBytes = before + Math.floor(2.5 * sessionBytes);
  free.close();
  model = await loadModel(bytes, { maxMemoryBytes, prefixCacheBytes: 1 << 20 });
});
afterAll(() => model?.close());

/** A clock that stands still, but for `pass`. */
function clock() {
  let now = 1000;
  return {
    now: () => now,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

const open = (of: Model = model, lease?: Lease) => of.open({ capacity: CAPACITY, lease });

describe("memory that is short", () => {
  it("is taken from leases that are over, and from no others", () => {
    const { now, pass } = clock();
    const gone = new Lease(MINUTE, undefined, now);
    const alive = new Lease(MINUTE, undefined, now);
    const [lost] = [open(model, gone), open(model, alive)];
    expect(() => open()).toThrow(MemoryError);
    pass(MINUTE / 2);
    alive.renew();
    pass(MINUTE / 2 + 1);
    expect([gone.isOver, alive.isOver]).toEqual([true, false]);
    const third = open();
    expect(() => open()).toThrow(MemoryError);
    // Whoever was not gone after all is told.
    expect(() => lost.truncate(0)).toThrow(MemoryError);
    expect(() => lost.truncate(0)).toThrow("Cannot go on after more than 60000 ms");
    alive.take();
    third.close();
    expect(backendOf(model)!.usedBytes).toBeLessThan(maxMemoryBytes - 2.4 * sessionBytes);
  });

  it("is not taken while there is enough, however old the lease", async () => {
    const { now, pass } = clock();
    const old = new Lease(MINUTE, undefined, now);
    const session = open(model, old);
    pass(10 * MINUTE);
    open().close();
    await session.forward([1]);
    expect(old.isOver).toBe(false);
    session.close();
  });

  it("is taken at last from what rests, the one first that has rested for longest", async () => {
    const { now, pass } = clock();
    const taken: string[] = [];
    const resting = ["first", "second"].map((name) => {
      const lease = new Lease(MINUTE, () => taken.push(name), now);
      const session = open(model, lease);
      pass(1);
      lease.rest();
      return { lease, session };
    });
    // In use again, so not the first to go.
    resting[0].lease.renew();
    resting[0].lease.rest();
    const one = open();
    expect(taken).toEqual(["second"]);
    await resting[0].session.forward([1]);
    expect(resting[0].lease.rests).toBe(false);
    expect(() => open()).toThrow(MemoryError);
    resting[0].session.close();
    one.close();
  });

  it("is taken from beginnings of texts before what rests", async () => {
    const prompt = Array.from({ length: 130 }, (_, i) => (i * 7) % 200);
    for await (const _ of model.generate(prompt, { maxTokens: 2, temperature: 0 }));
    expect(prefixCacheStats(model)).toMatchObject({ hitTokens: 0, evictions: 0 });
    expect(prefixCacheStats(model)!.bytes).toBeGreaterThan(0);
    const lease = new Lease(MINUTE);
    const resting = open(model, lease);
    lease.rest();
    const other = open();
    expect(prefixCacheStats(model)).toMatchObject({ bytes: 0, evictions: 1 });
    await resting.forward([1]);
    for (const session of [resting, other]) session.close();
  });
});

describe("a text whose request was cut off", () => {
  const PROMPT = "Once upon a time";
  const textOf = async (of: Model) => {
    let text = "";
    for await (const piece of of.generate(PROMPT, { maxTokens: 200, temperature: 0, ignoreEos: true }))
      text += piece.text;
    return text;
  };

  /** Begins texts that nobody goes on with, until there is no memory for another one. */
  async function fill(of: Model, options: object, now: () => number): Promise<number> {
    for (let count = 0; ; count++) {
      const lease = new Lease(MINUTE, undefined, now);
      const given = { maxTokens: 200, ignoreEos: true, seed: 1, lease, ...options };
      try {
        await of.generateMany(PROMPT, given).next();
      } catch (error) {
        if (error instanceof MemoryError) return count;
        throw error;
      }
    }
  }

  it.each([
    ["one text", {}],
    ["several", { n: 2 }],
    ["one that drafts with its own head", { draft: "self" }],
  ])("gives its memory back: %s", async (_, options) => {
    const { now, pass } = clock();
    expect(await fill(model, options, now)).toBeGreaterThan(0);
    await expect(textOf(model)).rejects.toBeInstanceOf(MemoryError);
    pass(MINUTE + 1);
    expect((await textOf(model)).length).toBeGreaterThan(100);
    expect((await textOf(model)).length).toBeGreaterThan(100);
  });

  it("gives back what a draft model holds, and the models of a plan", async () => {
    const { now, pass } = clock();
    const draft = await loadModel(bytes, { maxMemoryBytes });
    try {
      expect(await fill(model, { draft }, now)).toBeGreaterThan(0);
      pass(MINUTE + 1);
      await textOf(model);
      const fused = fuseModels(fusePreset("mixture"), { a: model, b: draft });
      expect(await fill(fused, {}, now)).toBeGreaterThan(0);
      await expect(textOf(fused)).rejects.toBeInstanceOf(MemoryError);
      pass(MINUTE + 1);
      await textOf(fused);
      await textOf(draft);
    } finally {
      draft.close();
    }
  });

  it.each([false, true])("in the middle of its prompt holds up nobody; taken: %s", async (isTaken) => {
    const { now, pass } = clock();
    const prompt = Array.from({ length: 200 }, (_, i) => (i * 11 + Number(isTaken)) % 200);
    const options = { maxTokens: 20, temperature: 0, ignoreEos: true };
    const tokensOf = async (text: ReturnType<Model["generate"]>) => {
      const tokens: number[] = [];
      for await (const { token } of text) tokens.push(token);
      return tokens;
    };
    const expected = await loadModel(bytes).then((other) => tokensOf(other.generate(prompt, options)));
    const lease = new Lease(MINUTE, undefined, now);
    tasks.areOver = true;
    void model.generate(prompt, { ...options, lease }).next();
    await new Promise((resolve) => setImmediate(resolve));
    tasks.areOver = false;
    pass(MINUTE + 1);
    if (isTaken) lease.take();
    expect(await tokensOf(model.generate(prompt, options))).toEqual(expected);
    lease.take();
  });
});
