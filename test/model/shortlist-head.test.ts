import { beforeEach, describe, expect, it } from "vitest";
import type { Backend, Floats, Matrix } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import { encodeWeights } from "../../src/format/blocks.ts";
import { ShortlistHead } from "../../src/model/shortlist-head.ts";
import { kernelModules } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";

const D = 32;
/** The last tile has two rows. */
const VOCAB = 9002;
/** An eighth, in whole tiles. */
const PREFIX = 1128;

const { simd } = await kernelModules();

describe.each([
  ["wasm", () => createWasmBackend(simd)],
  ["reference", () => createReferenceBackend()],
])("a shortlist head on %s", (_, create) => {
  let backend: Backend;
  let matrix: Matrix;
  let state: Floats;
  /** What the whole head gives. */
  let logits: Float32Array;

  beforeEach(() => {
    const random = createRandom(4);
    const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    backend = create();
    const writer = backend.matrix("Q8_0", VOCAB, D);
    writer.write(encodeWeights("Q8_0", normals(VOCAB * D)));
    matrix = writer.finish();
    state = backend.floats(D);
    backend.write(state, normals(D));
    const out = backend.floats(Math.ceil(VOCAB / 4) * 4);
    backend.matmul(state, 1, [{ weights: matrix, out }]);
    logits = (backend.read(out) as Float32Array).slice(0, VOCAB);
    backend.free(out);
  });

  /** The whole head's row, but for tokens that are not in `known`. */
  const only = (known: (token: number) => boolean) =>
    logits.map((logit, token) => (known(token) ? logit : -Infinity));

  it("gives the first tokens of the vocabulary the logits of the whole head, to the bit", async () => {
    const head = new ShortlistHead(backend, matrix);
    expect(head.bytes).toBe(backend.matrixBytes("Q8_0", PREFIX, D));
    const row = await head.read(state);
    expect(row.row()).toEqual(only((token) => token < PREFIX));
    const { ids, logits: best } = row.top(5);
    const expected = [...row.row().keys()].sort((a, b) => row.row()[b] - row.row()[a]).slice(0, 5);
    expect(Array.from(ids)).toEqual(expected);
    expect(Array.from(best)).toEqual(expected.map((token) => logits[token]));
    head.close();
  });

  it("learns the tokens of a text, with their neighbours in the matrix", async () => {
    const head = new ShortlistHead(backend, matrix);
    head.learn([5, PREFIX, 5001, 5002, 8999, 9001]);
    const tiles = new Set([PREFIX / 4, 1250, 2249]);
    const row = await head.read(state);
    // Of the last tile, which is not whole, nothing is known.
    const known = (token: number) => token < PREFIX || tiles.has(Math.floor(token / 4));
    expect(row.row()).toEqual(only(known));
    const { ids } = row.top(VOCAB);
    expect(ids.length).toBe(PREFIX + 12);
    expect(Array.from(ids).every((token, i) => i === 0 || logits[token] <= logits[ids[i - 1]])).toBe(true);
    expect([...ids].filter((token) => !known(token))).toEqual([]);
    head.close();
  });

  it("forgets what was used longest ago", async () => {
    const head = new ShortlistHead(backend, matrix);
    const first = PREFIX / 4;
    const tokens = Array.from({ length: 256 }, (__, i) => (first + i) * 4);
    head.learn(tokens);
    // The first is used again, so the second is the oldest.
    head.learn([tokens[0], 8000]);
    const row = await head.read(state);
    const isOld = (token: number) => Math.floor(token / 4) === first + 1;
    expect(row.row()).toEqual(
      only((token) => (token < PREFIX + 1024 && !isOld(token)) || Math.floor(token / 4) === 2000),
    );
    head.close();
  });

  it("takes a row's memory and gives it back, and refuses rows of an earlier call", async () => {
    const before = backend.usedBytes;
    const head = new ShortlistHead(backend, matrix);
    expect(backend.usedBytes - before).toBeGreaterThanOrEqual(4 * PREFIX);
    const row = await head.read(state);
    const next = await head.read(state);
    expect(() => row.row()).toThrow("Cannot read a draft's row: its head was called again");
    head.close();
    expect(() => next.top(1)).toThrow(TypeError);
    expect(backend.usedBytes).toBe(before);
  });
});
