import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ControllerOptions, SpeculationController } from "../../../src/decoding/drafter/controller.ts";
import {
  bestDraftLength,
  type Costs,
  expectedSpeedup,
} from "../../../src/decoding/drafter/expected-length.ts";
import { createRandom } from "../../support/random.ts";

interface Simulation {
  readonly costs: Costs;
  readonly tokens: number;
  /** What the drafter gives when asked for `gamma` tokens at a position, and how many of them are right. */
  readonly draft: (
    position: number,
    gamma: number,
  ) => { drafted: number; right: number; matchLength?: number };
  readonly options?: ControllerOptions;
  /** What asking the drafter costs beside its draft. */
  readonly overhead?: number;
  /** Factor on what a call costs, for clocks that are not steady. */
  readonly noise?: () => number;
}

/** Decodes under a model of costs; calls `check` after every step with what speculation and plain decoding cost so far. */
function simulate(
  { costs, tokens, draft, options, noise = () => 1, overhead: perAsk = 0 }: Simulation,
  check?: (cost: number, plain: number) => void,
): { cost: number; plain: number; rounds: number; asks: number; longest: number } {
  const controller = new SpeculationController(options);
  let [cost, emitted, rounds, asks, longest] = [0, 0, 0, 0, 0];
  while (emitted < tokens) {
    const asked = controller.ask();
    const { drafted, right, matchLength } = asked > 0 ? draft(emitted, asked) : { drafted: 0, right: 0 };
    const verified = controller.keep(Math.min(drafted, asked), matchLength);
    const accepted = Math.min(right, verified);
    const targetCost = costs.target(verified + 1) * noise();
    const draftCost = asked > 0 ? costs.draft(Math.min(asked, drafted + 1)) * noise() : 0;
    const overhead = asked > 0 ? perAsk * noise() : 0;
    controller.record({ verified, accepted, emitted: accepted + 1, targetCost, draftCost, overhead });
    cost += targetCost + draftCost + overhead;
    emitted += accepted + 1;
    if (verified > 0) rounds++;
    if (asked > 0) asks++;
    longest = Math.max(longest, verified);
    check?.(cost, emitted * costs.target(1));
  }
  return { cost, plain: emitted * costs.target(1), rounds, asks, longest };
}

/** Chains of independent acceptance. */
function independent(acceptance: number, seed: number): Simulation["draft"] {
  const random = createRandom(seed);
  return (_position, gamma) => {
    let right = 0;
    while (right < gamma && random.uniform() < acceptance) right++;
    return { drafted: gamma, right };
  };
}

const gentle: Costs = { target: (n) => 1 + 0.1 * (n - 1), draft: () => 0.01 };

describe("speculation controller", () => {
  /** No call costs less than a smaller one, nor more than a smaller one and single steps for the rest. */
  const curve = fc
    .tuple(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 64, maxLength: 64 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
      fc.boolean(),
      fc.constantFrom(0, 0.05, 0.2, 0.5),
    )
    .map(([increments, perToken, unit, perCall, overhead]) => {
      const target = [0, unit];
      for (const increment of increments) target.push(target[target.length - 1] + increment * unit);
      const draft = (gamma: number) => perToken * unit * (perCall ? 1 : gamma);
      return { costs: { target: (n: number) => target[n], draft }, draftCost: perToken, overhead, unit };
    });
  const trace = fc.array(
    fc.record({
      drafted: fc.oneof(fc.nat(16), fc.nat(64)),
      right: fc.oneof(fc.nat(16), fc.nat(64)),
      matchLength: fc.nat(100),
      times: fc.integer({ min: 1, max: 60 }),
    }),
    { minLength: 1, maxLength: 30 },
  );

  test("is never more than 5 % behind plain decoding, nor more than one plain step in the first 20 tokens", () => {
    let [checked, speculative] = [0, 0];
    fc.assert(
      fc.property(
        curve,
        trace,
        fc.boolean(),
        ({ costs, draftCost, overhead, unit }, parts, byMatchLength) => {
          const plan = parts.flatMap((part) => Array<(typeof parts)[0]>(part.times).fill(part));
          const step = costs.target(1);
          const { rounds } = simulate(
            {
              costs,
              tokens: plan.length,
              draft: (position) => plan[position],
              options: { byMatchLength, draftCost, overhead },
              overhead: overhead * unit,
            },
            (cost, plain) => {
              checked++;
              expect(cost - plain).toBeLessThanOrEqual(Math.max(step, 0.05 * plain) * (1 + 1e-9));
            },
          );
          speculative += rounds;
        },
      ),
      { numRuns: 400 },
    );
    // It did not keep the promise by doing nothing.
    expect(speculative / checked).toBeGreaterThan(0.05);
  });

  test("keeps the promise against drafts that are right until they matter", () => {
    for (const period of [1, 2, 3, 5, 10, 50, 200]) {
      simulate(
        {
          costs: { target: (n) => 0.2 + 0.8 * n, draft: () => 0.05 },
          tokens: 3000,
          draft: (position, gamma) => ({
            drafted: gamma,
            right: Math.floor(position / period) % 2 === 0 ? gamma : 0,
          }),
          options: { draftCost: 0.05 },
        },
        (cost, plain) => expect(cost - plain).toBeLessThanOrEqual(Math.max(1, 0.05 * plain) * (1 + 1e-9)),
      );
    }
  });

  test("is never more than 5 % behind where the drafter's overhead is half a step and unknown at first, but for the first surprise", () => {
    for (const acceptance of [0, 0.3, 0.6]) {
      let worst = 0;
      const { cost, plain } = simulate(
        {
          costs: { target: (n) => 0.7 + 0.3 * n, draft: () => 0.01 },
          tokens: 4000,
          draft: independent(acceptance, 7),
          overhead: 0.5,
        },
        (spent, atMost) => {
          worst = Math.max(worst, spent - atMost - Math.max(1, 0.05 * atMost));
        },
      );
      expect(worst, `acceptance ${acceptance}`).toBeLessThanOrEqual(0.5);
      expect(cost / plain, `acceptance ${acceptance}`).toBeLessThanOrEqual(1.05);
    }
  });

  test.each([0.01, 0.5])(
    "hardly asks a drafter that has nothing to say and takes %d of a step",
    (overhead) => {
      const { cost, plain, asks } = simulate({
        costs: gentle,
        tokens: 5000,
        draft: () => ({ drafted: 0, right: 0 }),
        overhead,
        options: { byMatchLength: true },
      });
      // With the 0.01 of the draft itself, what costs next to nothing is asked for every time.
      expect(cost / plain).toBeLessThan(overhead === 0.5 ? 1.015 : 1.021);
      if (overhead === 0.5) expect(asks).toBeLessThan(100);
    },
  );

  test("goes on asking a drafter whose silence costs nothing", () => {
    const { rounds, plain, cost } = simulate({
      costs: gentle,
      tokens: 3000,
      // Nothing to copy, then nothing but copies.
      draft: (position, gamma) => ({ drafted: position < 2000 ? 0 : gamma, right: gamma, matchLength: 20 }),
      options: { byMatchLength: true },
    });
    expect(rounds).toBeGreaterThan(10);
    expect(plain / cost).toBeGreaterThan(1.3);
  });

  test("drafts up to 64 tokens by long matches where columns are cheap, and not where they are not", () => {
    const predicted = (perColumn: number) =>
      simulate({
        costs: { target: (n) => 1 + perColumn * (n - 1), draft: () => 0.01 },
        tokens: 2000,
        draft: (position, gamma) => ({ drafted: gamma, right: gamma, matchLength: 8 + position }),
        options: { byMatchLength: true },
      });
    const cheap = predicted(0.05);
    expect(cheap.longest).toBe(64);
    // 64 tokens a call would be 65 / 4.2 = 15.5.
    expect(cheap.plain / cheap.cost).toBeGreaterThan(10);
    const short = simulate({
      costs: { target: (n) => 1 + 0.05 * (n - 1), draft: () => 0.01 },
      tokens: 2000,
      draft: (_position, gamma) => ({ drafted: gamma, right: gamma, matchLength: 3 }),
      options: { byMatchLength: true },
    });
    expect(short.longest).toBe(16);
    // From 9 columns on each costs more than plain decoding would.
    const dear = simulate({
      costs: { target: (n) => 1 + 0.1 * (n - 1) + 1.2 * Math.max(0, n - 9), draft: () => 0.01 },
      tokens: 4000,
      draft: (position, gamma) => ({ drafted: gamma, right: gamma, matchLength: 8 + position }),
      options: { byMatchLength: true },
    });
    expect(dear.longest).toBeLessThan(32);
    expect(dear.plain / dear.cost).toBeGreaterThan(1.3);
  });

  test("counts the tested levels of a tree, not its nodes", () => {
    /** Trees of any size give one token of two levels looked at. */
    const after = (tested: number | undefined) => {
      const controller = new SpeculationController({ shape: "tree", initial: 8 });
      const costs = { targetCost: 1, draftCost: 0 };
      controller.record({ verified: 0, accepted: 0, emitted: 1, ...costs });
      for (let i = 0; i < 40; i++) {
        const verified = controller.keep(controller.ask());
        if (verified === 0) controller.record({ verified, accepted: 0, emitted: 1, ...costs });
        else controller.record({ verified, tested, accepted: 1, emitted: 2, ...costs });
      }
      return controller.ask();
    };
    // All that was looked at was right: larger trees are tried. Half of it was not: smaller ones.
    expect(after(1)).toBeGreaterThan(8);
    expect(after(undefined)).toBeLessThanOrEqual(8);
  });

  test("is surprised by an unknown cost once, and makes up for it", () => {
    // Five plain steps for a call of two, and a drafter that was said to be free and is not.
    const costs: Costs = { target: (n) => (n === 1 ? 1 : 5), draft: () => 3 };
    let worst = 0;
    const { cost, plain, rounds } = simulate(
      { costs, tokens: 2000, draft: (_position, gamma) => ({ drafted: gamma, right: 0 }) },
      (spent, atMost) => {
        worst = Math.max(worst, spent - atMost - Math.max(1, 0.05 * atMost));
      },
    );
    expect(worst).toBeLessThanOrEqual(5 + 3);
    expect(cost / plain).toBeLessThanOrEqual(1.05);
    expect(rounds).toBeLessThan(20);
  });

  test("stays within 5 % where single measurements are a third off", () => {
    const random = createRandom(3);
    const noise = () => 0.67 + 0.66 * random.uniform();
    for (const acceptance of [0, 0.1, 0.2, 0.3, 0.5]) {
      const costs: Costs = { target: (n) => 0.65 + 0.35 * n, draft: () => 0.02 };
      const { cost, plain } = simulate({ costs, tokens: 20_000, draft: independent(acceptance, 9), noise });
      expect(cost / plain, `acceptance ${acceptance}`).toBeLessThanOrEqual(1.05);
    }
  });

  test.each([1.7, 4])("is not fooled by cold code that takes %d times as long", (factor) => {
    // The first calls take longer, whatever they do; afterwards no round pays.
    let calls = 0;
    const noise = () => (calls++ < 6 ? factor : 1);
    const costs: Costs = { target: (n) => 0.2 + 0.8 * n, draft: () => 0 };
    const { cost, plain } = simulate({ costs, tokens: 3000, draft: independent(0.5, 4), noise });
    expect(cost / plain).toBeLessThanOrEqual(1.05);
  });

  test.each([
    [0.5, gentle],
    [0.7, gentle],
    [0.8, gentle],
    [0.9, gentle],
    [1, gentle],
    [0.8, { target: (n: number) => 1 + 0.35 * (n - 1), draft: () => 0 }],
    [0.9, { target: (n: number) => (n <= 8 ? 1 + 0.15 * (n - 1) : 2.5 + 0.15 * (n - 1)), draft: () => 0 }],
    [0.8, { target: (n: number) => 1 + 0.05 * (n - 1), draft: (gamma: number) => 0.1 * gamma }],
  ])(
    "reaches nine tenths of the speed-up of the best fixed length, at acceptance %d",
    (acceptance, costs) => {
      const best = expectedSpeedup(acceptance, bestDraftLength(acceptance, costs, 16), costs);
      const { cost, plain } = simulate({ costs, tokens: 20_000, draft: independent(acceptance, 5) });
      expect(best).toBeGreaterThan(1);
      expect(plain / cost).toBeGreaterThan(0.9 * best);
    },
  );

  test("costs next to nothing where every draft is wrong", () => {
    const costs: Costs = { target: (n) => 1 + 0.35 * (n - 1), draft: () => 0.01 };
    const { cost, plain } = simulate({ costs, tokens: 5000, draft: independent(0, 1) });
    expect(cost / plain).toBeLessThan(1.01);
  });

  test("finds a copied passage in a text that cannot be drafted, by the length of the match", () => {
    // 60 copied tokens in every 300; elsewhere short matches that lead nowhere.
    const passage = (position: number) => (position % 300) - 240;
    const { cost, plain } = simulate({
      costs: gentle,
      tokens: 9000,
      draft: (position, gamma) => {
        const inside = passage(position);
        const matchLength = Math.max(inside, 2);
        return { drafted: Math.min(gamma, matchLength), right: inside < 0 ? 0 : 60 - inside, matchLength };
      },
      options: { byMatchLength: true },
    });
    // All of the passages at 16 tokens a call would be 1.2; without them at all 1.
    expect(plain / cost).toBeGreaterThan(1.12);
  });

  test("makes a plain step first, and after a new request goes on with what it knows", () => {
    const controller = new SpeculationController();
    expect(controller.ask()).toBe(0);
    controller.record({ verified: 0, accepted: 0, emitted: 1, targetCost: 1, draftCost: 0 });
    // Of an unknown curve no more than one rejected token is afforded.
    expect(controller.ask()).toBe(1);
    expect(controller.keep(1)).toBe(1);
    controller.record({ verified: 1, accepted: 1, emitted: 2, targetCost: 1.1, draftCost: 0.01 });
    expect(controller.ask()).toBe(2);
    controller.restart();
    expect(controller.ask()).toBe(1);
  });

  test("asks for no more than there is room for, and takes a full context for no failure", () => {
    const controller = new SpeculationController();
    const plain = { verified: 0, accepted: 0, emitted: 1, targetCost: 1, draftCost: 0 };
    controller.record(plain);
    for (let i = 0; i < 8; i++) {
      const verified = controller.keep(controller.ask());
      controller.record({ ...plain, verified, accepted: verified, emitted: verified + 1 });
    }
    expect(controller.ask(2)).toBe(2);
    expect([controller.ask(0), controller.keep(1)]).toEqual([0, 0]);
    controller.record(plain);
    expect(controller.ask()).toBeGreaterThan(2);
  });

  test("knows what a whole draft costs after many that ended early", () => {
    // A token of the drafter costs half a step; drafts end before their first token, and then they do not.
    const { cost, plain } = simulate({
      costs: { target: (n) => 1 + 0.3 * (n - 1), draft: (gamma) => 0.5 * gamma },
      tokens: 3000,
      draft: (position, gamma) => ({ drafted: position % 100 < 80 ? 0 : gamma, right: 0 }),
      options: { draftCost: 0.5 },
    });
    expect(cost / plain).toBeLessThanOrEqual(1.05);
  });

  test.each([-1, Number.NaN, Infinity])("takes nothing from a clock that says %d now and then", (broken) => {
    const controller = new SpeculationController();
    const step = { verified: 0, accepted: 0, emitted: 1, targetCost: broken, draftCost: 0 };
    controller.record(step);
    expect(controller.ask()).toBe(0);
    controller.record({ ...step, targetCost: 1 });
    expect(controller.ask()).toBe(1);
    controller.record({ ...step, verified: 1, draftCost: 0 });
    controller.record({ ...step, draftCost: broken, targetCost: 1 });
    expect(controller.ask()).toBe(1);
  });

  test("drafts nothing of worth by a clock that stands still, and takes no harm", () => {
    const { rounds } = simulate({
      costs: { target: () => 0, draft: () => 0 },
      tokens: 300,
      draft: (_position, gamma) => ({ drafted: gamma, right: gamma }),
    });
    // Nothing is known to cost anything: the lengths stay where they began.
    expect(rounds).toBeGreaterThan(300 / (4 + 1) - 10);
  });

  test("refuses rounds that cannot be", () => {
    const controller = new SpeculationController();
    const round = { verified: 2, accepted: 1, emitted: 2, targetCost: 1, draftCost: 0 };
    expect(() => controller.record({ ...round, verified: 17 })).toThrow(
      '"verified" must be an integer from 0 to 16, got 17',
    );
    expect(() => controller.record({ ...round, accepted: 3 })).toThrow(
      '"accepted" must be an integer from 0 to 2, got 3',
    );
    expect(() => controller.record({ ...round, emitted: 3 })).toThrow(
      '"emitted" must be an integer from 1 to 2, got 3',
    );
    expect(() => new SpeculationController({ cap: 65 })).toThrow(
      '"cap" must be an integer from 1 to 64, got 65',
    );
    expect(() => new SpeculationController({ draftCost: -1 })).toThrow(RangeError);
  });
});
