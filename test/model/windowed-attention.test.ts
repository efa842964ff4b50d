/** Layers that look at a window of positions: what they see, and the same bits however a sequence is cut. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { divergence, logSoftmax } from "../../bench/oracle/divergence.ts";
import { Oracle } from "../../bench/oracle/forward.ts";
import { parseGguf } from "../../bench/oracle/gguf.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { ENGINES } from "../engine/engines.ts";
import { copyRows, PlainDecoding, pathTo, randomParents } from "../engine/plain.ts";
import { array, bool, u32 } from "../support/gguf-writer.ts";
import { createRandom } from "../support/random.ts";
import { type SyntheticModelOptions, syntheticModelBytes } from "../support/synthetic-model.ts";

const VOCAB = 400;

/** Layers 0 to 4 and 6 look at 24 positions, layer 5 at all. */
const GEMMA: SyntheticModelOptions = { architecture: "gemma3", type: "Q8_0", vocab: VOCAB };

const tokensOf = (seed: number, count: number) => {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => random.below(VOCAB));
};

describe.each(ENGINES)("gemma3 beyond its window, on %s", (_, options) => {
  const TEXT = tokensOf(1, 110);
  let model: Model;
  let plain: PlainDecoding;
  /** Row i follows TEXT[i]. */
  let expected: Float32Array[];

  beforeAll(async () => {
    model = await loadModel(syntheticModelBytes(GEMMA), options);
    plain = new PlainDecoding(model);
    const session = model.open();
    expected = copyRows(await session.forward(TEXT, TEXT.length));
    session.close();
  });
  afterAll(() => model.close());

  it.each([
    ["one by one", TEXT.map(() => 1)],
    ["in chunks", [23, 1, 2, 33, 9, 42]],
    ["in others", [24, 64, 22]],
  ])("has the same rows %s", async (_name, chunks) => {
    const session = model.open();
    for (const count of chunks) {
      const start = session.length;
      const rows = copyRows(await session.forward(TEXT.slice(start, start + count), count));
      expect(rows).toEqual(expected.slice(start, start + count));
    }
    expect(session.length).toBe(TEXT.length);
    session.close();
  });

  it.each([0, 1, 23, 24, 25, 63, 64, 65, 100])("has them again after going back to %i", async (length) => {
    const session = model.open();
    await session.forward(TEXT, 0);
    session.truncate(length);
    // Other tokens in the places that are looked at again.
    await session.forward(tokensOf(2, 30), 0);
    session.truncate(length);
    const rows = copyRows(await session.forward(TEXT.slice(length), TEXT.length - length));
    expect(rows).toEqual(expected.slice(length));
    session.close();
  });

  it("has them in forks and in sequences that share a pass", async () => {
    const parent = model.open();
    await parent.forward(TEXT.slice(0, 70), 0);
    const forks = [parent.fork(), parent.fork()];
    await parent.forward(tokensOf(3, 20), 0);
    const calls = forks.map((session) => ({ session, tokens: TEXT.slice(70, 100), rows: 30 }));
    for (const rows of await model.forwardAll!(calls))
      expect(copyRows(rows)).toEqual(expected.slice(70, 100));
    for (const session of [parent, ...forks]) session.close();
  });

  it("has them on the paths of trees", async () => {
    const random = createRandom(4);
    const session = model.open();
    for (const length of [20, 64, 90]) {
      session.truncate(0);
      await session.forward(TEXT.slice(0, length), 0);
      const nodes = tokensOf(length, 40);
      const parents = randomParents(random, nodes.length);
      const rows = copyRows(await session.forward(nodes, nodes.length, parents));
      for (const [node, row] of rows.entries()) {
        const path = pathTo(parents, node).map((each) => nodes[each]);
        expect(row, `node ${node} of ${parents}`).toEqual(
          await plain.rowAfter([...TEXT.slice(0, length), ...path]),
        );
      }
      const kept = pathTo(parents, nodes.length - 1);
      session.truncate(length, kept);
      const [next] = copyRows(await session.forward([7]));
      const text = [...TEXT.slice(0, length), ...kept.map((node) => nodes[node]), 7];
      expect(next).toEqual(await plain.rowAfter(text));
    }
    session.close();
  });
});

describe.each(ENGINES)("a window, on %s", (_, options) => {
  const rowsOf = async (file: Uint8Array, tokens: readonly number[]) => {
    const model = await loadModel(file, options);
    const session = model.open();
    const rows = copyRows(await session.forward(tokens, tokens.length));
    model.close();
    return rows;
  };

  it.each([1, 4, 9, 70])("of %i holds that many positions, the last one included", async (window) => {
    // One layer: what it does not look at does not reach the row in any other way.
    const file = syntheticModelBytes({ layers: 1, window, vocab: VOCAB });
    const tokens = tokensOf(5, 100);
    const rows = await rowsOf(file, tokens);
    for (const changed of [0, 3, 50]) {
      const others = tokens.map((token, at) => (at === changed ? (token + 1) % VOCAB : token));
      const moved = await rowsOf(file, others);
      const differing = rows.map((row, at) => !row.every((logit, i) => Object.is(logit, moved[at][i])));
      expect(differing).toEqual(rows.map((_row, at) => at >= changed && at < changed + window));
    }
  });

  it.each<[string, SyntheticModelOptions]>([
    ["of all layers of a llama", { window: 11 }],
    ["of every second layer", { window: 11, metadata: { "llama.attention.sliding_window_pattern": u32(2) } }],
    [
      "of the layers that a file lists",
      {
        window: 30,
        layers: 3,
        metadata: {
          "llama.attention.sliding_window_pattern": array("bool", [false, true, false].map(bool)),
        },
      },
    ],
    ["of a qwen3", { architecture: "qwen3", window: 3, ropeScaling: "linear" }],
  ])("%s gives the rows of the definition", async (_name, shape) => {
    const file = syntheticModelBytes({ ...shape, type: "F32", vocab: VOCAB });
    const tokens = tokensOf(6, 80);
    const oracle = new Oracle(parseGguf(file));
    const truth = oracle.forward(tokens);
    const rows = await rowsOf(file, tokens);
    const mean =
      rows.reduce((sum, row, at) => {
        const expected = truth.subarray(at * oracle.vocab, (at + 1) * oracle.vocab);
        return sum + divergence(logSoftmax(expected), logSoftmax(row));
      }, 0) / rows.length;
    expect(mean).toBeLessThan(1e-7);
  });
});
