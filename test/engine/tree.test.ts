/** Trees in `forward`, and the path of them that `truncate` keeps: the same bits as plain decoding of each path. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { copyRows, PlainDecoding, pathTo, randomParents, sessionsThatFit } from "./plain.ts";

const stories = () => readFileSync(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

describe.each(ENGINES)("trees on %s", (_, options) => {
  const slow = options.backend === "reference";
  const MODELS: readonly (readonly [string, () => Uint8Array])[] = [
    ["llama", () => syntheticModelBytes({ type: "Q8_0", vocab: 320 })],
    ["qwen3", () => syntheticModelBytes({ architecture: "qwen3", type: "F16", vocab: 320, seed: 2 })],
    ["stories", stories],
  ];

  it.each(slow ? MODELS.slice(0, 1) : MODELS)("have the rows of plain decoding: %s", async (_name, bytes) => {
    const model = await loadModel(bytes(), options);
    const plain = new PlainDecoding(model);
    const random = createRandom(7);
    for (let run = 0; run < (slow ? 3 : 8); run++) {
      const session = model.open();
      const text: number[] = [];
      for (let round = 0; round < 4; round++) {
        const added = tokensOf(random, 1 + random.below(30), model.vocab);
        await session.forward(added);
        text.push(...added);
        // Beyond what goes through the model at once, and beyond a page, too.
        const count = 2 + random.below([6, 12, 70][random.below(3)]);
        if (text.length + count > session.capacity) break;
        const nodes = tokensOf(random, count, model.vocab);
        const parents = randomParents(random, count);
        const wanted = random.below(count + 1);
        const rows = copyRows(await session.forward(nodes, wanted, parents));
        expect([rows.length, session.length]).toEqual([wanted, text.length + count]);
        for (let node = count - wanted; node < count; node++) {
          const path = pathTo(parents, node).map((each) => nodes[each]);
          expect(rows[node - (count - wanted)], `node ${node} of ${parents}`).toEqual(
            await plain.rowAfter([...text, ...path]),
          );
        }
        const kept = pathTo(parents, random.below(count));
        session.truncate(text.length, kept);
        text.push(...kept.map((node) => nodes[node]));
        expect(session.length).toBe(text.length);
      }
      const rows = copyRows(await session.forward([5, 6], 2));
      expect(rows).toEqual([await plain.rowAfter([...text, 5]), await plain.rowAfter([...text, 5, 6])]);
      session.close();
    }
    model.close();
  });
});

describe.each(ENGINES)("a session with a tree on %s", (_, options) => {
  let model: Model;
  let plain: PlainDecoding;
  let session: Session;
  const TEXT = [3, 1, 4, 1, 5];

  beforeAll(async () => {
    model = await loadModel(syntheticModelBytes({ type: "Q8_0", vocab: 320, contextLength: 400 }), options);
    plain = new PlainDecoding(model);
    session = model.open();
  });
  afterAll(() => model.close());
  const restart = async () => {
    session.truncate(0);
    await session.forward(TEXT);
  };

  it("keeps a path behind the pending token, or with it", async () => {
    //   10 ─ 11 ─ 12        10 is pending; 11 and 21 are guesses
    //     └─ 21 ─ 22
    const call = [[10, 11, 12, 21, 22], 5, [-1, 0, 1, 0, 3]] as const;
    for (const [length, path] of [
      [TEXT.length, [0, 3, 4]],
      [TEXT.length + 1, [3, 4]],
    ] as const) {
      await restart();
      await session.forward(...call);
      session.truncate(length, path);
      expect(session.length).toBe(TEXT.length + 3);
      const next = (await session.forward([7])).row(0);
      expect(next).toEqual(await plain.rowAfter([...TEXT, 10, 21, 22, 7]));
    }
    for (const [length, kept] of [
      [TEXT.length + 1, [10]],
      [TEXT.length, []],
      [TEXT.length - 2, []],
    ] as const) {
      await restart();
      await session.forward(...call);
      session.truncate(length);
      const text = [...TEXT.slice(0, length), ...kept, 7];
      expect((await session.forward([7])).row(0).slice()).toEqual(await plain.rowAfter(text));
    }
  });

  it("takes nothing more and is not forked until a path is kept", async () => {
    await restart();
    const rows = await session.forward([10, 11, 12], 3, [-1, 0, 0]);
    const expected = copyRows(rows);
    await expect(session.forward([1])).rejects.toThrow("Cannot append: the session holds a tree");
    expect(() => session.fork()).toThrow("Cannot fork: the session holds a tree");
    expect(copyRows(rows)).toEqual(expected);
    expect(session.length).toBe(TEXT.length + 3);
    session.truncate(TEXT.length, [0, 2]);
    expect(copyRows(rows)).toEqual(expected);
    expect((await session.forward([1])).row(0).slice()).toEqual(await plain.rowAfter([...TEXT, 10, 12, 1]));
  });

  it("takes a chain, however it is said", async () => {
    await restart();
    const rows = copyRows(await session.forward([10, 11, 12], 3, Int8Array.of(-1, 0, 1)));
    expect(rows[2]).toEqual(await plain.rowAfter([...TEXT, 10, 11, 12]));
    // It is no tree: all of it is there, and a path may be kept all the same.
    expect((await session.forward([13])).row(0).slice()).toEqual(
      await plain.rowAfter([...TEXT, 10, 11, 12, 13]),
    );
    session.truncate(session.length - 1);
    await session.forward([14, 15, 16], 1, [-1, 0, 1]);
    session.truncate(TEXT.length + 3, [0, 1]);
    expect((await session.forward([7])).row(0).slice()).toEqual(
      await plain.rowAfter([...TEXT, 10, 11, 12, 14, 15, 7]),
    );
    await restart();
    await session.forward([14, 15, 16]);
    session.truncate(TEXT.length + 1, [1]);
    expect(session.length).toBe(TEXT.length + 2);
    expect((await session.forward([], 0, [])).count).toBe(0);
  });

  it("refuses parents that are no tree, and appends nothing", async () => {
    await restart();
    const refused = async (parents: unknown, message: string) => {
      await expect(session.forward([1, 2, 3], 1, parents as number[])).rejects.toThrow(message);
      expect(session.length).toBe(TEXT.length);
    };
    await refused([-1, 0], '"parents" must have one entry per token, 3, got 2');
    await refused([-1, 0, 1, 2], "one entry per token, 3, got 4");
    await refused([-1, 2, 1], '"parents[1]" must be an integer from -1 to 0, got 2');
    await refused([0, 0, 1], '"parents[0]" must be an integer from -1 to -1, got 0');
    await refused([-1, 1, 0], '"parents[1]" must be an integer from -1 to 0, got 1');
    await refused([-2, 0, 1], '"parents[0]" must be an integer');
    await refused([-1, 0.5, 1], '"parents[1]" must be an integer');
    await refused([-1, "0", 1], '"parents[1]" must be an integer, got string');
    await refused([-1, NaN, 1], '"parents[1]" must be an integer');
    expect((await session.forward([9])).row(0).slice()).toEqual(await plain.rowAfter([...TEXT, 9]));
  });

  it("refuses a path that is none, and stays as it was", async () => {
    await restart();
    await session.forward([10, 11, 12, 21, 22], 1, [-1, 0, 1, 0, 3]);
    const refused = (length: unknown, path: unknown, message: string) => {
      expect(() => session.truncate(length as number, path as number[])).toThrow(message);
      expect(session.length).toBe(TEXT.length + 5);
    };
    const start = TEXT.length;
    refused(start, [3], '"path[0]" must be a child of -1, got 3, a child of 0');
    refused(start, [0, 4], '"path[1]" must be a child of 0, got 4, a child of 3');
    refused(start, [0, 1, 1], '"path[2]" must be a child of 1, got 1, a child of 0');
    refused(start + 1, [0], '"path[0]" must be a child of 0, got 0, a child of -1');
    refused(start, [5], '"path[0]" must be an integer from 0 to 4, got 5');
    refused(start, [-1], '"path[0]" must be an integer');
    refused(start, ["0"], '"path[0]" must be an integer, got string');
    refused(start - 1, [0], '"path" must be empty');
    refused(start + 2, [], `"length" must be an integer from 0 to ${start + 1}, got ${start + 2}`);
    refused(start + 5, [], '"length" must be');
    session.truncate(start, [0, 3, 4]);
    expect(() => session.truncate(start, [0])).toThrow('"path" must be empty');
    expect((await session.forward([7])).row(0).slice()).toEqual(
      await plain.rowAfter([...TEXT, 10, 21, 22, 7]),
    );
  });

  it("takes 256 nodes behind the first branching, and no more", async () => {
    await restart();
    const star = (stem: number, nodes: number) => [
      ...Array.from({ length: stem }, (_, i) => i - 1),
      ...new Array<number>(nodes).fill(stem - 1),
    ];
    const tokens = Array.from({ length: 310 }, (_, i) => i % 320);
    await expect(session.forward(tokens.slice(0, 260), 1, star(3, 257))).rejects.toThrow(
      '"parents" must have at most 256 nodes from the first branching on, got 257',
    );
    expect(session.length).toBe(TEXT.length);
    const rows = copyRows(await session.forward(tokens.slice(0, 306), 256, star(50, 256)));
    for (const node of [50, 51, 200, 305]) {
      const path = [...TEXT, ...tokens.slice(0, 50), tokens[node]];
      expect(rows[node - 50]).toEqual(await plain.rowAfter(path));
    }
    session.truncate(TEXT.length + 50, [305]);
    const text = [...TEXT, ...tokens.slice(0, 50), tokens[305], 8];
    expect((await session.forward([8])).row(0).slice()).toEqual(await plain.rowAfter(text));
  });

  it("refuses a tree that does not fit its capacity", async () => {
    const small = model.open({ capacity: 8 });
    await small.forward(TEXT);
    await expect(small.forward([1, 2, 3, 4], 4, [-1, 0, 0, 0])).rejects.toThrow(
      "Cannot append 4 tokens: the session holds 5 of at most 8",
    );
    const rows = copyRows(await small.forward([1, 2, 3], 3, [-1, 0, 0]));
    expect(rows[2]).toEqual(await plain.rowAfter([...TEXT, 1, 3]));
    small.close();
  });
});

describe.each(ENGINES)("memory of trees on %s", (_, options) => {
  it("is asked for when a tree comes, and given back with the session", async () => {
    const bytes = syntheticModelBytes({ vocab: 320 });
    const model = await loadModel(bytes, { ...options, maxMemoryBytes: 2_500_000 });
    const fit = sessionsThatFit(model, 64);
    expect(fit).toBeGreaterThan(3);
    const held: Session[] = [];
    while (held.length < fit) held.push(model.open({ capacity: 64 }));
    await held[0].forward([1, 2]);
    await expect(held[0].forward([1, 2, 3], 1, [-1, 0, 0])).rejects.toThrow(/bytes are needed, .* are left/);
    expect(held[0].length).toBe(2);
    const expected = (await held[0].forward([1, 3])).row(0).slice();
    held[0].truncate(2);
    held.pop()!.close();
    const rows = await held[0].forward([1, 2, 3], 1, [-1, 0, 0]);
    expect(rows.row(0)).toEqual(expected);
    for (const session of held) session.close();
    expect(sessionsThatFit(model, 64)).toBe(fit);
    model.close();
  });
});

function tokensOf(random: Random, count: number, vocab: number): number[] {
  return Array.from({ length: count }, () => random.below(vocab));
}
