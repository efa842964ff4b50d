/** Several sessions in one pass: `forwardAll`, and the Batcher that brings their calls together. */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { nextTask } from "../../src/decoding/next-task.ts";
import { Batcher } from "../../src/engine/batch.ts";
import type { Call, Source } from "../../src/engine/source.ts";
import { loadModel, type Model, type Session } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { copyRows, PlainDecoding, pathTo, randomParents } from "./plain.ts";

const VOCAB = 320;
const BYTES = syntheticModelBytes({ type: "Q8_0", vocab: VOCAB });
const stories = readFileSync(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

describe.each(ENGINES)("forwardAll on %s", (_, options) => {
  let model: Model;
  let sessions: Session[];

  beforeAll(async () => {
    model = await loadModel(BYTES, options);
  });
  afterAll(() => model.close());
  beforeEach(() => {
    sessions = [0, 1, 2, 3].map(() => model.open());
  });
  afterEach(() => {
    for (const session of sessions) session.close();
  });

  it("gives each session its rows: tokens, prompts and trees together", async () => {
    const plain = new PlainDecoding(model);
    const texts = [[1, 2, 3], [4], [], [5, 6]];
    await model.forwardAll!(sessions.map((session, i) => ({ session, tokens: texts[i], rows: 0 })));
    const prompt = Array.from({ length: 70 }, (__, i) => (i * 37) % VOCAB);
    const [token, tree, long, nothing] = await model.forwardAll!([
      { session: sessions[0], tokens: [9] },
      { session: sessions[1], tokens: [7, 8, 9], rows: 3, parents: [-1, 0, 0] },
      { session: sessions[2], tokens: prompt, rows: 5 },
      { session: sessions[3], tokens: [] },
    ]);
    expect([token, tree, long, nothing].map(({ count }) => count)).toEqual([1, 3, 5, 0]);
    expect(token.row(0).slice()).toEqual(await plain.rowAfter([1, 2, 3, 9]));
    expect(tree.row(2).slice()).toEqual(await plain.rowAfter([4, 7, 9]));
    for (let i = 0; i < 5; i++)
      expect(long.row(i).slice()).toEqual(await plain.rowAfter(prompt.slice(0, 66 + i)));
    const [row] = copyRows(token);
    expect(token.argmax(0)).toBe(row.indexOf(Math.max(...row)));
    expect(await model.forwardAll!([])).toEqual([]);
  });

  it("checks every call before it appends anything to any", async () => {
    const rows = await sessions[1].forward([3, 4], 2);
    const expected = copyRows(rows);
    const refused = async (call: Partial<Call>, message: string) => {
      const wrong = { session: sessions[2], tokens: [1], ...call };
      const calls = [{ session: sessions[0], tokens: [1, 2] }, wrong, { session: sessions[3], tokens: [1] }];
      await expect(model.forwardAll!(calls)).rejects.toThrow(message);
      expect(sessions.map(({ length }) => length)).toEqual([0, 2, 0, 0]);
    };
    await refused({ tokens: [VOCAB] }, '"tokens[0]" must be an integer from 0 to 319, got 320');
    await refused({ rows: 2 }, '"rows" must be an integer from 0 to 1, got 2');
    await refused({ parents: [0] }, '"parents[0]" must be an integer from -1 to -1, got 0');
    await refused({ tokens: new Array(257).fill(1) }, "Cannot append 257 tokens");
    await refused({ session: sessions[0] }, '"calls[1].session" must be another one');
    await refused({ session: {} as Session }, '"calls[1].session" must be a session of this model');
    const other = await loadModel(BYTES, options);
    await refused({ session: other.open() }, '"calls[1].session" must be a session of this model');
    other.close();
    const closed = model.open();
    closed.close();
    await refused({ session: closed }, "Cannot use session: it is closed");
    expect(copyRows(rows)).toEqual(expected);
  });

  it("keeps the rows of sessions that are not called", async () => {
    const first = await model.forwardAll!(
      sessions.map((session, i) => ({ session, tokens: [i, 5], rows: 2 })),
    );
    const expected = first.map(copyRows);
    await model.forwardAll!(sessions.slice(1).map((session) => ({ session, tokens: [6] })));
    expect(copyRows(first[0])).toEqual(expected[0]);
    expect(() => first[1].row(0)).toThrow("Cannot read rows");
  });
});

describe.each(ENGINES)("forwardAll without memory to spare on %s", (_, options) => {
  it("gives the same rows", async () => {
    const model = await loadModel(BYTES, { ...options, maxMemoryBytes: 2_000_000 });
    const plain = new PlainDecoding(model);
    const expected = await plain.rowAfter([3, 4]);
    const sessions: Session[] = [];
    expect(() => {
      for (;;) sessions.push(model.open({ capacity: 2 }));
    }).toThrow(RangeError);
    // Together their rows take more than is left, or another session would have fitted.
    expect(sessions.length).toBeGreaterThan(20);
    const results = await model.forwardAll!(sessions.map((session) => ({ session, tokens: [3, 4] })));
    for (const rows of results) expect(rows.row(0)).toEqual(expected);
    model.close();
  });
});

describe.each(ENGINES)("a batcher on %s", (_, options) => {
  let model: Model;
  /** Columns of each call, round by round. */
  let rounds: number[][];
  let batcher: Batcher;

  beforeAll(async () => {
    model = await loadModel(options.backend === "reference" ? BYTES : stories, options);
  });
  afterAll(() => model.close());
  beforeEach(() => {
    rounds = [];
    batcher = new Batcher(watched(model, rounds));
  });

  it("never changes what a stream gets: random programs, with forks, side by side", async () => {
    const [streams, steps] = options.backend === "reference" ? [3, 4] : [7, 12];
    const plain = new PlainDecoding(model);
    const work = Array.from({ length: streams }, (__, i) =>
      runStream(batcher.open(), createRandom(i), steps),
    );
    for (const { rows } of await Promise.all(work)) {
      for (const { text, row } of rows) expect(row).toEqual(await plain.rowAfter(text));
    }
    expect(Math.max(...rounds.map((round) => round.length))).toBeGreaterThan(streams / 2);
  });

  it("runs a call at once where nobody else is there", async () => {
    const session = batcher.open();
    for (const count of [1, 100, 1]) {
      const before = session.length;
      const rows = session.forward(new Array(count).fill(3));
      expect(session.length).toBe(before + count);
      await rows;
    }
    expect(rounds).toEqual([[1], [100], [1]]);
    session.close();
  });

  it("waits for those that are decoding, so that all go in one round", async () => {
    const sessions = [0, 1, 2, 3].map(() => batcher.open());
    const decode = async (session: Session, first: number) => {
      let token = first;
      for (let i = 0; i < 10; i++) token = (await session.forward([token])).argmax(0);
    };
    await Promise.all(sessions.map((session, i) => decode(session, i)));
    // The first was alone when it began.
    expect(rounds.length).toBeLessThanOrEqual(12);
    expect(rounds.filter((round) => round.length === 4).length).toBeGreaterThanOrEqual(9);
    for (const session of sessions) session.close();
  });

  it("goes on with the next task where one is late, and waits for it no more", async () => {
    const [one, other] = [batcher.open(), batcher.open()];
    await Promise.all([one.forward([1]), other.forward([2])]);
    rounds.length = 0;
    const rows = one.forward([3]);
    expect(one.length).toBe(1);
    await rows;
    const again = one.forward([4]);
    expect(one.length).toBe(3);
    await again;
    expect(rounds).toEqual([[1], [1]]);
    one.close();
    other.close();
  });

  it("waits for nobody who has closed", async () => {
    const [one, other] = [batcher.open(), batcher.open()];
    await Promise.all([one.forward([1]), other.forward([2])]);
    const rows = one.forward([3]);
    other.close();
    expect(one.length).toBe(2);
    await rows;
    one.close();
  });

  it("lets a wrong call harm itself only", async () => {
    const plain = new PlainDecoding(model);
    const sessions = [0, 1, 2, 3, 4].map(() => batcher.open({ capacity: 90 }));
    await Promise.all(sessions.map((session) => session.forward([1])));
    const long = new Array<number>(80).fill(2);
    const results = await Promise.allSettled([
      sessions[0].forward([2]),
      sessions[1].forward([model.vocab]),
      sessions[2].forward([2], 2),
      sessions[3].forward([...long, -1]),
      sessions[4].forward(new Array(90).fill(2)),
    ]);
    expect(results.map((result) => (result.status === "rejected" ? result.reason.message : "done"))).toEqual([
      "done",
      expect.stringMatching(/^"tokens\[0\]" must be/),
      '"rows" must be an integer from 0 to 1, got 2',
      expect.stringMatching(/^"tokens\[\d+\]" must be an integer from 0 to \d+, got -1$/),
      "Cannot append 90 tokens: the session holds 1 of at most 90",
    ]);
    expect(sessions.map(({ length }) => length)).toEqual([2, 1, 1, 1, 1]);
    const rows = await Promise.all(sessions.map((session) => session.forward([6])));
    expect(rows[0].row(0).slice()).toEqual(await plain.rowAfter([1, 2, 6]));
    for (const each of rows.slice(1)) expect(each.row(0).slice()).toEqual(await plain.rowAfter([1, 6]));
    for (const session of sessions) session.close();
  });

  it("cuts long prompts, which take turns beside those that decode", async () => {
    const plain = new PlainDecoding(model);
    const sessions = [0, 1, 2].map(() => batcher.open());
    await Promise.all(sessions.map((session) => session.forward([1])));
    rounds.length = 0;
    const prompts = [0, 1].map((i) => Array.from({ length: 90 }, (__, j) => (i * 50 + j) % VOCAB));
    let steps = 0;
    let prompting = 2;
    const prompted = prompts.map(async (prompt, i) => {
      const rows = await sessions[i].forward(prompt, 3);
      prompting--;
      return copyRows(rows);
    });
    while (prompting > 0) {
      await sessions[2].forward([4]);
      steps++;
    }
    for (const [i, [first, , last]] of (await Promise.all(prompted)).entries()) {
      expect(first).toEqual(await plain.rowAfter([1, ...prompts[i].slice(0, 88)]));
      expect(last).toEqual(await plain.rowAfter([1, ...prompts[i]]));
    }
    expect(steps).toBeGreaterThan(5);
    // Both were on their way at the same time, and no round was longer than a pass by more than one least piece.
    for (const round of rounds) expect(round.reduce((sum, columns) => sum + columns)).toBeLessThanOrEqual(40);
    expect(sessions.map(({ length }) => length)).toEqual([91, 91, 1 + steps]);
    for (const session of sessions) session.close();
  });

  it("answers every one of many, more than go into a pass", async () => {
    const sessions = Array.from({ length: 40 }, () => batcher.open({ capacity: 8 }));
    const rows = await Promise.all(sessions.map((session, i) => session.forward([i, i + 1])));
    expect(new Set(rows.map((each) => each.row(0).slice(0, 3).join())).size).toBe(40);
    expect(Math.max(...rounds.map((round) => round.length))).toBeLessThanOrEqual(16);
    for (const session of sessions) session.close();
  });

  it("refuses to change a session whose call is waiting, and fails that when it is closed", async () => {
    const [one, other] = [batcher.open(), batcher.open()];
    await Promise.all([one.forward([1]), other.forward([2])]);
    const call = one.forward([3]);
    expect(() => one.truncate(0)).toThrow("Cannot truncate: a call of the session has not been answered");
    expect(() => one.fork()).toThrow("Cannot fork: a call");
    one.close();
    await expect(call).rejects.toThrow("Cannot use session: it is closed");
    await expect(one.forward([1])).rejects.toThrow("Cannot use session: it is closed");
    await nextTask();
    expect((await other.forward([4])).count).toBe(1);
    other.close();
  });

  it("keeps the order of one stream's calls", async () => {
    const plain = new PlainDecoding(model);
    const [one, other] = [batcher.open(), batcher.open()];
    await Promise.all([one.forward([1]), other.forward([2])]);
    const long = Array.from({ length: 60 }, (__, i) => i);
    const calls = [one.forward(long, 0), one.forward([7]), one.forward([8]), other.forward([3])];
    const [, , last, others] = await Promise.all(calls);
    expect(last.row(0).slice()).toEqual(await plain.rowAfter([1, ...long, 7, 8]));
    expect(others.row(0).slice()).toEqual(await plain.rowAfter([2, 3]));
    for (const session of [one, other]) session.close();
  });

  it("works over a source that computes calls one by one", async () => {
    const { vocab, contextLength } = model;
    const plainSource: Source = { vocab, contextLength, open: (opened) => model.open(opened) };
    const single = new Batcher(plainSource);
    const sessions = [0, 1, 2].map(() => single.open());
    const results = await Promise.allSettled(sessions.map((session, i) => session.forward([i < 2 ? i : -1])));
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
    for (const session of sessions) session.close();
  });
});

/** The model, noting the columns of its sessions' calls, round by round. */
function watched(model: Model, rounds: number[][]): Source {
  const inner = new WeakMap<Session, Session>();
  const wrap = (session: Session): Session => {
    const wrapped: Session = {
      get length() {
        return session.length;
      },
      capacity: session.capacity,
      forward: (tokens, rows, parents) => {
        rounds.push([tokens.length]);
        return session.forward(tokens, rows, parents);
      },
      truncate: (length, path) => session.truncate(length, path),
      fork: (options) => wrap(session.fork(options)),
      close: () => session.close(),
    };
    inner.set(wrapped, session);
    return wrapped;
  };
  return {
    vocab: model.vocab,
    contextLength: model.contextLength,
    open: (options) => wrap(model.open(options)),
    forwardAll: async (calls) => {
      const answer = model.forwardAll!(calls.map((call) => ({ ...call, session: inner.get(call.session)! })));
      const rows = await answer;
      rounds.push(calls.map(({ tokens }) => tokens.length));
      return rows;
    },
  };
}

/** Decodes, reads, drafts trees, goes back and forks, at its own pace; every row with the text it follows. */
async function runStream(session: Session, random: Random, steps: number) {
  const rows: { text: number[]; row: Float32Array }[] = [];
  let text: number[] = [];
  let current = session;
  for (let step = 0; step < steps; step++) {
    const kind = random.below(6);
    if (kind === 0) await nextTask();
    if (kind === 1 && text.length > 3) {
      text = text.slice(0, text.length - 1 - random.below(3));
      current.truncate(text.length);
    }
    if (kind === 2) {
      const fork = current.fork();
      current.close();
      current = fork;
    }
    const count = kind === 3 ? 40 : 1 + random.below(4);
    if (current.capacity - text.length < count) break;
    const tokens = Array.from({ length: count }, () => random.below(VOCAB));
    const parents = kind === 4 ? randomParents(random, count) : tokens.map((_, i) => i - 1);
    const result = await current.forward(tokens, count, kind === 4 ? parents : undefined);
    const node = random.below(count);
    const path = pathTo(parents, node);
    rows.push({ text: [...text, ...path.map((each) => tokens[each])], row: result.row(node).slice() });
    current.truncate(text.length, path);
    text = rows.at(-1)!.text;
  }
  current.close();
  return { rows };
}
