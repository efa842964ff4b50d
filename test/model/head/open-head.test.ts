/** A head by itself: what it tells of states, against the rows of the model that it is of. */
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import { compressHead } from "../../../src/compress/compress-head.ts";
import { openModel } from "../../../src/compress/opened.ts";
import { gatherFromModel } from "../../../src/compress/states.ts";
import { createPipeline } from "../../../src/decoding/pipeline.ts";
import { encodeWeights } from "../../../src/format/blocks.ts";
import { editGguf, openGguf } from "../../../src/format/gguf-write.ts";
import { type HeadTensor, kernelModules, loadModel, openHead } from "../../../src/node.ts";
import { createRandom } from "../../support/random.ts";
import { syntheticModelBytes } from "../../support/synthetic-model.ts";

const VOCAB = 300;
const TOKENS = [3, 1, 4, 1, 5, 9];
const FILE = syntheticModelBytes({ vocab: VOCAB, type: "Q8_0" });
const TIED = syntheticModelBytes({ vocab: VOCAB, type: "Q8_0", tied: true });

const modules = await kernelModules();
const wasm = () => createWasmBackend(modules.simd);

async function written(file: Uint8Array, edit: Parameters<typeof editGguf>[1]): Promise<Uint8Array> {
  const source = await openGguf(async (from, to) => file.subarray(from, to), file.length);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(Uint8Array.from(piece));
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** States of a text that the model writes. */
async function statesOf(file: Uint8Array, count: number): Promise<Float32Array[]> {
  const opened = await openModel(file, modules);
  const { fitted } = await gatherFromModel(opened, count, 1, () => {});
  const { hidden } = opened.head;
  return Array.from({ length: count }, (_, i) => fitted.values.slice(i * hidden, (i + 1) * hidden));
}

/** The rows of the model's own head, by the kernels. */
async function rowsOf(file: Uint8Array, states: readonly Float32Array[]): Promise<Float32Array[]> {
  const { backend, weights } = await openModel(file, modules);
  const [state, out] = [backend.floats(states[0].length), backend.floats(VOCAB + 4)];
  return states.map((values) => {
    backend.write(state, values);
    backend.matmul(state, 1, [{ weights: weights.head, out }]);
    return (backend.read(out) as Float32Array).slice(0, VOCAB);
  });
}

describe.each([
  ["output.weight", FILE],
  ["the embedding", TIED],
])("the dense head of a file, %s", (_, file) => {
  it("tells rows and what follows from them, to the bit", async () => {
    const states = await statesOf(file, 10);
    const rows = await rowsOf(file, states);
    const head = await openHead(file, wasm());
    expect([head.method, head.vocab, head.hidden]).toEqual(["dense", VOCAB, 64]);
    expect(await head.rows(states)).toEqual(rows);
    const pipeline = createPipeline([{ step: "temperature", temperature: 0.7 }]);
    for (const [i, row] of rows.entries()) {
      const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
      expect(await head.argmax(states[i])).toBe(order[0]);
      const { ids, logits } = await head.top(states[i], 7);
      expect([...ids]).toEqual(order.slice(0, 7));
      expect([...logits]).toEqual(order.slice(0, 7).map((id) => row[id]));
      const place = { seed: 3, position: i };
      const { token } = pipeline.sample(row, { history: [], promptLength: 0, ...place });
      expect(await head.sample(states[i], { temperature: 0.7, ...place })).toBe(token);
      const sum = row.reduce((all, logit) => all + Math.exp(logit - row[order[0]]), 0);
      expect(await head.logPartition(states[i])).toBeCloseTo(row[order[0]] + Math.log(sum), 9);
    }
    head.close();
  });
});

it("a head that took the place of the dense one makes the model's rows", async () => {
  const { report, ...edit } = await compressHead(FILE, modules, {
    method: "vq",
    codes: 40,
    residual: 8,
    states: 128,
    replace: true,
  });
  const file = await written(FILE, edit);
  const head = await openHead(file, wasm());
  expect([head.method, head.bytes]).toEqual(["vq", report.bytes]);
  const model = await loadModel(file);
  const session = model.open();
  const row = (await session.forward(TOKENS)).row(0).slice();
  // The layers are those of the file before.
  const state = await lastState(FILE);
  expect((await head.rows([state]))[0]).toEqual(row);
  expect(await head.argmax(state)).toBe(row.indexOf(Math.max(...row)));
  session.close();
  model.close();
  // Of its tensors alone it is the same.
  const alone = await openHead(edit.tensors, wasm());
  expect(await alone.top(state, 20)).toEqual(await head.top(state, 20));
  await expect(openHead(file, wasm(), { head: "pq" })).rejects.toThrow(
    '"head" must be one of the file\'s heads, got "pq"',
  );
});

/** After TOKENS, by the layers of a file. */
async function lastState(file: Uint8Array): Promise<Float32Array> {
  const { backend, model } = await openModel(file, modules);
  const { hidden } = model.config;
  const cache = backend.kvCache(model.config, TOKENS.length);
  backend.claimKv(cache, 0, TOKENS.length);
  const states = backend.floats(TOKENS.length * hidden);
  const runs = [{ columns: TOKENS.length, position: 0 }];
  model.forward([{ cache, tokens: TOKENS, runs, rows: 0, out: backend.slice(states, 0, 0), states }]);
  return (backend.read(states) as Float32Array).slice((TOKENS.length - 1) * hidden);
}

describe("a head of tensors", () => {
  const random = createRandom(5);
  const [vocab, hidden] = [37, 32];
  const values = Float32Array.from({ length: vocab * hidden }, random.normal);
  const dense: HeadTensor = {
    name: "output.weight",
    type: "F32",
    shape: [hidden, vocab],
    bytes: encodeWeights("F32", values),
  };
  const state = Float32Array.from({ length: hidden }, random.normal);

  it("is a product of matrix and state", async () => {
    for (const backend of [wasm(), createReferenceBackend()]) {
      const before = backend.usedBytes;
      const head = await openHead([dense], backend);
      const [row] = await head.rows([state]);
      for (let i = 0; i < vocab; i++) {
        const exact = state.reduce((sum, x, k) => sum + x * values[i * hidden + k], 0);
        expect(row[i]).toBeCloseTo(exact, 4);
      }
      expect(await head.rows([])).toEqual([]);
      head.close();
      head.close();
      expect(backend.usedBytes - before).toBeLessThan(8192);
      await expect(head.argmax(state)).rejects.toThrow("Cannot use head: it is closed");
    }
  });

  it("refuses what is not sound", async () => {
    const open = (tensors: HeadTensor[]) => openHead(tensors, wasm());
    await expect(open([])).rejects.toThrow('no tensor "output.weight"');
    await expect(open([{ ...dense, bytes: dense.bytes.subarray(4) }])).rejects.toThrow(
      'tensor "output.weight" of F32 [32, 37] has 4736 bytes, got 4732',
    );
    await expect(open([{ ...dense, shape: [hidden * vocab] }])).rejects.toThrow("must have 2 axes");
    await expect(open([{ ...dense, type: "IQ1_S" }])).rejects.toThrow("IQ1_S");
    await expect(open([{ ...dense, shape: [(hidden * vocab) / 2, 2] }])).resolves.toBeDefined();
    await expect(open([{ ...dense, shape: [74, 16] }])).rejects.toThrow("no multiple of 4");
    const head = await open([dense]);
    await expect(head.argmax(state.subarray(1))).rejects.toThrow('"state.length" must be an integer from 32');
    await expect(head.top([] as unknown as Float32Array, 1)).rejects.toThrow(
      '"state" must be a Float32Array',
    );
    await expect(head.top(state, vocab + 1)).rejects.toThrow('"count" must be an integer from 0 to 37');
    await expect(head.rows([state, state.subarray(2)])).rejects.toThrow('"states[1].length" must be');
    const small = createReferenceBackend({ maxBytes: 4000 });
    await expect(openHead([dense], small)).rejects.toThrow(/bytes/);
  });

  it("of a file that was damaged opens and answers, or is refused in words", async () => {
    const noise = createRandom(23);
    const ends = { opened: 0, refused: 0 };
    for (let round = 0; round < 120; round++) {
      const damaged = FILE.slice();
      // The header, and what follows it.
      const end = round % 2 === 0 ? 6000 : damaged.length;
      for (let i = 0; i < 3; i++) damaged[noise.below(end)] = noise.below(256);
      try {
        const head = await openHead(damaged, createWasmBackend(modules.simd));
        expect(await head.argmax(new Float32Array(head.hidden).fill(0.5))).toBeLessThan(head.vocab);
        ends.opened++;
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect((error as Error).message).not.toMatch(/undefined|NaN|\[object/);
        ends.refused++;
      }
    }
    expect(ends.opened).toBeGreaterThan(10);
    expect(ends.refused).toBeGreaterThan(10);
  });

  it("of a file that breaks off is refused", async () => {
    await expect(openHead(FILE.subarray(0, FILE.length - 9000), wasm())).rejects.toThrow();
    await expect(openHead(new Uint8Array(100), wasm())).rejects.toThrow("GGUF");
  });
});
