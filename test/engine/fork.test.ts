/** Forks: sequences that share what they have in common, and random programs over many sessions at once. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { copyRows, PlainDecoding, pathTo, randomParents, sessionsThatFit } from "./plain.ts";

const VOCAB = 320;
const BYTES = syntheticModelBytes({ type: "Q8_0", vocab: VOCAB });
/** Around the ends of a page of 64. */
const LENGTHS = [0, 1, 2, 63, 64, 65, 130];

describe.each(ENGINES)("a fork on %s", (_, options) => {
  let model: Model;
  let plain: PlainDecoding;

  beforeAll(async () => {
    model = await loadModel(BYTES, options);
    plain = new PlainDecoding(model);
  });
  afterAll(() => model.close());

  const opened = async (text: readonly number[], capacity?: number) => {
    const session = model.open({ capacity });
    await session.forward(text, 0);
    return session;
  };

  it.each(LENGTHS)("behind %i tokens goes on as if it were alone, and so does the other", async (length) => {
    const text = tokensOf(createRandom(1), length);
    for (const [first, second] of [
      [0, 1],
      [1, 0],
    ]) {
      const parent = await opened(text);
      const both = [parent, parent.fork()];
      expect(both[1].length).toBe(length);
      expect(both[1].capacity).toBe(parent.capacity);
      for (const one of [first, second]) {
        const rows = copyRows(await both[one].forward([one, 7], 2));
        expect(rows[1]).toEqual(await plain.rowAfter([...text, one, 7]));
      }
      for (const one of [first, second]) {
        const [row] = copyRows(await both[one].forward([9]));
        expect(row).toEqual(await plain.rowAfter([...text, one, 7, 9]));
      }
      both[first].close();
      const [row] = copyRows(await both[second].forward([4]));
      expect(row).toEqual(await plain.rowAfter([...text, second, 7, 9, 4]));
      both[second].close();
    }
  });

  it("changes nothing in the other when it goes back and on from there", async () => {
    const text = tokensOf(createRandom(2), 150);
    const parent = await opened(text);
    const forks = [parent.fork(), parent.fork()];
    for (const [length, session] of [
      [70, forks[0]],
      [10, parent],
    ] as const) {
      session.truncate(length);
      const rest = tokensOf(createRandom(length), 100);
      const rows = await session.forward(rest);
      expect(rows.row(0).slice()).toEqual(await plain.rowAfter([...text.slice(0, length), ...rest]));
    }
    expect((await forks[1].forward([3])).row(0).slice()).toEqual(await plain.rowAfter([...text, 3]));
    for (const session of [parent, ...forks]) session.close();
  });

  it("has its own capacity, at least what it holds", async () => {
    const parent = await opened(tokensOf(createRandom(3), 5), 6);
    expect(() => parent.fork({ capacity: 4 })).toThrow('"capacity" must be an integer from 5 to 256, got 4');
    expect(() => parent.fork({ capacity: 257 })).toThrow(RangeError);
    const [least, larger] = [parent.fork({ capacity: 5 }), parent.fork({ capacity: 200 })];
    await expect(least.forward([1])).rejects.toThrow("the session holds 5 of at most 5");
    expect((await larger.forward(tokensOf(createRandom(4), 195))).count).toBe(1);
    expect(larger.length).toBe(200);
    parent.close();
    expect(() => parent.fork()).toThrow("Cannot use session: it is closed");
    for (const session of [least, larger]) session.close();
  });

  it("leaves the rows of the other as they are", async () => {
    const parent = model.open();
    const rows = await parent.forward([1, 2, 3], 3);
    const expected = copyRows(rows);
    const fork = parent.fork();
    const forked = await fork.forward([4, 5], 2);
    const others = copyRows(forked);
    // The memory grows for these, and views of it would be gone.
    const wide = await model.open().forward(tokensOf(createRandom(5), 250), 250);
    expect(wide.count).toBe(250);
    parent.truncate(1);
    expect([copyRows(rows), copyRows(forked)]).toEqual([expected, others]);
    expect(rows.logSumExp(1)).toBeCloseTo(
      Math.log(expected[1].reduce((sum, logit) => sum + Math.exp(logit), 0)),
      4,
    );
    await parent.forward([2]);
    expect(() => rows.row(0)).toThrow("Cannot read rows: their session was called again, or closed");
    expect(copyRows(forked)).toEqual(others);
    fork.close();
    expect(() => forked.argmax(0)).toThrow(TypeError);
    parent.close();
  });
});

describe.each(ENGINES)("memory of forks on %s", (_, options) => {
  it("is that of what they do not share", async () => {
    const bytes = syntheticModelBytes({ vocab: VOCAB, contextLength: 1024 });
    const model = await loadModel(bytes, { ...options, maxMemoryBytes: 3_000_000 });
    const fit = sessionsThatFit(model, 1000);
    expect(fit).toBeLessThan(10);
    const parent = model.open({ capacity: 1000 });
    await parent.forward(tokensOf(createRandom(1), 960), 0);
    const forks: Session[] = [];
    while (forks.length < 3 * fit) forks.push(parent.fork());
    // Each has the page that was promised to it, whatever the others take.
    for (const fork of forks) await fork.forward(tokensOf(createRandom(2), 40), 0);
    expect(() => {
      for (;;) forks.push(parent.fork());
    }).toThrow(/bytes are needed, .* of .* are left/);
    // What is shared stays until the last has gone.
    parent.close();
    const last = forks.pop()!;
    for (const fork of forks) fork.close();
    const plain = new PlainDecoding(model);
    const text = [...tokensOf(createRandom(1), 960), 5];
    last.truncate(960);
    expect((await last.forward([5])).row(0).slice()).toEqual(await plain.rowAfter(text));
    last.close();
    model.close();
  });

  it("says so where a page before the fork cannot be copied, and appends nothing", async () => {
    const bytes = syntheticModelBytes({ vocab: VOCAB, contextLength: 1024 });
    const model = await loadModel(bytes, { ...options, maxMemoryBytes: 3_000_000 });
    const plain = new PlainDecoding(model);
    const text = tokensOf(createRandom(1), 200);
    const parent = model.open({ capacity: 256 });
    await parent.forward(text, 0);
    const fork = parent.fork();
    const filling: Session[] = [];
    expect(() => {
      for (;;) filling.push(model.open({ capacity: 1 }));
    }).toThrow(RangeError);
    fork.truncate(70);
    await expect(fork.forward([1])).rejects.toThrow(/bytes are needed, .* are left/);
    expect(fork.length).toBe(70);
    filling.pop()!.close();
    expect((await fork.forward([1])).row(0).slice()).toEqual(await plain.rowAfter([...text.slice(0, 70), 1]));
    expect((await parent.forward([2])).row(0).slice()).toEqual(await plain.rowAfter([...text, 2]));
    model.close();
  });
});

describe.each(ENGINES)("random programs on %s", (_, options) => {
  const seeds = options.backend === "reference" ? [1] : [1, 2, 3];
  it.each(seeds)(
    "over many sessions give what plain decoding gives, and all memory back: %i",
    async (seed) => {
      const model = await loadModel(BYTES, { ...options, maxMemoryBytes: 6_000_000 });
      const plain = new PlainDecoding(model);
      const random = createRandom(seed);
      // As many rows as go into a pass, once: the model keeps the place for rows of several sessions.
      const warm = [model.open(), model.open()];
      await model.forwardAll!(warm.map((session) => ({ session, tokens: tokensOf(random, 16), rows: 16 })));
      for (const session of warm) session.close();
      const fit = sessionsThatFit(model, 200);
      const held: { session: Session; text: number[] }[] = [];
      for (let step = 0; step < (seeds.length === 1 ? 50 : 120); step++) {
        const one = held[random.below(held.length)];
        const kind = random.below(10);
        if (one === undefined || (kind === 0 && held.length < 6)) {
          held.push({ session: model.open({ capacity: 200 }), text: [] });
        } else if (kind <= 2 && held.length < 6) {
          held.push({ session: one.session.fork(), text: [...one.text] });
        } else if (kind === 3) {
          one.session.close();
          held.splice(held.indexOf(one), 1);
        } else if (kind === 4) {
          one.text.length = random.below(one.text.length + 1);
          one.session.truncate(one.text.length);
        } else {
          const some = kind < 7 ? [one] : held.filter(() => random.below(3) > 0);
          await forwardSome(some, model, plain, random);
        }
      }
      for (const { session } of held) session.close();
      expect(sessionsThatFit(model, 200)).toBe(fit);
      model.close();
    },
  );
});

/** One call of each of `some` together: a token, a prompt or a tree, of which a path is kept. Looks at one row of each. */
async function forwardSome(
  some: readonly { session: Session; text: number[] }[],
  model: Model,
  plain: PlainDecoding,
  random: Random,
): Promise<void> {
  const calls = some.map(({ session, text }) => {
    const room = session.capacity - text.length;
    const count = Math.min(room, [1, 1 + random.below(8), 1 + random.below(50)][random.below(3)]);
    const tokens = tokensOf(random, count);
    const parents = random.below(2) === 0 ? undefined : randomParents(random, count);
    return { session, tokens, rows: random.below(count + 1), parents };
  });
  const results = await model.forwardAll!(calls);
  for (const [index, { tokens, rows, parents, session }] of calls.entries()) {
    const { text } = some[index];
    const paths = parents ?? tokens.map((_, i) => i - 1);
    expect([results[index].count, session.length]).toEqual([rows, text.length + tokens.length]);
    if (rows > 0) {
      const row = random.below(rows);
      const path = pathTo(paths, tokens.length - rows + row).map((node) => tokens[node]);
      expect(results[index].row(row).slice()).toEqual(await plain.rowAfter([...text, ...path]));
    }
    const kept = tokens.length === 0 ? [] : pathTo(paths, random.below(tokens.length));
    session.truncate(text.length, kept);
    text.push(...kept.map((node) => tokens[node]));
  }
}

function tokensOf(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => random.below(VOCAB));
}
