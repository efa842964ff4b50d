/** What heads tell without their row, against the row. */
import { describe, expect, it } from "vitest";
import { type Backend, type Floats, stride, type Top } from "../../../src/backend/backend.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import { createPipeline } from "../../../src/decoding/pipeline.ts";
import { encodeWeights } from "../../../src/format/blocks.ts";
import { DenseHead } from "../../../src/model/head/dense-head.ts";
import type { Head } from "../../../src/model/head/head.ts";
import { openDraft } from "../../../src/model/head/head-draft.ts";
import { VqHead } from "../../../src/model/head/vq-head.ts";
import { kernelModules } from "../../../src/node.ts";
import { createRandom } from "../../support/random.ts";

const VOCAB = 3001;
const D = 64;
const CODES = 130;
const COLUMNS = 11;

const { simd, relaxed } = await kernelModules();
const random = createRandom(8);
const normals = (count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => scale * random.normal());
const MATRIX = encodeWeights("Q8_0", normals(VOCAB * D, 0.4));
const CODEBOOK = encodeWeights("Q8_0", normals(CODES * D, 0.4));
const CODE_OF = Uint16Array.from({ length: VOCAB }, () => random.below(CODES));
const BIAS = normals(VOCAB, 2);
const STATES = normals(COLUMNS * D);

function dense(backend: Backend): Head {
  const writer = backend.matrix("Q8_0", VOCAB, D);
  writer.write(MATRIX);
  return new DenseHead(backend, writer.finish());
}

function vq(backend: Backend): VqHead {
  const writer = backend.matrix("Q8_0", CODES, D);
  writer.write(CODEBOOK);
  return new VqHead(backend, { codebook: writer.finish(), codes: CODE_OF, bias: BIAS });
}

function load(backend: Backend, values: Float32Array): Floats {
  const floats = backend.floats(values.length);
  backend.write(floats, values);
  return floats;
}

function rowsOf(backend: Backend, head: Head, states: Float32Array): Float32Array[] {
  const count = states.length / D;
  const out = backend.floats(count * stride(VOCAB));
  head.rows(load(backend, states), count, out);
  const all = (backend.read(out) as Float32Array).slice();
  return Array.from({ length: count }, (_, i) => all.slice(i * stride(VOCAB), i * stride(VOCAB) + VOCAB));
}

const BACKENDS: [string, () => Backend][] = [
  ["reference", () => createReferenceBackend()],
  ["wasm simd", () => createWasmBackend(simd)],
];
if (relaxed) BACKENDS.push(["wasm relaxed", () => createWasmBackend(relaxed, { build: "relaxed" })]);

describe.each(BACKENDS)("heads on %s", (_, create) => {
  it.each([
    ["dense", dense],
    ["vq", vq],
  ] as const)("%s: argmax, best tokens and partition are those of the row", async (__, open) => {
    const backend = create();
    const head = open(backend);
    for (const [i, row] of rowsOf(backend, head, STATES).entries()) {
      const state = load(backend, STATES.subarray(i * D, (i + 1) * D));
      const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
      expect(await head.argmax(state)).toBe(order[0]);
      for (const count of [0, 1, 40, 700]) {
        const { ids, logits } = (await head.top(state, count)) as Top;
        expect([...ids]).toEqual(order.slice(0, count));
        expect([...logits]).toEqual(order.slice(0, count).map((id) => row[id]));
      }
      for (const temperature of [0.3, 1, 7]) {
        const sum = row.reduce((all, logit) => all + Math.exp((logit - row[order[0]]) / temperature), 0);
        const expected = row[order[0]] / temperature + Math.log(sum);
        expect(await head.logPartition(state, temperature)).toBeCloseTo(expected, 9);
      }
    }
    head.close();
  });

  it("dense: draws the token that a pipeline draws from the row", async () => {
    const backend = create();
    const head = dense(backend);
    const [row] = rowsOf(backend, head, STATES.subarray(0, D));
    const state = load(backend, STATES.subarray(0, D));
    for (const temperature of [0, 0.5, 1, 2]) {
      const pipeline = createPipeline([{ step: "temperature", temperature }]);
      for (let position = 0; position < 40; position++) {
        const { token } = pipeline.sample(row, { history: [], promptLength: 0, position, seed: 11 });
        expect(await head.sample(state, { temperature, seed: 11, position })).toBe(token);
      }
    }
  });

  it("vq: rows are scores on the grid and biases, whatever they are made together with", async () => {
    const backend = create();
    const head = vq(backend);
    const rows = rowsOf(backend, head, STATES);
    for (const [i, row] of rows.entries()) {
      expect(row).toEqual(rowsOf(backend, head, STATES.slice(i * D, (i + 1) * D))[0]);
      expect(row.every((logit) => Number.isInteger(logit * 4096))).toBe(true);
    }
    // Tokens of a code differ by their biases, and codes by what a product in f64 says, but for rounding.
    const row = rows[0];
    const first = CODE_OF.indexOf(CODE_OF[5]);
    expect(row[5] - row[first]).toBeCloseTo(BIAS[5] - BIAS[first], 3);
  });

  it("vq: asks nothing of tokens that have logits of their own", async () => {
    const backend = create();
    const head = vq(backend);
    const state = load(backend, STATES.subarray(0, D));
    const best = (await head.top(state, 3)).ids;
    const tokens = Uint32Array.from(best).sort();
    const edits = { tokens, logits: [NaN, NaN, NaN] };
    expect((await head.top(state, 2, edits)).ids[0]).toBe((await head.top(state, 4)).ids[3]);
    expect(await head.argmax(state, edits)).toBe((await head.top(state, 4)).ids[3]);
    const draws = Array.from({ length: 200 }, (__, position) =>
      head.sample(state, { seed: 1, position }, edits),
    );
    expect(draws.some((token) => best.includes(token as number))).toBe(false);
    expect(await head.logPartition(state, 1, edits)).toBeLessThan((await head.logPartition(state)) as number);
  });

  it.each([
    ["dense", dense],
    ["vq", vq],
  ] as const)("%s: drafts with its own rows, and gives all memory back", async (__, open) => {
    const backend = create();
    const head = open(backend);
    const expected = rowsOf(backend, head, STATES.subarray(0, 2 * D));
    const states = [0, 1].map((i) => load(backend, STATES.subarray(i * D, (i + 1) * D)));
    const before = backend.usedBytes;
    const draft = openDraft(backend, head);
    const row = await draft.read(states[0]);
    const { ids } = row.top(5);
    expect(row.row()).toEqual(expected[0]);
    expect([...ids]).toEqual(
      [...expected[0].keys()].sort((a, b) => expected[0][b] - expected[0][a] || a - b).slice(0, 5),
    );
    expect((await draft.read(states[1])).row()).toEqual(expected[1]);
    expect(() => row.row()).toThrow("Cannot read a draft's row: its head was called again");
    draft.close();
    expect(backend.usedBytes).toBe(before);
  });

  it("refuse what is out of range", () => {
    const backend = create();
    const state = load(backend, STATES.subarray(0, D));
    for (const head of [dense(backend), vq(backend)]) {
      expect(() => head.sample(state, { temperature: -1, seed: 1, position: 0 })).toThrow(
        '"temperature" must be a number from 0 to 100, got -1',
      );
      expect(() => head.sample(state, { seed: 0.5, position: 0 })).toThrow('"seed" must be an integer');
      expect(() => head.sample(state, { seed: 1, position: 2 ** 32 })).toThrow(
        '"position" must be an integer',
      );
      expect(() => head.logPartition(state, 0)).toThrow('"temperature" must be a number from 1e-100');
      expect(() => head.top(state, VOCAB + 1)).toThrow('"count" must be an integer from 0 to 3001, got 3002');
    }
  });
});

it("a vq head's bits are those of both builds", () => {
  if (relaxed === undefined) return console.log("skipped: this engine has no relaxed SIMD");
  const [ours, theirs] = [createWasmBackend(simd), createWasmBackend(relaxed, { build: "relaxed" })];
  expect(rowsOf(ours, vq(ours), STATES)).toEqual(rowsOf(theirs, vq(theirs), STATES));
});
