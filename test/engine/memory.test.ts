/** What loading and decoding hold: never more than announced, and given back when done. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { MemoryError } from "../../src/errors.ts";
import { type LoadOptions, loadModel, type Model, type Session } from "../../src/node.ts";
import { ggufStream } from "../support/gguf-writer.ts";
import { createRandom } from "../support/random.ts";
import { splitAt, streamOf } from "../support/streams.ts";
import {
  type SyntheticModelOptions,
  syntheticModel,
  syntheticModelBytes,
} from "../support/synthetic-model.ts";

const PAGE = 65_536;

describe("streaming a file in", () => {
  /** 37 million weights. */
  const LARGE: SyntheticModelOptions = {
    hidden: 512,
    layers: 10,
    heads: 8,
    kvHeads: 4,
    feedForward: 1536,
    vocab: 8192,
    tied: true,
  };
  /**
   * Beside the weights, at this size: 0.8 MB for the vectors of 32 positions, 0.7 MB for keys and values of the first 64,
   * 0.6 MB of scratch, rope table, staged rows and slack; and in JavaScript up to 0.8 MB, the chunk that the input is at
   * and those it made before, of 0.1 MB each.
   */
  const ALLOWANCE = 3 * 2 ** 20;

  test.each(["Q8_0", "F16"] as const)("takes 1.1 times its packed weights in %s", async (type) => {
    const collectGarbage = garbageCollector();
    const buffers = () => {
      collectGarbage();
      return process.memoryUsage().arrayBuffers;
    };
    const before = buffers();
    let largest = 0;
    let sampled = 0;
    let arrived = 0;
    const { model, memory } = await loadWatched(ggufStream(syntheticModel({ ...LARGE, type })), {
      onProgress: (loaded) => {
        arrived = loaded;
        if (loaded - sampled < 4e6) return;
        sampled = loaded;
        largest = Math.max(largest, buffers() - before);
      },
    });
    expect(arrived).toBeGreaterThan(30e6);
    expect(sampled).toBeGreaterThan(30e6);
    expect(Math.abs(model.weightBytes / arrived - 1)).toBeLessThan(0.05);
    // The linear memory never shrinks: what it has now is the most it had.
    const peak = memory.buffer.byteLength + largest;
    expect(peak).toBeLessThanOrEqual(model.weightBytes + ALLOWANCE);
    expect(peak).toBeLessThanOrEqual(1.1 * model.weightBytes);
    // And all of it works.
    const session = model.open({ capacity: 64 });
    expect((await session.forward([1, 2, 3])).row(0).every(Number.isFinite)).toBe(true);
    expect(memory.buffer.byteLength + largest).toBeLessThanOrEqual(1.1 * model.weightBytes);
    model.close();
  });

  test("is refused before a weight is read where it would not fit", async () => {
    let arrived = 0;
    const loading = loadModel(ggufStream(syntheticModel({ ...LARGE, type: "Q8_0" })), {
      maxMemoryBytes: 20e6,
      onProgress: (loaded) => {
        arrived = loaded;
      },
    });
    await expect(loading).rejects.toThrow(
      /^Cannot allocate: (39|40),\d{3},\d{3} bytes are needed, 19,9\d\d,\d{3} of 20,000,000 are left$/,
    );
    await expect(loading).rejects.toBeInstanceOf(MemoryError);
    // The header is 300 KB of it, with the tokens' texts.
    expect(arrived).toBeLessThan(500_000);
  });
});

describe("the ceiling", () => {
  const bytes = syntheticModelBytes({ contextLength: 4096 });

  test.each([32 * PAGE, 2_500_001, 47 * PAGE, 64 * PAGE])(
    "of %i bytes holds, whatever sessions do",
    async (ceiling) => {
      const { model, memory } = await loadWatched(bytes, { maxMemoryBytes: ceiling });
      const random = createRandom(ceiling);
      const held: Session[] = [];
      let refused = 0;
      for (let step = 0; step < 300; step++) {
        try {
          if (random.below(3) > 0) held.push(model.open({ capacity: 1 + random.below(1200) }));
          else if (held.length > 0) held.splice(random.below(held.length), 1)[0].close();
          const session = held[random.below(held.length)];
          if (session === undefined) continue;
          const tokens = Array.from({ length: Math.min(session.capacity, 1 + random.below(150)) }, () =>
            random.below(model.vocab),
          );
          session.truncate(0);
          // Many rows are memory too.
          await session.forward(tokens, random.below(tokens.length + 1));
        } catch (error) {
          expect(error).toBeInstanceOf(MemoryError);
          expect((error as Error).message).toMatch(
            /^Cannot allocate: [\d,]+ bytes are needed, [\d,]+ of [\d,]+ are left$/,
          );
          refused++;
        }
        expect(memory.buffer.byteLength).toBeLessThanOrEqual(ceiling);
      }
      expect(refused).toBeGreaterThan(10);
      // What was refused holds nothing: all that was there at first is there again.
      for (const session of held) session.close();
      await expect(tokensOf(model, 1000)).resolves.toHaveLength(4);
      model.close();
    },
  );

  test("counts what sessions are promised, and takes it as their texts grow", async () => {
    const { model, memory } = await loadWatched(bytes, { maxMemoryBytes: 40 * PAGE });
    const before = memory.buffer.byteLength;
    const session = model.open();
    // A megabyte of keys and values is promised.
    expect(() => model.open()).toThrow(MemoryError);
    await session.forward(new Array(64).fill(1), 0);
    expect(memory.buffer.byteLength - before).toBeLessThanOrEqual(PAGE);
    for (let i = 0; i < 63; i++) await session.forward(new Array(64).fill(1), 0);
    expect(session.length).toBe(4096);
    expect(memory.buffer.byteLength - before).toBeGreaterThan(10 * PAGE);
    model.close();
  });

  test("leaves a session as it was where the host has less than it was asked for", async () => {
    const { model, memory } = await loadWatched(bytes, { maxMemoryBytes: 64 * PAGE });
    const [session, other] = [model.open({ capacity: 2000 }), model.open({ capacity: 2000 })];
    await session.forward([1, 2, 3]);
    const grow = memory.grow.bind(memory);
    memory.grow = () => {
      throw new RangeError("no more");
    };
    const long = new Array(1900).fill(4);
    await expect(session.forward(long)).rejects.toThrow(/^Cannot allocate: this host refused/);
    expect(session.length).toBe(3);
    memory.grow = grow;
    const row = (await session.forward(long)).row(0).slice();
    expect((await other.forward([1, 2, 3, ...long])).row(0)).toEqual(row);
    model.close();
  });

  test("refuses a session as a whole", async () => {
    const { model } = await loadWatched(bytes, { maxMemoryBytes: 32 * PAGE });
    const fill = (capacity: number) => {
      const held: Session[] = [];
      expect(() => {
        for (;;) held.push(model.open({ capacity }));
      }).toThrow(MemoryError);
      return held;
    };
    const held = fill(50);
    // One gap: larger sessions do not fit, though some of their parts would.
    held[3].close();
    for (let capacity = 200; capacity > 60; capacity--) {
      try {
        model.open({ capacity }).close();
      } catch (error) {
        expect(error).toBeInstanceOf(MemoryError);
      }
    }
    const again = model.open({ capacity: 50 });
    expect((await again.forward([1, 2, 3])).count).toBe(1);
    model.close();
  });
});

describe("memory", () => {
  test("does not grow when sessions come and go", async () => {
    const { model, memory } = await loadWatched(syntheticModelBytes({ type: "Q4_0", contextLength: 1024 }));
    const expected = await tokensOf(model, 300);
    const before = memory.buffer.byteLength;
    for (let i = 0; i < 100; i++) expect(await tokensOf(model, 300 - i)).toEqual(expected);
    expect(memory.buffer.byteLength).toBe(before);
    model.close();
  });

  test("does not grow when generations are left, aborted or refused", async () => {
    const { model, memory } = await loadWatched(syntheticModelBytes({ type: "Q4_0" }));
    await tokensOf(model, 200);
    const before = memory.buffer.byteLength;
    for (let i = 0; i < 100; i++) {
      for await (const { token } of model.generate([1, 2, 3], { ignoreEos: true, maxTokens: 190 })) {
        expect(token).toBeLessThan(model.vocab);
        break;
      }
      const controller = new AbortController();
      const { signal } = controller;
      const steps = model.generate([1, 2, 3], { ignoreEos: true, maxTokens: 190, signal });
      await steps.next();
      controller.abort();
      await expect(steps.next()).rejects.toMatchObject({ name: "AbortError" });
      await expect(model.generate([1, 2, 9999]).next()).rejects.toThrow(RangeError);
    }
    expect(memory.buffer.byteLength).toBe(before);
    model.close();
  });

  test("of a model that is not used any more is collected, and of one whose loading was aborted", async () => {
    const bytes = syntheticModelBytes();
    const memories: WeakRef<WebAssembly.Memory>[] = [];
    const loadAndClose = async () => {
      const { model, memory } = await loadWatched(bytes);
      await tokensOf(model, 20);
      model.close();
      memories.push(new WeakRef(memory));
    };
    const abort = async () => {
      const controller = new AbortController();
      const { signal } = controller;
      // Behind the header, in the middle of the tensors.
      const pieces = splitAt(bytes, [bytes.length >> 1, (bytes.length >> 1) + 1000]);
      const onProgress = (loaded: number) => void (loaded > bytes.length >> 1 && controller.abort());
      const watched: WebAssembly.Instance[] = [];
      const loading = watchInstances(watched, () =>
        loadModel(streamOf(pieces), { signal, onProgress, build: "simd" }),
      );
      await expect(loading).rejects.toMatchObject({ name: "AbortError" });
      memories.push(new WeakRef(memoryOf(watched[0])));
    };
    for (let i = 0; i < 4; i++) await loadAndClose();
    for (let i = 0; i < 4; i++) await abort();
    // What a WeakRef gave or took is kept until the task ends.
    await new Promise((resolve) => setTimeout(resolve, 0));
    garbageCollector()();
    // The last of each may still be on the stack.
    expect(memories.filter((memory) => memory.deref() !== undefined).length).toBeLessThan(3);
  });
});

/** A model, and the linear memory of the Wasm instance that it runs on. */
async function loadWatched(
  input: Parameters<typeof loadModel>[0],
  options: LoadOptions = {},
): Promise<{ model: Model; memory: WebAssembly.Memory }> {
  const instances: WebAssembly.Instance[] = [];
  const model = await watchInstances(instances, () => loadModel(input, { ...options, build: "simd" }));
  expect(instances.length).toBe(1);
  return { model, memory: memoryOf(instances[0]) };
}

/** Collects the Wasm instances that are made while `work` goes on. */
async function watchInstances<T>(instances: WebAssembly.Instance[], work: () => Promise<T>): Promise<T> {
  const { Instance } = WebAssembly;
  WebAssembly.Instance = new Proxy(Instance, {
    construct(target, args) {
      const instance = Reflect.construct(target, args);
      instances.push(instance);
      return instance;
    },
  });
  try {
    return await work();
  } finally {
    WebAssembly.Instance = Instance;
  }
}

function memoryOf({ exports }: WebAssembly.Instance): WebAssembly.Memory {
  return exports.memory as WebAssembly.Memory;
}

/** Four tokens out of a session with room for `capacity`. */
async function tokensOf(model: Model, capacity: number): Promise<number[]> {
  const tokens: number[] = [];
  const maxTokens = capacity - 4;
  for await (const { token } of model.generate([5, 6, 7], { temperature: 0, ignoreEos: true, maxTokens })) {
    tokens.push(token);
    if (tokens.length === 4) break;
  }
  return tokens;
}

function garbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  return () => {
    collect();
    // Buffers that were found to be garbage are let go in the background; the next collection waits for that.
    collect();
  };
}
