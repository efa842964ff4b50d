/** Rows in a backend's memory: what is refused, what stays, what is given back. */
import { describe, expect, it } from "vitest";
import type { Backend } from "../../../src/backend/backend.ts";
import type { RowKernels } from "../../../src/backend/fuse-kernels.ts";
import { compilePlan, evaluatePlan, fusePreset, type Plan, Step } from "../../../src/decoding/fuse.ts";
import { createRandom, randomRow } from "./support.ts";

const VOCAB = 1003;

export function testRowMemory(open: (maxBytes?: number) => Backend): void {
  const random = createRandom(5);
  const row = () => Float32Array.from(randomRow(random, VOCAB));
  const place = (backend: Backend, values: Float32Array) => {
    const floats = backend.floats(values.length);
    backend.write(floats, values);
    return backend.read(floats) as Float32Array;
  };

  describe("a row that is none", () => {
    const two = (weights: readonly number[]): Plan => ({
      sources: ["a", "b"],
      lin: [
        { source: "a", weight: weights[0] },
        { source: "b", weight: weights[1] },
      ],
    });
    /** By what reads b first. */
    const plans: Record<string, Plan> = {
      "lin, added": two([1, 0.5]),
      "lin, taken away": two([1, -0.5]),
      mix: fusePreset("mixture"),
      match: {
        sources: ["a", "b"],
        lin: [
          { source: "a", weight: { match: { base: "a", experts: [{ expert: "b", anti: "a" }] } } },
          { source: "a" },
        ],
      },
      statistics: { sources: ["a", "b"], lin: [{ source: "a", weight: { stat: "entropy", of: "b" } }] },
      kl: { sources: ["a", "b"], lin: [{ source: "a", weight: { stat: "kl", of: "a", to: "b" } }] },
      token: { sources: ["a", "b"], lin: [{ source: "a", weight: { stat: "logit", of: "b", token: 1 } }] },
      rank: { sources: ["a", "b"], lin: [{ source: "a", weight: { stat: "rank", of: "b", token: 1 } }] },
      topK: { sources: ["a", "b"], source: "a", support: [{ topK: 9, of: "b" }] },
      topP: { sources: ["a", "b"], source: "a", support: [{ topP: 0.5, of: "b" }] },
      route: { sources: ["a", "b"], route: [{ source: "a" }, { source: "b" }], by: 1 },
    };
    const wrong: [string, (values: Float32Array) => unknown, string][] = [
      ["NaN", (values) => values.fill(NaN, 700, 701), "below ∞, got NaN at token 700"],
      ["NaN at the end", (values) => values.fill(NaN, VOCAB - 1), `below ∞, got NaN at token ${VOCAB - 1}`],
      ["∞", (values) => values.fill(Infinity, 3, 4), "below ∞, got Infinity at token 3"],
      ["nothing", (values) => values.fill(-Infinity), "a logit above −∞, got none"],
    ];
    const backend = open();
    const kernels = backend.fuseKernels();
    for (const [name, plan] of Object.entries(plans)) {
      it.each(wrong)(`is refused by name and token: ${name}, %s`, (_, spoil, message) => {
        const b = row();
        spoil(b);
        for (const values of [b, place(backend, b), Array.from(b), Float64Array.from(b)]) {
          expect(() => evaluatePlan(plan, { a: row(), b: values }, {}, kernels)).toThrow(
            '"rows.b" must have',
          );
          expect(() => evaluatePlan(plan, { a: row(), b: values }, {}, kernels)).toThrow(message);
        }
      });
    }

    it("is not looked at where its weight is 0", () => {
      const spoiled = row().fill(NaN);
      const { row: fused } = evaluatePlan(two([1, 0]), { a: row().fill(2), b: spoiled }, {}, kernels);
      expect(fused).toEqual(new Float32Array(VOCAB).fill(2));
    });

    it("is not looked at behind its end", () => {
      const padded = place(backend, Float32Array.from([1, 2, 3, 4, 5, NaN, Infinity]));
      const sources = [{ name: "a", vocab: 5 }];
      for (const plan of [
        { sources, lin: [{ source: "a", weight: -2 }] },
        { sources, source: "a", support: [{ topP: 1 }, { minP: 1e-9 }] },
      ]) {
        expect(evaluatePlan(plan, { a: padded }, {}, kernels).row.length).toBe(5);
      }
    });

    it("is one that passes f32 in the sum", () => {
      const huge = row().fill(3e38);
      expect(() => evaluatePlan(two([1, 1]), { a: huge, b: huge }, {}, kernels)).toThrow(
        "Cannot fuse: logits that are added up pass the largest f32",
      );
    });
  });

  it("extreme rows give what the definition gives", () => {
    const kernels = open().fuseKernels();
    const oneHot = new Float32Array(VOCAB).fill(-Infinity).fill(2, 5, 6);
    const constant = new Float32Array(VOCAB).fill(-3);
    const wide = row().map((z, id) => (id % 7 === 0 ? 1e4 : id % 5 === 0 ? -1e4 : z));
    const names = [
      "mixture",
      "product",
      "dlf",
      "contrastive",
      "proxy-tuning",
      "cfg",
      "amu",
      "align-distil",
    ] as const;
    for (const name of names) {
      const plan = fusePreset(name);
      const sources = compilePlan(plan).sources.map((source) => source.name);
      for (const rows of [
        [oneHot, constant, wide],
        [constant, constant, constant],
        [wide, oneHot, oneHot],
        [wide, row(), constant],
        [constant, wide, oneHot],
      ]) {
        const given = Object.fromEntries(sources.map((source, i) => [source, rows[i]]));
        const run = (by?: RowKernels<object>) => {
          try {
            return Array.from(evaluatePlan(plan, given, {}, by).row);
          } catch (error) {
            return (error as Error).message;
          }
        };
        const [found, expected] = [run(kernels), run()];
        if (typeof expected === "string") {
          expect(found, name).toBe(expected);
          continue;
        }
        expected.forEach((z, id) => {
          const got = (found as number[])[id];
          // A mixture is of probabilities: logits of 10,000 are no reason to be less exact.
          const size = name === "mixture" || !rows.includes(wide) ? 5 : 1e4;
          const near = got === z || Math.abs(got - z) <= 1e-6 * Math.max(size, Math.abs(z));
          expect(near, `${name}, token ${id}: ${got} for ${z}`).toBe(true);
        });
      }
    }
  });

  describe("memory", () => {
    const program = compilePlan(fusePreset("dlf"));
    const rows = { base: row(), expert: row(), anti: row() };

    it("of a step is used again by the next, however it ends", () => {
      const backend = open();
      const kernels = backend.fuseKernels();
      expect(backend.fuseKernels()).toBe(kernels);
      const plans = (["dlf", "contrastive", "mixture", "uld", "amu"] as const).map((name) =>
        fusePreset(name),
      );
      const round = () => {
        for (const plan of plans) {
          const given = Object.fromEntries(compilePlan(plan).sources.map(({ name }) => [name, row()]));
          evaluatePlan(plan, given, { audit: true }, kernels);
        }
        const unfinished = new Step(program, kernels);
        unfinished.provide({ base: rows.base });
        unfinished.close();
        const wrong = new Step(program, kernels);
        expect(() => wrong.provide({ ...rows, anti: row().fill(NaN) })).toThrow("rows.anti");
        expect(() => wrong.provide(rows)).toThrow("Cannot use the step: it has ended");
        expect(() => wrong.finish()).toThrow();
      };
      round();
      round();
      const used = backend.usedBytes;
      for (let i = 0; i < 50; i++) round();
      expect(backend.usedBytes).toBe(used);
    });

    it("of rows that lie there is not taken again", () => {
      const backend = open();
      const kernels = backend.fuseKernels();
      const placed = Object.fromEntries(
        Object.entries(rows).map(([name, values]) => [name, place(backend, values)]),
      );
      const expected = evaluatePlan(program, rows, {}, open().fuseKernels()).row;
      const before = backend.usedBytes;
      const out = place(backend, row());
      const step = new Step(program, kernels);
      step.provide(placed);
      expect(step.finish(out).row).toBe(out);
      expect(out).toEqual(expected);
      // The result, where it was made and where it was asked for, and scratch; no source.
      expect(backend.usedBytes - before).toBeLessThan(3 * VOCAB * 4 + 16_384);
      expect(() => new Step(program, kernels).finish(out)).toThrow("is missing");
    });

    it("that is not there is an error, and what was taken is given back", () => {
      const vocab = 100_000;
      const wide = () => Float32Array.from(randomRow(random, vocab));
      const backend = open(2 ** 18 + 3 * vocab * 4);
      const kernels = backend.fuseKernels();
      const given = { base: wide(), expert: wide(), anti: wide() };
      expect(() => evaluatePlan(program, given, {}, kernels)).toThrow("Cannot allocate");
      const { length } = evaluatePlan(fusePreset("mixture"), { a: wide(), b: wide() }, {}, kernels).row;
      expect(length).toBe(vocab);
      // Spares of one size make room for rows of another.
      const other = row().fill(1);
      expect(evaluatePlan(fusePreset("mixture"), { a: other, b: other }, {}, kernels).row[0]).toBe(
        evaluatePlan(fusePreset("mixture"), { a: other, b: other }, {}, open().fuseKernels()).row[0],
      );
    });

    it("may grow under rows that are in use", () => {
      const backend = open();
      const step = new Step(program, backend.fuseKernels());
      step.provide({ base: place(backend, rows.base) });
      step.provide({ expert: rows.expert });
      backend.floats(2 ** 22);
      step.provide({ anti: rows.anti });
      expect(step.finish().row).toEqual(evaluatePlan(program, rows, {}, open().fuseKernels()).row);
    });

    it("that was given back is refused", () => {
      const kernels = open().fuseKernels();
      const taken = kernels.take(row(), VOCAB, "a");
      kernels.free(taken);
      kernels.free(taken);
      expect(() => kernels.top(taken)).toThrow("Cannot use a row: already given back");
      expect(() => kernels.read(taken)).toThrow("already given back");
      const lin = () => kernels.lin(VOCAB, [{ row: taken, scale: 1, offset: 0 }], []);
      expect(lin).toThrow("already given back");
      const [a, b] = [kernels.take(row(), VOCAB, "a"), kernels.take(row(), VOCAB, "b")];
      expect(kernels.read(a)).not.toEqual(kernels.read(b));
    });
  });
}
