/** What a fused source does with its sources: who runs when, what they are told, and what happens when something fails. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluatePlan, referenceKernels as kernels } from "../../src/decoding/fuse.ts";
import {
  bridgeText,
  buildPlan,
  fuse,
  fusePreset,
  loadModel,
  type Model,
  op,
  type Plan,
  readPlan,
  type Session,
  type Source,
} from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { copyRows, PlainDecoding, sessionsThatFit } from "./plain.ts";

const VOCAB = 288;
const TEXT = [7, 30, 4, 250, 11];

/** A source that notes the tokens and rows of each call, and can be told to fail. */
class Watched implements Source {
  readonly vocab: number;
  readonly contextLength: number;
  readonly calls: [tokens: number, rows: number][] = [];
  readonly #source: Source;
  opened = 0;
  failure: Error | null = null;

  constructor(source: Source) {
    this.#source = source;
    this.vocab = source.vocab;
    this.contextLength = source.contextLength;
  }

  open(options?: { capacity?: number }): Session {
    if (this.failure) throw this.failure;
    return this.#watch(this.#source.open(options));
  }

  /** What was called since the last look. */
  look(): [tokens: number, rows: number][] {
    return this.calls.splice(0);
  }

  #watch(session: Session): Session {
    this.opened++;
    const { calls } = this;
    const failure = () => this.failure;
    const fork = (options?: { capacity?: number }) => this.#watch(session.fork(options));
    const closed = () => this.opened--;
    return {
      get length() {
        return session.length;
      },
      get capacity() {
        return session.capacity;
      },
      async forward(tokens, rows, parents) {
        const error = failure();
        if (error) throw error;
        calls.push([tokens.length, rows ?? 1]);
        return await session.forward(tokens, rows, parents);
      },
      truncate: (length, path) => session.truncate(length, path),
      fork,
      close() {
        closed();
        session.close();
      },
    };
  }
}

describe("sources of a plan", () => {
  let models: Model[];
  beforeAll(async () => {
    models = await Promise.all(
      [1, 2, 3].map((seed) =>
        loadModel(syntheticModelBytes({ vocab: VOCAB, hidden: 32, layers: 1, seed }), {
          maxMemoryBytes: 4_000_000,
        }),
      ),
    );
  });
  afterAll(() => {
    for (const model of models) model.close();
  });

  /** The last token says which: even ones "a", odd ones "b". */
  const byParity: Plan = readPlan({
    sources: ["a", "b"],
    inputs: { odd: 1 },
    route: [{ source: "a" }, { source: "b" }],
    by: { input: "odd" },
  });
  const odd = (tokens: readonly number[]) => ({ odd: [(tokens.at(-1) ?? 0) % 2] });

  it("run when a route chooses them, and catch up in one pass", async () => {
    const [a, b] = models.map((model) => new Watched(model));
    const session = fuse(byParity, { a, b }, { inputs: odd }).open();
    await session.forward([2, 4, 6], 1);
    expect([a.look(), b.look()]).toEqual([[[3, 1]], []]);
    await session.forward([8], 1);
    expect([a.look(), b.look()]).toEqual([[[1, 1]], []]);
    const rows = await session.forward([9], 1);
    expect([a.look(), b.look()]).toEqual([[], [[5, 1]]]);
    expect(rows.row(0).slice()).toEqual(await new PlainDecoding(models[1]).rowAfter([2, 4, 6, 8, 9]));
    await session.forward([10], 1);
    expect([a.look(), b.look()]).toEqual([[[2, 1]], []]);
    session.close();
  });

  it("run on the part of a draft that needs them, and lose nothing when some of it is taken back", async () => {
    const [a, b] = models.map((model) => new Watched(model));
    const plain = models.map((model) => new PlainDecoding(model));
    const session = fuse(byParity, { a, b }, { inputs: odd }).open();
    // A chain: rows behind 2, 3, 4, 6. "a" has to compute all of it, "b" only as far as the 3.
    const rows = copyRows(await session.forward([2, 3, 4, 6], 4));
    expect([a.look(), b.look()]).toEqual([[[4, 4]], [[2, 1]]]);
    expect(rows[1]).toEqual(await plain[1].rowAfter([2, 3]));
    session.truncate(1);
    await session.forward([5], 1);
    expect([a.look(), b.look()]).toEqual([[], [[1, 1]]]);
    // A tree behind 2 5: 10, 11 behind 10, 12, 13 behind 12, 15. "a" reads the 5, 10 and 12.
    const tree = copyRows(await session.forward([10, 11, 12, 13, 15], 5, [-1, 0, -1, 2, -1]));
    expect([a.look(), b.look()]).toEqual([[[3, 2]], [[5, 4]]]);
    expect(tree[3]).toEqual(await plain[1].rowAfter([2, 5, 12, 13]));
    session.truncate(2, [2, 3]);
    const next = copyRows(await session.forward([14], 1));
    // "a" had 12, "b" all of the path.
    expect([a.look(), b.look()]).toEqual([[[2, 1]], []]);
    expect(next[0]).toEqual(await plain[0].rowAfter([2, 5, 12, 13, 14]));
    session.close();
    expect([a.opened, b.opened]).toEqual([0, 0]);
  });

  it("read a prompt along as far as it is sure that they will be needed", async () => {
    const [small, large] = models.map((model) => new Watched(model));
    const gate = fusePreset("confidence-gate", { threshold: 100 });
    const session = fuse(gate, { small, large }).open();
    await session.forward(TEXT, 0);
    await session.forward(TEXT, 0);
    await session.forward([3], 1);
    expect([small.look(), large.look()]).toEqual([
      [
        [5, 0],
        [5, 0],
        [1, 1],
      ],
      [],
    ]);
    session.close();
  });

  it("with a weight of 0 do not run", async () => {
    const [base, expert, anti] = models.map((model) => new Watched(model));
    const weighted = buildPlan("base", "expert", "anti")
      .input("w")
      .let("w", { input: "w" })
      .lin({ base: 1, expert: "w", anti: op("mul", -1, "w") });
    const session = fuse(
      weighted,
      { base, expert, anti },
      { inputs: (tokens) => ({ w: [tokens.length > 6 ? 1 : 0] }) },
    ).open();
    await session.forward(TEXT, 1);
    await session.forward([1], 1);
    expect([expert.look(), anti.look()]).toEqual([[], []]);
    await session.forward([2], 1);
    expect([base.look(), expert.look(), anti.look()]).toEqual([
      [
        [5, 1],
        [1, 1],
        [1, 1],
      ],
      [[7, 1]],
      [[7, 1]],
    ]);
    session.close();
  });

  it("that stand under two names share passes over their weights", async () => {
    const { forwardAll } = models[0];
    const sizes: number[] = [];
    const model: Source = Object.assign(Object.create(models[0]) as Model, {
      open: (options?: object) => models[0].open(options),
      forwardAll(calls: Parameters<NonNullable<typeof forwardAll>>[0]) {
        sizes.push(calls.length);
        return models[0].forwardAll!(calls);
      },
    });
    const members = { prompted: { source: model, prefix: [5, 6] }, plain: model };
    const source = fuse(fusePreset("cfg", { gamma: 2 }), members, { kernels });
    const session = source.open();
    const rows = copyRows(await session.forward(TEXT, 2));
    expect(sizes).toEqual([2]);
    const plain = new PlainDecoding(models[0]);
    const expected = evaluatePlan(fusePreset("cfg", { gamma: 2 }), {
      prompted: await plain.rowAfter([5, 6, ...TEXT]),
      plain: await plain.rowAfter(TEXT),
    });
    expect(rows[1]).toEqual(Float32Array.from(expected.row));
    expect(source.contextLength).toBe(models[0].contextLength - 2);
    session.close();
  });

  it("may be fused themselves, with draws of their own", async () => {
    const [a, b, c] = models;
    const half = fusePreset("sampled-mixture");
    const inner = fuse(half, { a, b });
    const outer = fuse(half, { a: inner, b: c });
    const session = outer.open({ seed: 4 });
    const counts = new Map<number, number>();
    const plain = [a, b, c].map((model) => new PlainDecoding(model));
    const tokens = Array.from({ length: 200 }, (_, i) => (i * 7) % VOCAB);
    const rows = copyRows(await session.forward(tokens, 200));
    for (const [index, row] of rows.entries()) {
      const text = tokens.slice(0, index + 1);
      const all = await Promise.all(plain.map((one) => one.rowAfter(text)));
      // Rows of a mixture are normalised.
      const which = all.findIndex((known) =>
        known.every((logit, id) => Math.abs(logit - known[0] - (row[id] - row[0])) < 1e-4),
      );
      expect(which).toBeGreaterThanOrEqual(0);
      counts.set(which, (counts.get(which) ?? 0) + 1);
    }
    // A quarter, a quarter, a half; three deviations of 200 draws are 0.09 and 0.11.
    expect(counts.get(0)! / 200).toBeGreaterThan(0.15);
    expect(counts.get(1)! / 200).toBeGreaterThan(0.15);
    expect(counts.get(2)! / 200).toBeGreaterThan(0.39);
    session.close();
  });

  it("may fail: nothing is appended then, and the next call goes on", async () => {
    const [a, b] = models.map((model) => new Watched(model));
    const plan = fusePreset("mixture");
    const session = fuse(plan, { a, b }, { kernels }).open();
    const other = fuse(plan, { a: models[0], b: models[1] }, { kernels }).open();
    await session.forward(TEXT, 1);
    b.failure = new RangeError("the network is gone");
    await expect(session.forward([1, 2, 3], 2)).rejects.toThrow("the network is gone");
    await expect(session.forward([1, 2, 3], 2, [-1, -1, 1])).rejects.toThrow("the network is gone");
    expect(session.length).toBe(TEXT.length);
    b.failure = null;
    const rows = copyRows(await session.forward([1, 2, 3], 2, [-1, -1, 1]));
    expect(rows).toEqual(copyRows(await other.forward([...TEXT, 2, 3], 2)));
    session.truncate(TEXT.length, [1]);
    const last = copyRows(await session.forward([9], 1));
    other.truncate(TEXT.length + 1);
    expect(last).toEqual(copyRows(await other.forward([9], 1)));
    b.failure = new RangeError("the network is gone");
    expect(() => fuse(plan, { a, b }).open()).toThrow("the network is gone");
    for (const one of [session, other]) one.close();
    expect([a.opened, b.opened]).toEqual([0, 0]);
  });

  it("answer one call of a session at a time, and none after it was closed", async () => {
    const session = fuse(fusePreset("mixture"), { a: models[0], b: models[1] }).open();
    const first = session.forward(TEXT, 1);
    const second = expect(session.forward([1], 1)).rejects;
    expect(() => session.truncate(0)).toThrow("Cannot truncate: a call of the session has not been answered");
    expect(() => session.fork()).toThrow("Cannot fork: a call of the session has not been answered");
    await second.toThrow("Cannot append: a call of the session has not been answered");
    const rows = await first;
    const row = rows.row(0).slice();
    const fork = session.fork();
    await fork.forward([4], 1);
    session.truncate(2);
    expect(rows.row(0)).toEqual(row);
    await session.forward([4], 1);
    expect(() => rows.row(0)).toThrow("Cannot read rows: their session was called again, or closed");
    session.close();
    session.close();
    fork.close();
    await expect(session.forward([1], 1)).rejects.toThrow("Cannot use session: it is closed");
    expect(() => session.fork()).toThrow("Cannot use session: it is closed");
  });

  it("give their memory back when a session is closed in the middle of a call", async () => {
    const before = models.map((model) => sessionsThatFit(model, 256));
    const session = fuse(fusePreset("mixture"), { a: models[0], b: models[1] }).open();
    const call = expect(session.forward(TEXT, 3)).rejects;
    session.close();
    await call.toThrow("Cannot use session: it is closed");
    expect(models.map((model) => sessionsThatFit(model, 256))).toEqual(before);
  });

  it("leave a row that the plan has none for to whoever looks at it", async () => {
    const plan = readPlan({
      sources: ["base"],
      source: "base",
      support: [{ allow: [5] }, { minP: 1, ties: "drop" }],
    });
    const session = fuse(plan, { base: models[0] }).open();
    const rows = await session.forward(TEXT, 2);
    expect(session.length).toBe(TEXT.length);
    expect(() => rows.row(1)).toThrow("Cannot fuse: the plan leaves no token above −∞");
    expect(() => rows.argmax(0)).toThrow(RangeError);
    expect(() => rows.logSumExp(0)).toThrow(RangeError);
    expect(rows.top(1, 3).ids.length).toBe(0);
    session.close();
  });

  it("give back all memory, also where not all of them have room", async () => {
    const options = { maxMemoryBytes: 3_000_000 };
    const bytes = (seed: number) => syntheticModelBytes({ vocab: VOCAB, contextLength: 1024, seed });
    const [large, small] = [
      await loadModel(bytes(1), options),
      await loadModel(bytes(2), { ...options, maxMemoryBytes: 2_000_000 }),
    ];
    const source = fuse(fusePreset("mixture"), { a: large, b: small });
    const fits = () => [large, small].map((model) => sessionsThatFit(model, 512));
    const before = fits();
    expect(before[0]).toBeGreaterThan(before[1]);
    for (let round = 0; round < 3; round++) {
      const held: Session[] = [];
      expect(() => {
        for (;;) held.push(held.length % 2 === 0 ? source.open({ capacity: 512 }) : held[0].fork());
      }).toThrow(/bytes are needed, .* are left/);
      expect(held.length).toBeGreaterThan(0);
      await held[0].forward(TEXT, 3);
      for (const session of held) session.close();
    }
    expect(fits()).toEqual(before);
    for (const model of [large, small]) model.close();
  });

  it("tell how each row came about, of the text that was kept", async () => {
    const [a, b] = models;
    const session = fuse(byParity, { a, b }, { inputs: odd }).open({ audit: true, promptLength: 3 });
    await session.forward([2, 4, 6], 1);
    await session.forward([8, 9, 11], 3);
    const choices = () => session.audits().map(({ routes }) => routes[0].choice);
    expect(choices()).toEqual([0, 0, 1, 1]);
    session.truncate(4);
    await session.forward([11, 10, 13], 3, [-1, 0, -1]);
    expect(choices()).toEqual([0, 0]);
    session.truncate(4, [0, 1]);
    expect(choices()).toEqual([0, 0, 1, 0]);
    const [audit] = session.audits();
    expect(audit.sources).toEqual(["a"]);
    const rows = await session.forward([20], 1);
    const p = Array.from(rows.row(0), (logit) => Math.exp(logit - rows.logSumExp(0)));
    const entropy = -p.reduce((sum, one) => sum + one * Math.log(one), 0);
    expect(session.audits().at(-1)!.entropy).toBeCloseTo(entropy, 4);
    session.close();
  });

  it("of another vocabulary read the text", async () => {
    const other = await loadModel(
      syntheticModelBytes({ vocab: 512, hidden: 32, layers: 1, seed: 9, tokenizer: "llama" }),
    );
    const [model] = models;
    const projection = {
      kind: "projection" as const,
      vocabulary: "other",
      vocab: VOCAB,
      offsets: Array.from({ length: 513 }, (_, i) => i),
      ids: Array.from({ length: 512 }, (_, i) => i % VOCAB),
      values: new Array<number>(512).fill(1),
    };
    const plan = fusePreset("x-token");
    const options = { tables: { other: projection }, kernels };
    const source = fuse(plan, { base: model, other: bridgeText(model.tokenizer, other) }, options);
    const session = source.open();
    const text = "Red ball, blue båll";
    const tokens = model.tokenizer.encode(text);
    const rows = copyRows(await session.forward(tokens, tokens.length));
    const [plainBase, plainOther] = [new PlainDecoding(model), new PlainDecoding(other)];
    const stream = model.tokenizer.stream();
    // The one byte of a character that is not whole, as the other model spells it.
    const byte = (value: number) =>
      Array.from({ length: 512 }, (_, id) => id).find((id) => `${other.tokenizer.bytes(id)}` === `${value}`)!;
    let read = "";
    let halves = 0;
    for (const [index, token] of tokens.entries()) {
      read += stream.push(token);
      const half = stream.holding ? [byte(model.tokenizer.bytes(token)[0])] : [];
      halves += half.length;
      const ids = [...other.tokenizer.encode(read), ...half];
      const truth = evaluatePlan(
        plan,
        {
          base: await plainBase.rowAfter(tokens.slice(0, index + 1)),
          other: await plainOther.rowAfter(ids.length > 0 ? ids : [other.tokenizer.bos!]),
        },
        options,
      );
      expect(rows[index]).toEqual(Float32Array.from(truth.row));
    }
    expect(halves).toBe(1);
    // Back, on by a tree, and on from a path of it.
    session.truncate(3);
    const tree = copyRows(await session.forward(tokens.slice(3, 6), 3, [-1, 0, 0]));
    expect(tree[1]).toEqual(rows[4]);
    session.truncate(3, [0, 1]);
    const fork = session.fork();
    expect(copyRows(await fork.forward([tokens[5]], 1))[0]).toEqual(rows[5]);
    for (const one of [session, fork]) one.close();
    expect(() => fuse(plan, { base: model, other }, options)).toThrow(
      '"sources.other" must read the tokens of the result, as `bridgeText` makes it, as its own are of vocabulary "other"',
    );
    other.close();
  });

  it("are refused with the path of what is wrong, before anything runs", async () => {
    const [a, b] = models;
    const wide = await loadModel(syntheticModelBytes({ vocab: 300, hidden: 32, layers: 1 }));
    const plan = fusePreset("mixture");
    const refused = (sources: unknown, message: string, other: Plan = plan, options = {}) =>
      expect(() => fuse(other, sources as never, options), message).toThrow(message);
    refused({ a }, '"sources.b" must be a source, got undefined');
    refused({ a, b: 7 }, '"sources.b" must be a source, got number');
    refused({ a, b: null }, '"sources.b" must be a source');
    refused({ a, b, c: b }, '"sources" must be of a, b, got "c"');
    refused(
      { a, b: { source: b, prefix: "text" } },
      '"sources.b.prefix" must be an array of token ids, got string',
    );
    refused(
      { a, b: { source: b, prefix: [1, VOCAB] } },
      '"sources.b.prefix[1]" must be an integer from 0 to 287, got 288',
    );
    refused(
      { a, b: { source: b, prefix: new Array(256).fill(1) } },
      '"sources.b.prefix" must be shorter than the context of its source, 256 tokens, got 256',
    );
    refused({ a, b: wide }, '"sources.b" must have 288 tokens, as "sources.a" has, got 300');
    const padded = readPlan({
      sources: [
        { name: "a", vocab: VOCAB },
        { name: "b", vocab: VOCAB },
      ],
      mix: [{ source: "a" }, { source: "b" }],
    });
    expect(fuse(padded, { a, b: wide }).vocab).toBe(VOCAB);
    const more = readPlan({ sources: [{ name: "a", vocab: 400 }], source: "a" });
    refused({ a }, '"sources.a" must have rows of at least 400 values, as the plan reads, got 288', more);
    const prior = readPlan({
      sources: ["a"],
      tables: { prior: { kind: "dense", values: [1, 2] } },
      lin: [{ source: "a" }, { table: "prior" }],
    });
    refused({ a }, '"plan.tables.prior" must have 288 tokens, as "sources.a" has, got 2', prior);
    refused({ a, b }, '"inputs.odd" must be given, got undefined', byParity);
    refused({ base: a }, '"tables.graph" must be given, got undefined', fusePreset("grad"));
    expect(() => fuse({ sources: ["a"], source: "x" }, { a })).toThrow(
      '"plan.source" must be one of a, got "x"',
    );
    const source = fuse(plan, { a, b });
    expect(() => source.open({ capacity: 0 })).toThrow('"capacity" must be an integer from 1 to 256, got 0');
    expect(() => source.open({ promptLength: 0 })).toThrow('"promptLength" must be an integer from 1');
    expect(() => source.open({ seed: -1 })).toThrow('"seed" must be an integer from 0');
    const session = source.open({ capacity: 6 });
    await expect(session.forward([VOCAB])).rejects.toThrow(
      '"tokens[0]" must be an integer from 0 to 287, got 288',
    );
    await session.forward(TEXT, 0);
    await expect(session.forward([1, 2])).rejects.toThrow(
      "Cannot append 2 tokens: the session holds 5 of at most 6",
    );
    expect(() => session.fork({ capacity: 4 })).toThrow('"capacity" must be an integer from 5 to 256, got 4');
    const strange = a.open();
    await expect(source.forwardAll([{ session: strange, tokens: [1] }])).rejects.toThrow(
      '"calls[0].session" must be a session of this source',
    );
    await expect(
      source.forwardAll([session, session].map((one) => ({ session: one, tokens: [1] }))),
    ).rejects.toThrow('"calls[1].session" must be another one');
    for (const one of [session, strange]) one.close();
    wide.close();
  });
});
