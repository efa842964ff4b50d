/** Heads that draft where rows lie on another device, on a backend that draws the same way and answers at once. */
import { describe, expect, it } from "vitest";
import type { Backend, Floats, Matrix } from "../../../src/backend/backend.ts";
import type { DrawnToken } from "../../../src/backend/draw-kernels.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createPipeline } from "../../../src/decoding/pipeline.ts";
import { encodeWeights } from "../../../src/format/blocks.ts";
import { DenseHead } from "../../../src/model/head/dense-head.ts";
import { LateDraft } from "../../../src/model/head/late-draft.ts";
import { lateShortlist, ShortlistHead } from "../../../src/model/shortlist-head.ts";
import { createRandom } from "../../support/random.ts";

const [D, VOCAB] = [32, 9002];
/** An eighth, in whole tiles. */
const PREFIX = 1128;

function opened(): { backend: Backend; matrix: Matrix; state: Floats } {
  const random = createRandom(4);
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const backend = createReferenceBackend();
  const writer = backend.matrix("Q8_0", VOCAB, D);
  writer.write(encodeWeights("Q8_0", normals(VOCAB * D)));
  const state = backend.floats(D);
  backend.write(state, normals(D));
  return { backend, matrix: writer.finish(), state };
}

describe("a late draft head", () => {
  it("has the row of a shortlist, with what it has learned and not forgotten", async () => {
    const { backend, matrix, state } = opened();
    const late = lateShortlist(backend, matrix);
    const plain = new ShortlistHead(backend, matrix);
    const steps = [
      [],
      [5, PREFIX, 5001, 5002, 8999, 9001],
      Array.from({ length: 60 }, (_, i) => 2000 + 4 * i),
    ];
    for (const tokens of steps) {
      for (const head of [late, plain]) head.learn(tokens);
      const row = await (await late.read(state)).late!.load();
      expect(row).toEqual((await plain.read(state)).row());
      expect(late.bytes).toBe(plain.bytes);
    }
    // 63 tiles are known, and these are more than there is room for: the first ones go.
    late.learn([7000, 7004, 7008]);
    const row = await (await late.read(state)).late!.load();
    expect(row.every(Number.isFinite)).toBe(false);
    expect([PREFIX, 5001, 8999, 7000, 7008].map((token) => Number.isFinite(row[token]))).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
  });

  it("draws from the row what a pipeline draws", async () => {
    const { backend, matrix, state } = opened();
    const dense = new DenseHead(backend, matrix);
    const { bytes } = dense;
    const make = (given: Floats, row: Floats) => dense.rows(given, 1, row);
    const { late } = await new LateDraft(backend, { vocab: VOCAB, bytes, make }).read(state);
    const pipeline = createPipeline([{ step: "temperature", temperature: 1.5 }]);
    const row = await late!.load();
    for (let position = 1; position < 20; position++) {
      const where = { history: new Array(position).fill(1), promptLength: 1, seed: 7 };
      const drawn = (await late!.draw(pipeline.drawTask(VOCAB, where)!)) as DrawnToken;
      expect(drawn.token).toBe(pipeline.sample(row, where).token);
    }
  });

  it("refuses rows that are not loaded, or of an earlier call, and gives its memory back", async () => {
    const { backend, matrix, state } = opened();
    const before = backend.usedBytes;
    const head = lateShortlist(backend, matrix);
    expect(backend.usedBytes - before).toBeGreaterThanOrEqual(4 * VOCAB);
    const first = await head.read(state);
    expect(() => first.row()).toThrow(
      "Cannot read a draft's row: it is on another device, and must be loaded first",
    );
    expect(() => first.top(1)).toThrow(TypeError);
    await head.read(state);
    await expect(first.late!.load()).rejects.toThrow("Cannot read a draft's row: its head was called again");
    head.close();
    expect(backend.usedBytes).toBe(before);
  });
});
