import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Rows, type Session } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

const copy = (rows: Rows) => Array.from({ length: rows.count }, (_, index) => rows.row(index).slice());
const sequence = (length: number) => Array.from({ length }, (_, i) => (i * 37 + 5) % 512);

describe.each(ENGINES)("a session on %s", (_, options) => {
  const TOKENS = sequence(90);
  let model: Model;
  /** Row i follows TOKENS[i]. */
  let expected: Float32Array[];
  let session: Session;

  beforeAll(async () => {
    model = await loadModel(syntheticModelBytes({ type: "Q8_0" }), options);
    session = model.open();
    expected = copy(await session.forward(TOKENS, TOKENS.length));
  });
  afterAll(() => model.close());

  it("gives different rows for different positions, all finite", () => {
    expect(expected.length).toBe(90);
    expect(expected.every((row) => row.length === 512 && row.every(Number.isFinite))).toBe(true);
    expect(new Set(expected.map((row) => row.slice(0, 4).join())).size).toBe(90);
  });

  it("gives the same bits however the tokens are split, and whichever rows are asked for", async () => {
    const split = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.nat(40)), {
      minLength: 1,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(split, async (steps) => {
        session.truncate(0);
        for (const [count, wanted] of steps) {
          const start = session.length;
          const chunk = TOKENS.slice(start, start + count);
          const rows = Math.min(wanted, chunk.length);
          const got = await session.forward(chunk, rows);
          expect([got.count, got.vocab, session.length]).toEqual([rows, 512, start + chunk.length]);
          copy(got).forEach((row, index) => {
            expect(row).toEqual(expected[session.length - rows + index]);
          });
        }
      }),
      { numRuns: 12, seed: 3 },
    );
  });

  it("forgets what was truncated", async () => {
    session.truncate(0);
    await session.forward(TOKENS.slice(0, 40));
    await session.forward([1, 2, 3, 4, 5, 6, 7]);
    session.truncate(40);
    expect(session.length).toBe(40);
    expect(copy(await session.forward(TOKENS.slice(40, 50), 10))).toEqual(expected.slice(40, 50));
    session.truncate(session.length);
    expect(session.length).toBe(50);
    expect(() => session.truncate(51)).toThrow('"length" must be an integer from 0 to 50, got 51');
    expect(() => session.truncate(-1)).toThrow(RangeError);
    expect(() => session.truncate(0.5)).toThrow(RangeError);
  });

  it("does not disturb others that are open", async () => {
    const other = model.open({ capacity: 20 });
    session.truncate(0);
    for (let i = 0; i < 10; i++) {
      await other.forward([500 - i]);
      const rows = await session.forward([TOKENS[i]]);
      expect(rows.row(0)).toEqual(expected[i]);
    }
    other.close();
    expect((await session.forward([TOKENS[10]])).row(0)).toEqual(expected[10]);
  });

  it("takes arrays of every kind, and gives one row where nothing is said", async () => {
    session.truncate(0);
    const rows = await session.forward(Uint16Array.from(TOKENS.slice(0, 5)));
    expect(rows.count).toBe(1);
    expect(rows.row(0)).toEqual(expected[4]);
    expect(rows.argmax(0)).toBe(expected[4].indexOf(Math.max(...expected[4])));
    expect(() => rows.row(1)).toThrow('"index" must be an integer from 0 to 0, got 1');
    expect(() => rows.argmax(-1)).toThrow(RangeError);
  });

  it("may be asked for nothing", async () => {
    session.truncate(0);
    expect((await session.forward([])).count).toBe(0);
    expect((await session.forward(TOKENS.slice(0, 3), 0)).count).toBe(0);
    expect((await session.forward([TOKENS[3]])).row(0)).toEqual(expected[3]);
  });

  it("checks everything before it appends anything", async () => {
    session.truncate(0);
    await session.forward(TOKENS.slice(0, 8));
    const refused = async (tokens: number[], rows: number | undefined, message: string) => {
      await expect(session.forward(tokens, rows)).rejects.toThrow(message);
      expect(session.length).toBe(8);
    };
    await refused([1, 512], 1, '"tokens[1]" must be an integer from 0 to 511, got 512');
    await refused([-1], 1, '"tokens[0]" must be an integer');
    await refused([0.5], 1, '"tokens[0]" must be an integer');
    await refused([Number.NaN], 1, '"tokens[0]" must be an integer');
    await refused(["1"] as never, 1, '"tokens[0]" must be an integer, got string');
    await refused([1, 2], 3, '"rows" must be an integer from 0 to 2, got 3');
    await refused([1, 2], -1, '"rows" must be an integer from 0 to 2, got -1');
    await refused(sequence(249), 1, "Cannot append 249 tokens: the session holds 8 of at most 256");
    expect((await session.forward([TOKENS[8]])).row(0)).toEqual(expected[8]);
  });

  it("holds as many positions as it was opened for, and no more", async () => {
    const small = model.open({ capacity: 5 });
    expect([small.capacity, small.length]).toEqual([5, 0]);
    expect(copy(await small.forward(TOKENS.slice(0, 5), 5))).toEqual(expected.slice(0, 5));
    await expect(small.forward([1])).rejects.toThrow("the session holds 5 of at most 5");
    small.truncate(4);
    expect((await small.forward([TOKENS[4]])).row(0)).toEqual(expected[4]);
    small.close();
    expect(() => model.open({ capacity: 0 })).toThrow('"capacity" must be an integer from 1 to 256, got 0');
    expect(() => model.open({ capacity: 257 })).toThrow(RangeError);
  });

  it("cannot be used after it was closed, and may be closed twice", async () => {
    const closed = model.open({ capacity: 4 });
    closed.close();
    closed.close();
    await expect(closed.forward([1])).rejects.toThrow("Cannot use session: it is closed");
    expect(() => closed.truncate(0)).toThrow("Cannot use session: it is closed");
  });
});

describe.each(ENGINES)("memory of sessions on %s", (_, options) => {
  it("comes back when they are closed", async () => {
    const bytes = syntheticModelBytes({ contextLength: 4096 });
    // A full context takes 1 MB of keys and values in two layers; with this much, two do not fit at once.
    const model = await loadModel(bytes, { ...options, maxMemoryBytes: 5_000_000 });
    for (let i = 0; i < 20; i++) {
      const session = model.open();
      await session.forward([1, 2, 3], 3);
      session.close();
    }
    const held: Session[] = [];
    const openAll = () => {
      for (;;) held.push(model.open());
    };
    expect(openAll).toThrow(/bytes are needed, .* of .* are left/);
    const count = held.length;
    for (const session of held.splice(0)) session.close();
    expect(openAll).toThrow(RangeError);
    expect(held.length).toBe(count);
  });
});
