/** Likelihoods that a session tells without rows, against its rows. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { score } from "../../src/decoding/score.ts";
import { backendOf } from "../../src/engine/model-backend.ts";
import type { Session } from "../../src/engine/source.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

const TEXT = Array.from({ length: 91 }, (_, i) => (i * 37 + 5) % 512);
const TOKENS = TEXT.slice(0, -1);
const TARGETS = TEXT.slice(1);

describe.each(ENGINES)("likelihoods of a session on %s", (_, options) => {
  let model: Model;
  let expected: number[];
  const nllOf = (session: Session, tokens: readonly number[], targets: readonly number[]) =>
    session.nll!(tokens, targets);

  beforeAll(async () => {
    model = await loadModel(syntheticModelBytes({ type: "Q8_0" }), options);
    const session = model.open();
    const rows = await session.forward(TOKENS, TOKENS.length);
    expected = TARGETS.map((token, i) => score("nll", { row: rows.row(i), token }).value);
    session.close();
  });
  afterAll(() => model.close());

  it.each([90, 33, 32, 7, 1])("are those of its rows, to the last bit, %i tokens to a call", async (size) => {
    const session = model.open();
    const found: number[] = [];
    for (let at = 0; at < TOKENS.length; at += size) {
      found.push(...(await nllOf(session, TOKENS.slice(at, at + size), TARGETS.slice(at, at + size))));
      expect(session.length).toBe(Math.min(at + size, TOKENS.length));
    }
    expect(found).toEqual(expected);
    session.close();
  });

  it("leave the session where rows would have left it", async () => {
    const [told, asked] = [model.open(), model.open()];
    await nllOf(told, TOKENS.slice(0, 40), TARGETS.slice(0, 40));
    await asked.forward(TOKENS.slice(0, 40));
    const rows = await Promise.all([told, asked].map((session) => session.forward(TOKENS.slice(40, 50), 10)));
    for (let i = 0; i < 10; i++) expect(rows[0].row(i)).toEqual(rows[1].row(i));
    told.truncate(45);
    expect(Array.from(await nllOf(told, TOKENS.slice(45, 60), TARGETS.slice(45, 60)))).toEqual(
      expected.slice(45, 60),
    );
    const fork = told.fork();
    expect(Array.from(await nllOf(fork, [TOKENS[60]], [TARGETS[60]]))).toEqual([expected[60]]);
    for (const session of [told, asked, fork]) session.close();
  });

  it("take no memory that grows with their number, and give it back", async () => {
    const backend = backendOf(model)!;
    const session = model.open();
    const allocated: number[] = [];
    const { floats } = backend;
    backend.floats = (length) => {
      allocated.push(length);
      return floats.call(backend, length);
    };
    await nllOf(session, TOKENS.slice(0, 50), TARGETS.slice(0, 50));
    Reflect.deleteProperty(backend, "floats");
    // States of one pass, and a tile of the vocabulary, which is smaller than one of these.
    expect(allocated.length).toBe(2);
    expect(allocated[1]).toBe(32 * 512);
    const used = backend.usedBytes;
    await nllOf(session, TOKENS.slice(50), TARGETS.slice(50));
    expect(backend.usedBytes).toBe(used);
    session.close();
  });

  it("refuse what is no call, and nothing is appended", async () => {
    const session = model.open({ capacity: 4 });
    const refused = async (tokens: number[], targets: number[], message: string) => {
      await expect(nllOf(session, tokens, targets)).rejects.toThrow(message);
      expect(session.length).toBe(0);
    };
    await refused([1, 2], [1], '"targets.length" must be an integer from 2 to 2, got 1');
    await refused([1, 2], [1, 512], '"targets[1]" must be an integer from 0 to 511, got 512');
    await refused([1, -2], [1, 2], '"tokens[1]" must be an integer from 0 to 511, got -2');
    await refused([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "Cannot append 5 tokens");
    expect(Array.from(await nllOf(session, [], []))).toEqual([]);
    const waiting = nllOf(session, [1], [2]);
    session.close();
    await expect(waiting).rejects.toThrow("Cannot go on with likelihoods: their session was called again");
    await expect(nllOf(session, [1], [2])).rejects.toThrow("it is closed");
  });
});
