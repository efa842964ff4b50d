import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ChoiceConstraint, maskAfter, onlyTokenAfter } from "../../src/decoding/constraint.ts";
import { createPipeline, PRESET_NAMES, presetSteps } from "../../src/decoding/pipeline.ts";
import { createRandom } from "../support/random.ts";

const VOCAB = 70;
const END = 2;

const idsOf = (mask: Uint32Array) =>
  Array.from({ length: 32 * mask.length }, (_, id) => id).filter((id) => (mask[id >>> 5] >>> (id & 31)) & 1);

const make = (choices: number[][], endTokens = [END]) =>
  new ChoiceConstraint({ vocab: VOCAB, choices, endTokens });

/** By definition: the texts are the choices with an end token; what may follow is what some text has there. */
function allowed(choices: number[][], endTokens: number[], path: readonly number[]): number[] {
  const texts = choices.flatMap((choice) => endTokens.map((end) => [...choice, end]));
  const going = texts.filter(
    (text) => text.length > path.length && path.every((token, i) => text[i] === token),
  );
  return [...new Set(going.map((text) => text[path.length]))].sort((a, b) => a - b);
}

const token = fc.integer({ min: 3, max: 6 });
const grammar = fc.record({
  choices: fc.array(fc.array(token, { maxLength: 5 }), { minLength: 1, maxLength: 6 }),
  endTokens: fc.constantFrom<number[]>([END], [0, 69]),
});

describe("ChoiceConstraint", () => {
  it("allows what continues or ends a choice", () => {
    const constraint = make([[31, 32], [31], [64, 65, 66]]);
    expect(idsOf(constraint.mask())).toEqual([31, 64]);
    expect(constraint.onlyToken()).toBe(null);
    constraint.accept(31);
    expect(idsOf(constraint.mask())).toEqual([END, 32]);
    constraint.accept(32);
    expect(idsOf(constraint.mask())).toEqual([END]);
    expect(constraint.onlyToken()).toBe(END);
    constraint.accept(END);
    expect(idsOf(constraint.mask())).toEqual([]);
    expect(constraint.onlyToken()).toBe(null);
    expect(() => constraint.accept(END)).toThrow(RangeError);
    constraint.rollback(3);
    constraint.accept(64);
    expect(constraint.onlyToken()).toBe(65);
  });

  it("is after any walk, back and forth, what it is after the tokens that remain", () => {
    fc.assert(
      fc.property(grammar, fc.nat(), ({ choices, endTokens }, seed) => {
        const random = createRandom(seed);
        const constraint = make(choices, endTokens);
        const path: number[] = [];
        for (let step = 0; step < 40; step++) {
          const next = allowed(choices, endTokens, path);
          expect(idsOf(constraint.mask())).toEqual(next);
          expect(constraint.onlyToken()).toBe(next.length === 1 ? next[0] : null);
          const wrong = random.below(VOCAB);
          if (!next.includes(wrong)) expect(() => constraint.accept(wrong)).toThrow(RangeError);
          if (next.length > 0 && random.below(3) > 0) {
            path.push(next[random.below(next.length)]);
            constraint.accept(path[path.length - 1]);
          } else {
            const count = random.below(path.length + 1);
            path.length -= count;
            constraint.rollback(count);
          }
          const replay = make(choices, endTokens);
          for (const accepted of path) replay.accept(accepted);
          expect(constraint.mask()).toEqual(replay.mask());
        }
        expect(() => constraint.rollback(path.length + 1)).toThrow(RangeError);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it.each<[() => unknown, string]>([
    [() => make([]), '"choices.length" must be an integer from 1'],
    [() => make([[3]], []), '"endTokens.length" must be an integer from 1'],
    [() => make([[3]], [70]), '"endTokens[0]" must be an integer from 0 to 69, got 70'],
    [() => make([[3], [3, -1]]), '"choices[1][1]" must be an integer from 0 to 69, got -1'],
    [() => make([[3, END]]), '"choices[0][1]" must not be an end token, got 2'],
    [
      () => new ChoiceConstraint({ vocab: 0, choices: [[1]], endTokens: [0] }),
      '"vocab" must be an integer from 1',
    ],
    [() => make([[3]]).accept(4), '"token" must continue or end a choice, got 4'],
    [() => make([[3]]).rollback(1), '"count" must be an integer from 0 to 0, got 1'],
  ])("%#: refuses what cannot be", (act, message) => {
    expect(act).toThrow(message);
  });
});

describe("maskAfter and onlyTokenAfter", () => {
  it("look ahead and leave no trace", () => {
    fc.assert(
      fc.property(
        grammar,
        fc.array(fc.oneof(token, fc.constantFrom(END, 0, 69)), { maxLength: 7 }),
        (options, path) => {
          const { choices, endTokens } = options;
          const constraint = make(choices, endTokens);
          const before = constraint.mask().slice();
          const mayFollow = path.every((token, i) =>
            allowed(choices, endTokens, path.slice(0, i)).includes(token),
          );
          const next = allowed(choices, endTokens, path);
          const mask = maskAfter(constraint, path);
          expect(mask === null ? null : idsOf(mask)).toEqual(mayFollow ? next : null);
          expect(onlyTokenAfter(constraint, path)).toBe(mayFollow && next.length === 1 ? next[0] : null);
          expect(constraint.mask()).toEqual(before);
        },
      ),
      { numRuns: 500, seed: 2 },
    );
  });

  it("give a mask that is the caller's", () => {
    const constraint = make([[3], [4]]);
    const mask = maskAfter(constraint, [])!;
    constraint.accept(3);
    constraint.mask();
    expect(idsOf(mask)).toEqual([3, 4]);
  });

  it("let errors of the grammar through", () => {
    const broken = Object.assign(make([[3]]), {
      mask: () => {
        throw new RangeError("Out of states");
      },
    });
    expect(() => maskAfter(broken, [3])).toThrow("Out of states");
    expect(broken.onlyToken()).toBe(3);
  });
});

describe("a constrained pipeline", () => {
  it.each(PRESET_NAMES)("%s emits one of the choices, whatever the rows say", (name) => {
    const choices = [[5, 6, 7], [5, 6], [40, 41, 42, 43], [69]];
    const pipeline = createPipeline(presetSteps(name, { temperature: 2, repetitionPenalty: 1.3 }));
    const random = createRandom(3);
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const constraint = make(choices);
      const history: number[] = [];
      while (history.at(-1) !== END) {
        const row = Float32Array.from({ length: VOCAB }, () => 4 * random.normal());
        const bitmask = constraint.mask();
        const { token } = pipeline.sample(row, { history, promptLength: 0, seed, bitmask });
        constraint.accept(token);
        history.push(token);
      }
      seen.add(history.slice(0, -1).join());
    }
    expect([...seen].sort()).toEqual(choices.map((choice) => choice.join()).sort());
  });
});
