/** Running ahead of a text: the rows stay what they are, and what was not meant leaves no trace. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { aheadOf } from "../../src/engine/ahead.ts";
import { Batcher } from "../../src/engine/batch.ts";
import { planModel } from "../../src/engine/load-model.ts";
import { LocalSession } from "../../src/engine/session.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { Fingerprint } from "../../src/format/fingerprint.ts";
import { Llama } from "../../src/model/llama.ts";
import { loadWeights } from "../../src/model/weights.ts";
import { createReferenceBackend, loadModel, type Model, readGguf, type Session } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { copyRows, PlainDecoding, pathTo, randomParents, sessionsThatFit } from "./plain.ts";

const VOCAB = 320;
const BYTES = syntheticModelBytes({ type: "Q8_0", vocab: VOCAB });

const tokensOf = (random: Random, count: number) => Array.from({ length: count }, () => random.below(VOCAB));

describe.each(ENGINES)("running ahead on %s", (_, options) => {
  let model: Model;
  let plain: PlainDecoding;
  beforeAll(async () => {
    model = await loadModel(BYTES, options);
    plain = new PlainDecoding(model);
  });
  afterAll(() => model.close());

  /** Of the tokens that were run: the head knows all of so small a vocabulary, so its row is the model's own. */
  const rowAhead = async (session: Session, tokens: readonly number[]) => {
    const ahead = aheadOf(session)!;
    const head = ahead.openHead();
    const row = (await head.read(await ahead.run(tokens))).row().slice();
    head.close();
    return row;
  };

  it("leaves the state that the row is made of, and the session as it was", async () => {
    const session = model.open();
    const text = tokensOf(createRandom(1), 70);
    const rows = await session.forward(text, 2);
    const path: number[] = [];
    for (const token of tokensOf(createRandom(2), 5)) {
      path.push(token);
      expect(await rowAhead(session, path)).toEqual(await plain.rowAfter([...text, ...path]));
    }
    // Another branch, of which the beginning is there, and one of which all is.
    for (const other of [[...path.slice(0, 2), 7, 8], path.slice(0, 1)]) {
      expect(await rowAhead(session, other)).toEqual(await plain.rowAfter([...text, ...other]));
    }
    expect(session.length).toBe(70);
    expect(rows.row(1)).toEqual(await plain.rowAfter(text));
    session.close();
  });

  it.each([0, 1, 4, 30, 64])("gives the rows of plain decoding, of %i tokens ahead", async (count) => {
    const text = tokensOf(createRandom(3), 61);
    const path = tokensOf(createRandom(count), count);
    const more = [5, 6, 7];
    for (const end of [0, 1, 3]) {
      const call = [...path, ...more.slice(0, end)];
      if (call.length === 0) continue;
      for (const wanted of new Set([0, 1, Math.ceil(call.length / 2), call.length])) {
        const session = model.open();
        await session.forward(text, 0);
        if (count > 0) await aheadOf(session)!.run(path);
        const rows = copyRows(await session.forward(call, wanted));
        expect(session.length).toBe(text.length + call.length);
        for (const [i, row] of rows.entries()) {
          const last = call.length - wanted + i + 1;
          expect(row).toEqual(await plain.rowAfter([...text, ...call.slice(0, last)]));
        }
        session.close();
      }
    }
  });

  it("works in a batch, but not while a call waits", async () => {
    const batcher = new Batcher(model);
    const [one, other] = [batcher.open(), batcher.open()];
    await Promise.all([one.forward([1]), other.forward([2])]);
    expect(await rowAhead(one, [3])).toEqual(await plain.rowAfter([1, 3]));
    const [rows, others] = await Promise.all([one.forward([3, 4], 2), other.forward([5, 6], 2)]);
    expect(rows.row(0).slice()).toEqual(await plain.rowAfter([1, 3]));
    expect(rows.row(1).slice()).toEqual(await plain.rowAfter([1, 3, 4]));
    expect(others.row(1).slice()).toEqual(await plain.rowAfter([2, 5, 6]));
    const call = one.forward([7]);
    await expect(aheadOf(one)!.run([7])).rejects.toThrow("Cannot run ahead: a call of the session");
    await call;
    for (const session of [one, other]) session.close();
    const remote = new Batcher({ vocab: 9, contextLength: 9, open: () => ({ ...one }) as Session });
    expect(aheadOf(remote.open())).toBeUndefined();
  });

  it("refuses what forward would refuse, and more than 64 tokens", async () => {
    const session = model.open({ capacity: 80 });
    await session.forward([1, 2, 3], 0);
    const run = aheadOf(session)!.run;
    await expect(run([])).rejects.toThrow('"tokens.length" must be an integer from 1 to 64, got 0');
    await expect(run(tokensOf(createRandom(1), 65))).rejects.toThrow("from 1 to 64, got 65");
    await expect(run([VOCAB])).rejects.toThrow('"tokens[0]" must be an integer from 0 to 319, got 320');
    await session.forward(tokensOf(createRandom(1), 70), 0);
    await expect(run(tokensOf(createRandom(1), 8))).rejects.toThrow("the session holds 73 of at most 80");
    await session.forward([1, 2], 1, [-1, -1]);
    await expect(run([1])).rejects.toThrow("Cannot append: the session holds a tree");
    session.close();
    await expect(run([1])).rejects.toThrow("Cannot use session: it is closed");
  });

  it("says so where there is no memory for states or rows, and goes on without", async () => {
    const bytes = syntheticModelBytes({ type: "Q8_0", vocab: VOCAB, contextLength: 1024 });
    const small = await loadModel(bytes, { ...options, maxMemoryBytes: 3_000_000 });
    const session = small.open({ capacity: 20 });
    await session.forward([1, 2], 0);
    const ahead = aheadOf(session)!;
    const held: { close(): void }[] = [];
    const fill = (open: () => { close(): void }) => {
      for (;;) held.push(open());
    };
    expect(() => fill(() => small.open({ capacity: 64 }))).toThrow(/bytes are needed, .* are left/);
    expect(() => fill(() => ahead.openHead())).toThrow(/bytes are needed, .* are left/);
    await expect(ahead.run([3])).rejects.toThrow(/bytes are needed, .* are left/);
    expect((await session.forward([3])).row(0).slice()).toEqual(await plain.rowAfter([1, 2, 3]));
    for (const one of held) one.close();
    await ahead.run([4]);
    expect((await session.forward([4])).row(0).slice()).toEqual(await plain.rowAfter([1, 2, 3, 4]));
    small.close();
  });

  it.each([1, 2])("in random programs leaves no trace, and gives all memory back: %i", async (seed) => {
    const small = await loadModel(BYTES, { ...options, maxMemoryBytes: 6_000_000 });
    const random = createRandom(seed);
    const warm = [small.open(), small.open()];
    await small.forwardAll!(warm.map((session) => ({ session, tokens: tokensOf(random, 16), rows: 16 })));
    for (const session of warm) session.close();
    const fit = sessionsThatFit(small, 200);
    const held: { session: Session; text: number[]; path: number[] }[] = [];
    for (let step = 0; step < (options.backend === "reference" ? 60 : 200); step++) {
      const one = held[random.below(held.length)];
      const kind = random.below(10);
      if (one === undefined || (kind === 0 && held.length < 5)) {
        held.push({ session: small.open({ capacity: 200 }), text: [], path: [] });
      } else if (kind === 1 && held.length < 5) {
        held.push({ session: one.session.fork(), text: [...one.text], path: [...one.path] });
      } else if (kind === 2) {
        one.session.close();
        held.splice(held.indexOf(one), 1);
      } else if (kind === 3) {
        one.text.length = random.below(one.text.length + 1);
        one.session.truncate(one.text.length);
      } else if (kind < 7) {
        const room = 200 - one.text.length;
        one.path = [...one.path.slice(0, random.below(4)), ...tokensOf(random, 1 + random.below(6))];
        one.path.length = Math.min(one.path.length, room);
        if (room > 0) await aheadOf(one.session)!.run(one.path);
      } else {
        const some = kind === 7 ? held.filter(() => random.below(2) > 0) : [one];
        await forwardSome(small, plain, some, random);
      }
    }
    for (const { session } of held) session.close();
    expect(sessionsThatFit(small, 200)).toBe(fit);
    small.close();
  });
});

it("does not run the layers again", async () => {
  const backend = createReferenceBackend();
  const embed = backend.embed.bind(backend);
  /** Columns that went through the layers. */
  let columns = 0;
  backend.embed = (out, weights, tokens) => {
    columns += tokens.length;
    embed(out, weights, tokens);
  };
  const reader = ByteReader.from(BYTES);
  const { config, plan } = planModel(await readGguf(reader));
  const weights = await loadWeights(backend, reader, plan, config, new Fingerprint());
  const session = LocalSession.open({ backend, model: new Llama(backend, config, weights, 256) }, 100);
  const columnsOf = async (call: () => Promise<unknown>) => {
    const before = columns;
    await call();
    return columns - before;
  };
  const { run } = session.ahead!;
  expect(await columnsOf(() => session.forward([1, 2, 3], 0))).toBe(3);
  expect(await columnsOf(() => run([4, 5]))).toBe(2);
  expect(await columnsOf(() => run([4, 5, 6]))).toBe(1);
  expect(await columnsOf(() => run([4]))).toBe(0);
  expect(await columnsOf(() => run([4, 9]))).toBe(1);
  expect(await columnsOf(() => session.forward([4, 9, 7], 3))).toBe(1);
  // The rest was forgotten, and so is what is behind a text that changes.
  expect(await columnsOf(() => session.forward([8, 8], 2))).toBe(2);
  await run([1, 2]);
  session.truncate(5);
  expect(await columnsOf(() => session.forward([1, 2, 3], 0))).toBe(3);
  session.close();
});

/** Of each a call that begins with some of what it ran ahead, or with nothing of it; looks at all rows of chains. */
async function forwardSome(
  model: Model,
  plain: PlainDecoding,
  some: readonly { session: Session; text: number[]; path: number[] }[],
  random: Random,
): Promise<void> {
  const calls = some.map(({ session, text, path }) => {
    const begin = path.slice(0, random.below(path.length + 1));
    const tokens = [...begin, ...tokensOf(random, random.below(4))].slice(0, 200 - text.length);
    const parents = random.below(5) === 0 ? randomParents(random, tokens.length) : undefined;
    return { session, tokens, rows: random.below(tokens.length + 1), parents };
  });
  const results = (await model.forwardAll!(calls)).map(copyRows);
  for (const [index, { session, tokens, rows, parents }] of calls.entries()) {
    const { text } = some[index];
    const paths = parents ?? tokens.map((_, i) => i - 1);
    for (const [row, found] of results[index].entries()) {
      const path = pathTo(paths, tokens.length - rows + row).map((node) => tokens[node]);
      expect(found).toEqual(await plain.rowAfter([...text, ...path]));
    }
    const kept = tokens.length === 0 ? [] : pathTo(paths, random.below(tokens.length));
    session.truncate(text.length, kept);
    text.push(...kept.map((node) => tokens[node]));
  }
}
