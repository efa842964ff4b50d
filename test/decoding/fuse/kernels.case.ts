/** What is asked of an executor's kernels: what the definition gives, for the same rows. */
import { describe, expect, it } from "vitest";
import type { Backend } from "../../../src/backend/backend.ts";
import {
  type Floor,
  type LateRowKernels,
  PENDING,
  type Pending,
  PlacedRow,
  type ResolvedBound,
  type StepKernels,
  type SummaryGroup,
} from "../../../src/backend/fuse-kernels.ts";
import { referenceKernels } from "../../../src/backend/reference/fuse.ts";
import { createRandom, type Random } from "../../support/random.ts";

/** Around vectors and blocks, and as models have them; the last but one is no multiple of anything. */
const SIZES = [1, 2, 3, 4, 5, 7, 17, 63, 64, 511, 512, 513, 1027, 8193, 262_139, 262_144];

const GROUPS: ReadonlySet<SummaryGroup> = new Set(["extremes", "moments", "partition", "probabilities"]);

/** Relative error of a few operations in f32, each rounded. */
const ROUNDING = 2 ** -22;

type Pair<R> = { readonly ours: R; readonly theirs: Float64Array };

interface KernelsCase {
  /** Kernels whose answers are late, over rows where they lie. Default: those of this process. */
  readonly late?: LateRowKernels<object>;
  readonly sizes?: readonly number[];
  /** By how much f32 sums may be worse than those in f64 of f32 rows. */
  readonly slack?: number;
}

export function testKernels(backend: Backend, { late, sizes = SIZES, slack = 1 }: KernelsCase = {}): void {
  const kernels: StepKernels<object> = late ?? backend.fuseKernels();
  const ask = async <T>(question: () => T | Pending): Promise<T> => {
    for (;;) {
      const answer = question();
      if (answer !== PENDING) return answer;
      await late!.settle();
    }
  };

  /** The same logits for both, ours in the backend's memory before what must not be read. */
  const pair = (values: Float32Array): Pair<object> => {
    const floats = backend.floats(values.length + 12);
    const padded = new Float32Array(values.length + 12).fill(1e9);
    padded.set(values);
    backend.write(floats, padded);
    const view = late ? new PlacedRow(backend, floats) : (backend.read(floats) as Float32Array);
    return {
      ours: kernels.take(view, values.length, "ours"),
      theirs: referenceKernels.take(values, values.length, "theirs"),
    };
  };
  const check = async (
    make: () => object | Pending,
    expected: Float64Array,
    allowed: (id: number) => number,
  ) => {
    const ours = await ask(make);
    expectRow(await ask(() => kernels.read(ours)), expected, (id) => slack * allowed(id));
    const top = await ask(() => kernels.top(ours));
    expect(top).toBe(largest(await ask(() => kernels.read(ours))));
    kernels.free(ours);
  };

  describe.each(sizes)("rows of %d", (vocab) => {
    const random = createRandom(vocab);
    /** The definition takes its time. */
    const isLarge = vocab > 10_000;
    const rows = Array.from({ length: 4 }, () => pair(logits(random, vocab)));
    /** With equal logits. */
    const tied = pair(logits(random, vocab).map((z) => Math.round(z) + 0));
    const scales = [1, 0.7, -0.7, 2.5, -1.2, 0.1, -3, 0.3];
    const terms = (count: number, offset: number) =>
      Array.from({ length: count }, (_, i) => ({
        scale: scales[i],
        offset: i % 2 === 0 ? offset : -offset / 2,
        ...rows[i % rows.length],
      }));
    const scaled = (list: ReturnType<typeof terms>) => ({
      ours: list.map(({ ours: row, scale, offset }) => ({ row, scale, offset })),
      theirs: list.map(({ theirs: row, scale, offset }) => ({ row, scale, offset })),
      /** Of what is added up. */
      size: (id: number) =>
        list.reduce((sum, { theirs, scale, offset }) => {
          const size = Math.abs(scale * theirs[id]) + Math.abs(offset);
          return size < Infinity ? sum + size : sum;
        }, 1),
    });

    it("are added up", async () => {
      for (const count of isLarge ? [3, 8] : [1, 2, 3, 4, 5, 8]) {
        const { ours, theirs, size } = scaled(terms(count, count === 3 ? 0 : 1.5));
        const expected = referenceKernels.lin(vocab, theirs, []);
        await check(
          () => kernels.lin(vocab, ours, []),
          expected,
          (id) => ROUNDING * size(id),
        );
      }
    });

    it("are added up alike, whether a term is missing elsewhere or not", async () => {
      if (vocab === 1) return;
      const whole = Array.from({ length: 3 }, () =>
        Float32Array.from({ length: vocab }, () => 3 * random.normal()),
      );
      const hole = random.below(vocab);
      const holed = whole[2].map((z, id) => (id === hole ? -Infinity : z));
      const add = async (third: Float32Array, scale: number) => {
        const three = [whole[0], whole[1], third].map((values) => kernels.take(values, vocab, "row"));
        const terms = three.map((row, i) => ({ row, scale: [1, 0.7, scale][i], offset: [0.3, -1, 2][i] }));
        const sum = await ask(() => kernels.lin(vocab, terms, []));
        const values = (await ask(() => kernels.read(sum))).slice();
        for (const row of [...three, sum]) kernels.free(row);
        return values;
      };
      for (const scale of [-0.7, 0.9]) {
        const [plain, missing] = [await add(whole[2], scale), await add(holed, scale)];
        const alone = scale > 0 ? -Infinity : whole[0][hole] + 0.7 * whole[1][hole] - 0.7;
        expect(missing[hole] === alone || Math.abs(missing[hole] - alone) < 1e-5).toBe(true);
        plain[hole] = missing[hole];
        expect(missing).toEqual(plain);
      }
    });

    it("are cut by bounds", async () => {
      const words = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => random.below(2 ** 32));
      words[0] |= 1;
      const value = tied.theirs[vocab >> 1];
      const floors: Floor[] = [
        { value, last: vocab >> 1 },
        { value, last: Infinity },
        { value, last: -1 },
        { value: 0.1, last: 3 },
        { value: -0.1, last: -1 },
        { value: -Infinity, last: Infinity },
      ];
      for (const floor of isLarge ? floors.slice(0, 1) : floors) {
        const groups = <R>(row: R): ResolvedBound<R>[][] => [
          [
            { kind: "floor", row, floor },
            { kind: "mask", words },
          ],
          [{ kind: "floor", row, floor: { value: -4, last: Infinity } }],
        ];
        const { ours, theirs, size } = scaled(terms(4, 1));
        const expected = referenceKernels.lin(vocab, theirs, groups(tied.theirs));
        await check(
          () => kernels.lin(vocab, ours, groups(tied.ours)),
          expected,
          (id) => ROUNDING * size(id),
        );
        const single = referenceKernels.lin(vocab, theirs.slice(0, 1), [groups(tied.theirs)[0].slice(1)]);
        const alone = () => kernels.lin(vocab, ours.slice(0, 1), [groups(tied.ours)[0].slice(1)]);
        await check(alone, single, size);
      }
    });

    it("are mixed", async () => {
      for (const count of isLarge ? [3] : [1, 2, 3, 5, 8]) {
        const list = terms(count, -1).map((term) => ({ ...term, scale: Math.abs(term.scale) }));
        const { ours, theirs, size } = scaled(list);
        const expected = referenceKernels.mix(vocab, theirs);
        await check(
          () => kernels.mix(vocab, ours),
          expected,
          (id) => ROUNDING * size(id) + count * 2e-7,
        );
      }
      const flat = (row: typeof tied) => [{ row: row.theirs, scale: 0, offset: 1 }];
      const expected = referenceKernels.mix(vocab, flat(tied));
      await check(
        () => kernels.mix(vocab, [{ row: tied.ours, scale: 0, offset: 1 }]),
        expected,
        () => 1e-6,
      );
    });

    it("are scattered to, gathered from and projected", async () => {
      const ids = Array.from({ length: 20 }, () => random.below(vocab));
      const values = ids.map(() => random.normal());
      const [{ ours, theirs }] = rows;
      const scattered = referenceKernels.scatter(theirs, ids, values, 0.5);
      await check(
        () => kernels.scatter(ours, ids, values, 0.5),
        scattered,
        (id) => 1e-5 + ROUNDING * Math.abs(theirs[id]),
      );
      const from = Array.from({ length: 33 }, () => random.below(vocab + 1) - 1);
      await check(
        () => kernels.gather(ours, from),
        referenceKernels.gather(theirs, from),
        () => 0,
      );
      const factors = Float64Array.from({ length: vocab }, () => 2 * random.uniform());
      await check(
        () => kernels.multiply(ours, factors),
        referenceKernels.multiply(theirs, factors),
        (id) => ROUNDING * Math.abs(theirs[id] * factors[id]),
      );
      const partition = referenceKernels.summary(theirs, 1, GROUPS).logPartition!;
      const offsets = Array.from({ length: vocab + 1 }, (_, i) => i * 2);
      const columns = Array.from({ length: vocab * 2 }, () => random.below(50));
      const weights = columns.map(() => random.uniform());
      const project = <R>(by: StepKernels<R>, row: R) =>
        by.project({ row, scale: 1, offset: -partition }, 50, offsets, columns, weights);
      const projected = project(referenceKernels, theirs) as Float64Array;
      await check(
        () => project(kernels, ours),
        projected,
        () => 1e-5,
      );
    });

    it("are summed up", async () => {
      for (const { ours, theirs } of [rows[0], tied]) {
        for (const temperature of isLarge ? [0.5] : [1, 0.5, 3]) {
          const found = await ask(() => kernels.summary(ours, temperature, GROUPS));
          const expected = referenceKernels.summary(theirs, temperature, GROUPS);
          expect(Object.keys(found).sort()).toEqual(Object.keys(expected).sort());
          for (const [name, value] of Object.entries(expected)) {
            const got = found[name as keyof typeof found]!;
            const exact = ["vocab", "top", "argmax", "count"].includes(name);
            // Of probabilities that are nearly equal, what is left are the roundings.
            const allowed = exact
              ? 0
              : name.endsWith("Kurtosis")
                ? 1e-4 * value
                : slack * 2e-6 * Math.max(1, Math.abs(value));
            expect(Math.abs(got - value), `${name} ${got} for ${value}`).toBeLessThanOrEqual(allowed);
          }
        }
      }
    });

    it("have the same k best", async () => {
      for (const { ours, theirs } of [rows[1], tied]) {
        for (const k of isLarge ? [40, vocab >> 1] : [1, 2, 5, 40, vocab >> 1, vocab, vocab + 3]) {
          if (k < 1) continue;
          expect(await ask(() => kernels.topK(ours, k))).toEqual(referenceKernels.topK(theirs, k));
        }
      }
    });

    it("have the same most likely", async () => {
      for (const { ours, theirs } of [rows[2], tied]) {
        for (const p of isLarge ? [0.9] : [1e-6, 0.3, 0.9, 0.999]) {
          for (const temperature of isLarge ? [0.7] : [1, 0.7]) {
            // At the edge between two tokens, the order of a sum may decide.
            const near = [p - 1e-6, p, p + 1e-6].map((mass) =>
              referenceKernels.topP(theirs, temperature, mass),
            );
            expect(near).toContainEqual(await ask(() => kernels.topP(ours, temperature, p)));
          }
        }
        const all = await ask(() => kernels.topP(ours, 1, 1));
        expect(all.value).toBeLessThanOrEqual(referenceKernels.topP(theirs, 1, 1 - 1e-6).value);
      }
    });

    it("have tokens in the same places", async () => {
      for (const token of [0, vocab >> 1, vocab - 1]) {
        expect(await ask(() => kernels.at(tied.ours, token))).toBe(tied.theirs[token]);
        expect(await ask(() => kernels.rank(tied.ours, token))).toBe(
          referenceKernels.rank(tied.theirs, token),
        );
      }
    });

    it("are as far apart", async () => {
      const whole = Array.from({ length: 2 }, () =>
        pair(Float32Array.from({ length: vocab }, () => 3 * random.normal())),
      );
      for (const [a, b] of [whole, [rows[0], whole[0]], [whole[0], rows[0]]]) {
        const found = await ask(() => kernels.distance(a.ours, b.ours));
        const expected = referenceKernels.distance(a.theirs, b.theirs);
        expect(Math.abs(found.l1 - expected.l1)).toBeLessThan(slack * 1e-6);
        if (expected.kl === Infinity) expect(found.kl).toBe(Infinity);
        else expect(Math.abs(found.kl - expected.kl)).toBeLessThan(slack * 5e-6);
      }
    });

    it.each([
      ["a tuning apart", 0.5, 0],
      ["far apart", 3, 0],
      ["so far that weights overflow", 16, 0],
      ["with an offset", 0.5, 100],
    ])("are matched: %s", async (_, spread, offset) => {
      const base = rows[3];
      const anti = logits(random, vocab);
      const expert = anti.map((z) => z + spread * random.normal() + offset);
      const three = [base, pair(expert), pair(anti)] as const;
      const [ours, theirs] = [three.map((row) => row.ours), three.map((row) => row.theirs)] as const;
      const found = await ask(() => kernels.matchTargets(ours[0], ours[1], ours[2]));
      const targets = referenceKernels.matchTargets(theirs[0], theirs[1], theirs[2]);
      const size = slack * (1e-6 * (1 + spread * 4) + 1e-7 * offset);
      expect(Math.abs(found.forward - targets.forward)).toBeLessThan(size);
      expect(Math.abs(found.backward - targets.backward)).toBeLessThan(size);
      const grids = [
        [0, 0.1, 21],
        [0.7, 0, 1],
        [0.5, 0.25, 5],
      ];
      for (const [start, step, count] of isLarge ? grids.slice(0, 1) : grids) {
        const laws = await ask(() => kernels.tilt(ours[0], ours[1], ours[2], start, step, count));
        const expected = referenceKernels.tilt(theirs[0], theirs[1], theirs[2], start, step, count);
        laws.forEach((law, j) => {
          const { logMass, mean, variance } = expected[j];
          if (Number.isNaN(mean)) {
            expect(law.mean).toBe(NaN);
            return;
          }
          expect(Math.abs(law.logMass - logMass)).toBeLessThan(8 * size);
          expect(Math.abs(law.mean - mean)).toBeLessThan(10 * size);
          expect(Math.abs(law.variance - variance)).toBeLessThan(40 * size * (1 + spread));
        });
      }
    });
  });
}

/** Normal, some −∞, never all. */
function logits(random: Random, vocab: number): Float32Array {
  const row = Float32Array.from({ length: vocab }, () =>
    random.uniform() < 0.1 ? -Infinity : 3 * random.normal(),
  );
  row[random.below(vocab)] = 7.5;
  return row;
}

function expectRow(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: (id: number) => number,
): void {
  expect(found.length).toBe(expected.length);
  for (let id = 0; id < expected.length; id++) {
    if (found[id] === expected[id] || Math.abs(found[id] - expected[id]) <= allowed(id)) continue;
    throw new Error(
      `token ${id} of ${expected.length}: ${found[id]} for ${expected[id]}, within ${allowed(id)}`,
    );
  }
}

function largest(row: ArrayLike<number>): number {
  let most = -Infinity;
  for (let id = 0; id < row.length; id++) if (row[id] > most) most = row[id];
  return most;
}
