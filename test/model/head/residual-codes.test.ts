/** Heads with residual codes: their row by its definition, and what they tell without it. */
import { describe, expect, it } from "vitest";
import { type Backend, type Floats, stride, type Top } from "../../../src/backend/backend.ts";
import { PROBES } from "../../../src/backend/head-kernels.ts";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import { decodeWeights, encodeWeights } from "../../../src/format/blocks.ts";
import { openDraft } from "../../../src/model/head/head-draft.ts";
import { VqHead, type VqWeights } from "../../../src/model/head/vq-head.ts";
import { kernelModules } from "../../../src/node.ts";
import { createRandom } from "../../support/random.ts";

const [VOCAB, D, CODES, COLUMNS] = [2003, 64, 90, 10];
/** Bytes of a token, and columns of a sub-vector. */
const [BYTES, WIDE] = [6, 3];
const SIZE = 2 * BYTES * WIDE;

const { simd, relaxed } = await kernelModules();
const random = createRandom(18);
const normals = (count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => scale * random.normal());
const CODEBOOK = encodeWeights("Q8_0", normals(CODES * D, 0.3));
const BASIS = encodeWeights("F32", normals(SIZE * D, 0.2));
const WORDS = normals(SIZE * 16, 0.3);
const CODE_OF = Uint16Array.from({ length: VOCAB }, () => random.below(CODES));
const [BIAS, OWN] = [normals(VOCAB, 2), normals(VOCAB, 2)];
const RESIDUALS = Uint8Array.from({ length: VOCAB * BYTES }, () => random.below(256));
const STATES = normals(COLUMNS * D);

function weightsOn(backend: Backend, residual = true): VqWeights {
  const matrix = (type: "Q8_0" | "F32", rows: number, bytes: Uint8Array) => {
    const writer = backend.matrix(type, rows, D);
    writer.write(bytes);
    return writer.finish();
  };
  return {
    codebook: matrix("Q8_0", CODES, CODEBOOK),
    codes: CODE_OF,
    bias: BIAS,
    ...(residual && {
      residual: {
        basis: matrix("F32", SIZE, BASIS),
        bytes: BYTES,
        codes: RESIDUALS,
        words: WORDS,
        bias: OWN,
      },
    }),
  };
}

function headOn(backend: Backend, residual = true): VqHead {
  return new VqHead(backend, weightsOn(backend, residual));
}

function load(backend: Backend, values: Float32Array): Floats {
  const floats = backend.floats(values.length);
  backend.write(floats, values);
  return floats;
}

const stateOf = (i: number) => STATES.subarray(i * D, (i + 1) * D);

function rowsOf(backend: Backend, head: VqHead, states: Float32Array): Float32Array[] {
  const count = states.length / D;
  const out = backend.floats(count * stride(VOCAB));
  head.rows(load(backend, states), count, out);
  const all = (backend.read(out) as Float32Array).slice();
  return Array.from({ length: count }, (_, i) => all.slice(i * stride(VOCAB), i * stride(VOCAB) + VOCAB));
}

/** What the codes add up to, in f64. */
function residualOf(token: number, state: Float32Array): number {
  const basis = decodeWeights("F32", BASIS);
  let sum = OWN[token];
  for (let k = 0; k < SIZE; k++) {
    const sub = Math.floor(k / WIDE);
    const word = (RESIDUALS[token * BYTES + (sub >> 1)] >> (4 * (sub & 1))) & 15;
    let z = 0;
    for (let d = 0; d < D; d++) z += basis[k * D + d] * state[d];
    sum += WORDS[k * 16 + word] * z;
  }
  return sum;
}

const BACKENDS: [string, () => Backend][] = [
  ["reference", () => createReferenceBackend()],
  ["wasm simd", () => createWasmBackend(simd)],
];
if (relaxed) BACKENDS.push(["wasm relaxed", () => createWasmBackend(relaxed, { build: "relaxed" })]);

describe.each(BACKENDS)("a vq head with residual codes on %s", (_, create) => {
  const backend = create();
  const head = headOn(backend);
  const rows = rowsOf(backend, head, STATES);
  const plain = rowsOf(backend, headOn(backend, false), STATES);

  it("gives the tokens of its best codes logits of their own, and no others", () => {
    for (let i = 0; i < 3; i++) {
      // By the plain row: the best token of a code has its β.
      const best = new Map<number, number>();
      for (const [token, logit] of plain[i].entries()) {
        best.set(CODE_OF[token], Math.max(logit, best.get(CODE_OF[token]) ?? -Infinity));
      }
      const order = [...best.keys()].sort((a, b) => best.get(b)! - best.get(a)! || a - b);
      const opened = new Set(order.slice(0, PROBES));
      for (let token = 0; token < VOCAB; token++) {
        if (!opened.has(CODE_OF[token])) expect(rows[i][token]).toBe(plain[i][token]);
        else {
          const first = CODE_OF.indexOf(CODE_OF[token]);
          const score = plain[i][first] - Math.round(BIAS[first] * 4096) / 4096;
          expect(rows[i][token]).toBeCloseTo(score + residualOf(token, stateOf(i)), 2);
        }
      }
    }
  });

  it("tells argmax, best tokens and partition of the row, which does not depend on its company", async () => {
    for (const [i, row] of rows.entries()) {
      expect(rowsOf(backend, head, stateOf(i))[0]).toEqual(row);
      const state = load(backend, stateOf(i));
      const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
      expect(await head.argmax(state)).toBe(order[0]);
      for (const count of [1, 40, 1200]) {
        const { ids, logits } = (await head.top(state, count)) as Top;
        expect([...ids]).toEqual(order.slice(0, count));
        expect([...logits]).toEqual(order.slice(0, count).map((id) => row[id]));
      }
      for (const temperature of [0.3, 1, 7]) {
        const sum = row.reduce((all, logit) => all + Math.exp((logit - row[order[0]]) / temperature), 0);
        expect(await head.logPartition(state, temperature)).toBeCloseTo(
          row[order[0]] / temperature + Math.log(sum),
          9,
        );
      }
    }
  });

  it("draws from the law of the row", async () => {
    const [row] = rows;
    const state = load(backend, stateOf(0));
    const most = Math.max(...row);
    const weights = Array.from(row, (logit) => Math.exp((logit - most) / 1.5));
    const total = weights.reduce((a, b) => a + b);
    const draws = 4000;
    const counts = new Float64Array(VOCAB);
    for (let position = 0; position < draws; position++) {
      counts[(await head.sample(state, { temperature: 1.5, seed: 2, position })) as number]++;
    }
    // Tokens with few expected draws together are one class.
    let [chi, classes, restSeen, restExpected] = [0, 0, 0, 0];
    for (let token = 0; token < VOCAB; token++) {
      const expected = (draws * weights[token]) / total;
      if (expected >= 8) {
        chi += (counts[token] - expected) ** 2 / expected;
        classes++;
      } else {
        restSeen += counts[token];
        restExpected += expected;
      }
    }
    chi += (restSeen - restExpected) ** 2 / restExpected;
    expect(classes).toBeGreaterThan(20);
    expect(chi).toBeLessThan(classes + 5 * Math.sqrt(2 * classes));
  });

  it("takes logits that something else decides", async () => {
    const state = load(backend, stateOf(1));
    const row = rows[1].slice();
    const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
    // Opened ones, and one that is not.
    const tokens = [order[0], order[1], order[VOCAB - 1]].sort((a, b) => a - b);
    const logits = tokens.map((token) => (token === order[VOCAB - 1] ? 50 : NaN));
    for (const [i, token] of tokens.entries()) row[token] = logits[i];
    const edits = { tokens, logits };
    expect(await head.argmax(state, edits)).toBe(order[VOCAB - 1]);
    expect([...((await head.top(state, 3, edits)) as Top).ids]).toEqual([
      order[VOCAB - 1],
      order[2],
      order[3],
    ]);
    const sum = row.reduce((all, logit) => all + (logit > -Infinity ? Math.exp(logit - 50) : 0), 0);
    expect(await head.logPartition(state, 1, edits)).toBeCloseTo(50 + Math.log(sum), 9);
  });

  it("drafts with its own rows, and gives all memory back", async () => {
    const draft = openDraft(backend, head);
    const first = await draft.read(load(backend, stateOf(0)));
    expect([...first.top(5).ids]).toEqual(
      [...rows[0].keys()].sort((a, b) => rows[0][b] - rows[0][a] || a - b).slice(0, 5),
    );
    expect(first.row()).toEqual(rows[0]);
    expect((await draft.read(load(backend, stateOf(2)))).row()).toEqual(rows[2]);
    draft.close();
    const other = create();
    const weights = weightsOn(other);
    const before = other.usedBytes;
    const one = new VqHead(other, weights);
    // Allocations are rounded up to 64 bytes each.
    const taken =
      other.usedBytes - before - VqHead.heldBytes(other, VOCAB, CODES, { size: SIZE, bytes: BYTES });
    expect(taken).toBeGreaterThanOrEqual(0);
    expect(taken).toBeLessThan(4 * 64);
    one.close();
    expect(other.usedBytes).toBe(before);
  });

  it("gives no token a chance in a state that is not finite", async () => {
    for (const odd of [NaN, Infinity]) {
      const state = load(backend, new Float32Array(D).fill(0.1).fill(odd, 5, 6));
      expect(await head.argmax(state)).toBe(0);
      expect(((await head.top(state, 9)) as Top).ids.length).toBe(0);
      expect(await head.logPartition(state)).toBe(-Infinity);
      expect(() => head.sample(state, { seed: 1, position: 3 })).toThrow(
        "Cannot sample the token at position 3: no logit is above −∞",
      );
      const row = backend.floats(stride(VOCAB));
      head.rows(state, 1, row);
      expect(new Set(backend.read(backend.slice(row, 0, VOCAB)) as Float32Array)).toEqual(
        new Set([-Infinity]),
      );
    }
  });
});

it("has the same bits in both builds", () => {
  if (relaxed === undefined) return console.log("skipped: this engine has no relaxed SIMD");
  const [ours, theirs] = [createWasmBackend(simd), createWasmBackend(relaxed, { build: "relaxed" })];
  expect(rowsOf(ours, headOn(ours), STATES)).toEqual(rowsOf(theirs, headOn(theirs), STATES));
});

it("tells what is wrong with tables", () => {
  const backend = createReferenceBackend();
  const basis = backend.matrix("F32", SIZE, D);
  basis.write(BASIS);
  const codebook = backend.matrix("Q8_0", CODES, D);
  codebook.write(CODEBOOK);
  const whole = { basis: basis.finish(), bytes: BYTES, codes: RESIDUALS, words: WORDS, bias: OWN };
  const words = codebook.finish();
  const open = (part: Partial<typeof whole>) =>
    new VqHead(backend, { codebook: words, codes: CODE_OF, bias: BIAS, residual: { ...whole, ...part } });
  const used = backend.usedBytes;
  expect(() => open({ codes: RESIDUALS.subarray(1) })).toThrow(
    '"codes.length" must be an integer from 12018',
  );
  expect(() => open({ bias: OWN.map((b, i) => (i === 7 ? Infinity : b)) })).toThrow('"bias[7]" must be');
  expect(() => open({ words: WORDS.map((w, i) => (i === 3 ? NaN : w)) })).toThrow('"words[3]" must be');
  expect(() => open({ words: WORDS.subarray(1) })).toThrow('"columns" must be an integer from 1 to 64');
  expect(() => open({ words: WORDS.subarray(0, 2 * BYTES * 16) })).toThrow(
    '"basis.rows" must be an integer from 12 to 12',
  );
  expect(backend.usedBytes).toBe(used);
});
