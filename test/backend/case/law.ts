/** What kernels tell of the law of a row: LawKernels. */
import { describe, expect, test } from "vitest";
import type { Backend } from "../../../src/backend/backend.ts";
import { type Law, NO_FLOOR } from "../../../src/backend/law-kernels.ts";
import { expBelow } from "../../../src/exp-below.ts";
import { log } from "../../../src/math.ts";
import { noise } from "../../../src/philox.ts";
import type { CreateBackend } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import { LENGTHS, LONG, load } from "./harness.ts";

const MOST = 3.4028234663852886e38;
const ODD = [NaN, Infinity, -Infinity, MOST, -MOST, -0, 1e-45, 1e30];
/** More than a hundred tokens that may win are too many to look at. */
const FEW = 100;

/** (vocab) logits by token, NaN for none; written out as the interface says it. */
function logitsOf(row: Float32Array, { temperature, edits, mask }: Law): Float64Array {
  const logits = Float64Array.from(row, (x, token) => {
    const isAllowed = mask === undefined || (mask[token >> 5] >>> (token % 32)) % 2 === 1;
    return x > -Infinity && isAllowed ? Math.min(x, MOST) / temperature : NaN;
  });
  edits.tokens.forEach((token, i) => {
    logits[token] = edits.logits[i];
  });
  return logits;
}

function massesOf(logits: Float64Array, most: number): Float64Array {
  const masses = new Float64Array(logits.length);
  const some = logits.map((logit) => (Number.isNaN(logit) ? -Infinity : logit));
  expBelow(masses, some, some.length, most);
  return masses;
}

/** Even tokens, then odd ones. */
function sumOf(masses: Float64Array): number {
  return [0, 1]
    .map((odd) => masses.filter((_, i) => i % 2 === odd).reduce((sum, mass) => sum + mass, 0))
    .reduce((a, b) => a + b);
}

/** Rows of one kind and another, with and without temperature, edits and mask. */
function* laws(length: number): Generator<{ name: string; row: Float32Array; law: Law }> {
  const random = createRandom(length);
  const kinds = {
    normal: () => 3 * random.normal(),
    coarse: () => Math.round(2 * random.normal()),
    even: () => -7.25,
    wide: () => 400 * random.normal(),
    "far down": () => -3e38 * random.uniform(),
    subnormal: () => 1e-40 * random.normal(),
    odd: () => (random.below(3) === 0 ? ODD[random.below(ODD.length)] : random.normal()),
    none: () => [NaN, -Infinity][random.below(2)],
  };
  const logit = () => [NaN, 1e300, -1e300, 5 * random.normal(), 5 * random.normal()][random.below(5)];
  for (const [name, value] of Object.entries(kinds)) {
    const row = Float32Array.from({ length }, value);
    for (const [temperature, share, isMasked] of [
      [1, 0, false],
      [0.7, 0.01, false],
      [1.3, 0, true],
      [1e-3, 0.3, true],
    ] as const) {
      const tokens = Uint32Array.from(row.keys())
        .filter(() => random.uniform() < share)
        .slice(0, 1000);
      const mask = Uint32Array.from({ length: Math.ceil(length / 32) }, () =>
        random.below(3) === 0 ? -1 : random.below(2 ** 32),
      );
      const law = {
        temperature,
        edits: { tokens, logits: Float64Array.from(tokens, logit) },
        ...(isMasked && { mask }),
      };
      yield { name: `${name}, ${length}, T ${temperature}, ${tokens.length} edits`, row, law };
    }
  }
}

export function lawCases(create: CreateBackend): void {
  /** Over a row that larger values and ones that are no numbers follow. */
  const kernelsOf = (backend: Backend, row: Float32Array) => {
    const all = new Float32Array(row.length + 72).fill(3e38).fill(NaN, row.length + 36);
    all.set(row);
    const x = load(backend, all);
    return { kernels: backend.lawKernels(x, row.length), free: () => backend.free(x) };
  };

  describe("lawKernels", () => {
    test.each([...LENGTHS, 127, 129, LONG])("follow the formulas, at %d tokens", async (length) => {
      const backend = await create();
      for (const { name, row, law } of laws(length)) {
        const { kernels, free } = kernelsOf(backend, row);
        const logits = logitsOf(row, law);
        const some = logits.filter((logit) => !Number.isNaN(logit));
        const most = some.reduce((a, b) => Math.max(a, b), -Infinity);
        const least = some.reduce((a, b) => Math.min(a, b), Infinity);
        expect(kernels.range(law), name).toEqual({ most, least, count: some.length });
        if (some.length === 0) {
          free();
          continue;
        }

        const masses = massesOf(logits, most);
        const scale = 256 / Math.min(Math.max(most - least, 1e-3), 128);
        const bucketOf = (logit: number) => Math.trunc(Math.min((most - logit) * scale, 255));
        const byBucket = new Float64Array(256);
        logits.forEach((logit, i) => {
          if (bucketOf(logit) < 255) byBucket[bucketOf(logit)] += masses[i];
        });
        expect(kernels.buckets(law, most, scale), name).toEqual({ total: sumOf(masses), mass: byBucket });

        const tokens = [...row.keys()];
        for (const [first, last] of [
          [0, 0],
          [3, 90],
          [100, 255],
          [255, 255],
        ]) {
          const inside = tokens.filter((i) => bucketOf(logits[i]) >= first && bucketOf(logits[i]) <= last);
          const found = kernels.within(law, most, scale, first, last);
          expect(found && [...found], `${name}, buckets ${first} to ${last}`).toEqual(
            inside.length > 8192 ? null : inside,
          );
        }

        // One floor that cuts ties, at a token somewhere in the middle.
        const middle =
          tokens.find((i) => i >= length / 2 && !Number.isNaN(logits[i])) ?? logits.indexOf(most);
        for (const [position, floor] of [NO_FLOOR, { bar: logits[middle], last: middle }].entries()) {
          const isPart = (i: number) => logits[i] > floor.bar || (logits[i] === floor.bar && i <= floor.last);
          const parts = masses.map((mass, i) => (isPart(i) ? mass : 0));
          const total = sumOf(parts);
          const seed = 2 ** 40 + length;
          const scores = parts.map((mass, i) =>
            mass > 0 ? mass / total / -log(noise(seed, position, i)) : 0,
          );
          const winner = scores.indexOf(scores.reduce((a, b) => Math.max(a, b)));
          const contest = kernels.contest(law, most, floor, seed, position);
          expect(contest?.total, name).toBe(total);
          expect(contest?.tokens, name).toContain(winner);
          expect(contest?.tokens.length, name).toBeLessThan(FEW);
          expect([...contest!.tokens].every(isPart), name).toBe(true);
          expect([...contest!.tokens], name).toEqual([...contest!.tokens].sort((a, b) => a - b));
        }
        free();
      }
    });

    test("list no more than 8,192 tokens", async () => {
      const backend = await create();
      const { kernels } = kernelsOf(backend, new Float32Array(8193));
      const law = (token: number) => ({
        temperature: 1,
        edits: { tokens: Uint32Array.of(token), logits: Float64Array.of(NaN) },
      });
      expect(kernels.within(law(9000), 0, 1, 0, 0)).toBeNull();
      expect(kernels.within(law(8000), 0, 1, 0, 0)).toHaveLength(8192);
    });

    test("see the row as it is when they are asked, and leave it so", async () => {
      const backend = await create();
      const x = load(backend, Float32Array.of(1, 2, 3, 4));
      const law = { temperature: 0.5, edits: { tokens: Uint32Array.of(3), logits: Float64Array.of(1) } };
      const kernels = backend.lawKernels(x, 4);
      expect(kernels.range(law)).toEqual({ most: 6, least: 1, count: 4 });
      expect([...(await backend.read(x))]).toEqual([1, 2, 3, 4]);
      backend.write(x, Float32Array.of(5, NaN, 3, 4));
      expect(kernels.range(law)).toEqual({ most: 10, least: 1, count: 3 });
    });
  });
}
