/** The kernels as verifiers use them: what is asked of the definition, in f32 rows, by both builds. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import type { Build } from "../../../src/backend/wasm/instantiate.ts";
import type { RowSet } from "../../../src/decoding/draft.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { type Policy, VERIFIERS } from "../../../src/decoding/verify/registry.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { createRandom } from "../../support/random.ts";
import { testJointLaw } from "./draws.case.ts";
import { testAnyRequest } from "./fuzz.case.ts";
import { testLossless } from "./lossless.case.ts";
import { testLossyVerifiers } from "./lossy.case.ts";
import { testNumeric } from "./numeric.case.ts";
import { testRowMath } from "./row-math.case.ts";

/** Sizes at which padded lanes have won elsewhere, and around every block. */
const SIZES = [1, 3, 4, 15, 16, 17, 63, 64, 65, 100, 1000, 8193, 10_000, 151_936];

for (const build of ["simd", "relaxed"] as const) {
  const bytes = readFileSync(new URL(`../../../build/${build}.wasm`, import.meta.url));
  const usable = WebAssembly.validate(bytes);
  const title = usable ? `${build} build` : `${build} build: skipped, this engine has not its instructions`;
  if (!usable) console.info(`Wasm RowMath, ${title}`);
  describe.skipIf(!usable)(title, () => {
    if (usable) testBuild(build, new WebAssembly.Module(bytes));
  });
}

function testBuild(build: Build, module: WebAssembly.Module): void {
  const open = (maxBytes?: number) => createWasmBackend(module, { build, maxBytes });
  const math = open().rowMath();
  testRowMath(math, 2 ** -25);
  testLossless(math, 1e-6);
  testLossyVerifiers(math, 1e-6);
  testNumeric(math);
  testAnyRequest(math, 1000);
  testJointLaw(math, 2000);

  describe.each(SIZES)("rows of %d", (vocab) => {
    const random = createRandom(vocab);
    /** Probabilities, of which a share is 0, before what must not be read. */
    const padded = (zeros: number) => {
      const row = new Float32Array(vocab + 20).fill(1e9);
      let sum = 0;
      for (let id = 0; id < vocab; id++) {
        row[id] = random.uniform() < zeros ? 0 : random.uniform() ** 8;
        sum += row[id];
      }
      if (sum === 0) row[vocab >> 1] = sum = 1;
      for (let id = 0; id < vocab; id++) row[id] /= sum;
      return row;
    };
    /** In the backend's memory, padding too. */
    const placed = (values: Float32Array) => {
      const floats = backend.floats(values.length);
      backend.write(floats, values);
      return (backend.read(floats) as Float32Array).subarray(0, vocab);
    };
    const backend = open();
    const math = backend.rowMath();
    const [pRow, qRow] = [padded(0.2), padded(0.5)];
    const [p, q] = [pRow, qRow].map((row) => math.read(placed(row)));
    const [pReference, qReference] = [pRow, qRow].map((row) => referenceRowMath.read(row.subarray(0, vocab)));

    it("are read where they are, and have the mass of the definition", () => {
      const { buffer } = placed(pRow);
      expect(p.values.buffer === buffer).toBe(true);
      expect(Math.abs(p.mass - pReference.mass)).toBeLessThan(1e-12);
    });

    it("leave the residual of the definition", () => {
      for (const scale of [1, 0.7]) {
        const expected = referenceRowMath.residual(pReference, qReference, scale);
        const rest = math.residual(p, q, scale);
        let worst = 0;
        for (let id = 0; id < vocab; id++) {
          const rounding = expected.values[id] * 2 ** -23 + 1e-15;
          worst = Math.max(worst, Math.abs(rest.values[id] - expected.values[id]) / rounding);
        }
        expect(worst).toBeLessThan(1);
        expect(Math.abs(rest.mass - expected.mass)).toBeLessThan(1e-7);
        expect(math.residualMass(p, q, scale)).toBe(rest.mass);
        expect(math.mass(rest.values)).toBe(rest.mass);
        math.free(rest);
      }
      expect(math.residual(p, p, 1).mass).toBe(0);
    });

    it("are drawn from as the definition does", () => {
      for (let i = 0; i < 200; i++) {
        // Not at the edge between two tokens, where the order of a sum may decide.
        const u = random.uniform();
        const token = math.draw(p, u);
        const neighbours = [u - 1e-12, u, u + 1e-12].map((near) => referenceRowMath.draw(pReference, near));
        expect(neighbours).toContain(token);
      }
      expect(p.values[math.draw(p, 0)]).toBeGreaterThan(0);
      expect(math.draw(p, 1)).toBe(referenceRowMath.draw(pReference, 1));
    });

    it("are raced as the definition does, token for token", () => {
      const noise = seededRandom(2 ** 40 + vocab);
      for (let position = 0; position < (vocab > 1000 ? 10 : 200); position++) {
        for (const [row, reference] of [
          [p, pReference],
          [q, qReference],
        ]) {
          const winner = referenceRowMath.gumbelArgmax(reference, noise, position);
          expect(math.gumbelArgmax(row, noise, position)).toBe(winner);
        }
      }
    });

    it("come from logits as the definition says", () => {
      const logits = Float32Array.from({ length: vocab + 20 }, (_, id) =>
        id < vocab ? 4 * random.normal() : 1e9,
      );
      logits[vocab >> 2] = NaN;
      logits[vocab >> 1] = -Infinity;
      logits[vocab - 1] = 3;
      for (const temperature of [0, 0.3, 1, 2.5]) {
        const expected = referenceRowMath.tempered(logits.subarray(0, vocab), temperature);
        const found = math.tempered(placed(logits), temperature);
        let worst = 0;
        for (let id = 0; id < vocab; id++) {
          const error = Math.abs(found.values[id] - expected.values[id]);
          worst = Math.max(worst, error / (expected.values[id] * 1e-5 + 1e-37));
        }
        expect(worst).toBeLessThan(1);
        expect(Math.abs(found.mass - 1)).toBeLessThan(1e-6);
        math.free(found);
      }
    });

    it("are verified as by the definition", () => {
      const inside: RowSet = { count: 4, vocab, row: (i) => (i % 2 === 0 ? q : p).values };
      const outside: RowSet = { count: 4, vocab, row: (i) => (i % 2 === 0 ? qRow : pRow) };
      for (const verifier of ["token", "block", "gumbel", "sequoia", "traversal"] as const) {
        for (let seed = 0; seed < 5; seed++) {
          const tokens = [0, 1, 2].map((node) => math.draw(node % 2 === 0 ? q : p, random.uniform()));
          const request = { start: seed, random: seededRandom(seed), policy: { verifier } as Policy };
          const ours = verify({
            ...request,
            rows: inside,
            draft: { tokens, law: { rows: inside } },
            math,
          });
          const theirs = verify({ ...request, rows: outside, draft: { tokens, law: { rows: outside } } });
          expect(ours).toEqual(theirs);
          expect(Math.max(...ours.emitted)).toBeLessThan(vocab);
        }
      }
    });
  });

  describe("memory", () => {
    const vocab = 20_000;
    const row = new Float32Array(vocab).fill(1 / vocab);
    const request = (verifier: string, extra = {}) => ({
      rows: { count: 9, vocab, row: () => row },
      draft: { tokens: [1, 2, 3, 4, 5, 6, 7, 8], law: { rows: { count: 9, vocab, row: () => row } } },
      start: 0,
      random: seededRandom(3),
      policy: { verifier, ...extra } as Policy,
    });

    it("of a round is used again by the next", () => {
      const backend = open();
      const math = backend.rowMath();
      const names = Object.entries(VERIFIERS).filter(([, { laws }]) => (laws as string[]).includes("rows"));
      const extra = { threshold: 0.5, sample: () => 1 };
      const round = () => {
        for (const [name] of names) verify({ ...request(name, extra), math });
      };
      round();
      const used = backend.usedBytes;
      for (let i = 0; i < 20; i++) round();
      expect(backend.usedBytes).toBe(used);
    });

    it("of siblings that are rejected does not add up", () => {
      const backend = open(40 * vocab * 4 + 2 ** 20);
      const tokens = Array.from({ length: 500 }, (_, id) => id);
      const likely = new Float32Array(vocab).fill(2 / vocab, 0, vocab / 2);
      const target = new Float32Array(vocab).fill(2 / vocab, vocab / 2);
      for (const verifier of ["specinfer", "sequoia", "traversal"] as const) {
        const verdict = verify({
          rows: { count: 501, vocab, row: () => target },
          draft: {
            tokens,
            parents: tokens.map(() => -1),
            law: { rows: { count: 1, vocab, row: () => likely } },
          },
          start: 0,
          random: seededRandom(1),
          policy: { verifier },
          math: backend.rowMath(),
        });
        expect(verdict.accepted).toEqual([]);
      }
    });

    it("that is not there is an error, and what was taken is given back", () => {
      const backend = open(8 * vocab * 4 + 2 ** 18);
      const math = backend.rowMath();
      const wide = { ...request("token"), math };
      expect(() => verify({ ...wide, policy: { verifier: "block" } })).toThrow("Cannot allocate");
      const few = { rows: wide.rows, draft: { tokens: [1], law: "one-hot" } } as const;
      expect(verify({ ...wide, ...few }).emitted.length).toBeGreaterThan(0);
    });

    it("may grow under rows that are in use", () => {
      const backend = open();
      const math = backend.rowMath();
      const q = math.fromDistribution({ vocab, ids: [3, 7], probabilities: [0.25, 0.75] });
      const before = q.values;
      backend.floats(2 ** 22);
      expect(before.length).toBe(0);
      expect(q.values[7]).toBe(0.75);
      expect([0, 0.24, 0.26, 0.99].map((u) => math.draw(q, u))).toEqual([3, 3, 7, 7]);
    });

    it("that was given back is refused", () => {
      const math = open().rowMath();
      const q = math.read(row);
      math.free(q);
      expect(() => math.draw(q, 0.5)).toThrow("already given back");
      math.free(q);
      const [a, b] = [math.read(row), math.read(row)];
      expect(a.values.byteOffset).not.toBe(b.values.byteOffset);
    });

    it("is zeroed for a sparse row, also where another was", () => {
      const math = open().rowMath();
      math.free(math.read(new Float32Array(vocab).fill(1 / vocab)));
      const sparse = math.fromDistribution({ vocab, ids: [5], probabilities: [1] });
      expect(sparse.mass).toBe(1);
      expect(sparse.values.indexOf(1)).toBe(5);
      expect(math.read(sparse.values)).toBe(sparse);
      for (const ids of [[vocab], [-1], [0.5]]) {
        expect(() => math.fromDistribution({ vocab, ids, probabilities: [1] })).toThrow('"ids[0]" must be');
      }
    });
  });
}
