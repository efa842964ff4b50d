import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ROOT, SuffixAutomaton } from "../../../src/decoding/drafter/suffix-automaton.ts";
import { createRandom } from "../../support/random.ts";
import { longestRepeat, longestSuffixIn } from "./reference.ts";

const text = fc
  .integer({ min: 1, max: 4 })
  .chain((letters) => fc.array(fc.integer({ min: 0, max: letters - 1 }), { maxLength: 60 }));

function automatonOf(tokens: readonly number[]): SuffixAutomaton {
  const automaton = new SuffixAutomaton();
  for (const token of tokens) automaton.push(token);
  return automaton;
}

/** All that can be asked of it: from ROOT, which strings it knows and where each first ended. */
function contents(automaton: SuffixAutomaton, letters: number, depth: number): string[] {
  const found: string[] = [];
  const visit = (state: number, path: string): void => {
    found.push(`${path} ends at ${automaton.firstEnd(state)}`);
    if (path.length === depth) return;
    for (let token = 0; token < letters; token++) {
      const next = automaton.step(state, token);
      if (next >= 0) visit(next, path + token);
    }
  };
  visit(ROOT, "");
  return found;
}

function expectLongestRepeat(automaton: SuffixAutomaton, tokens: readonly number[]): void {
  const { length, end } = longestRepeat(tokens);
  expect([automaton.matchLength, automaton.matchEnd], tokens.join(" ")).toEqual([length, end]);
}

describe("suffix automaton", () => {
  test("knows the longest earlier suffix and its first occurrence after every token", () => {
    fc.assert(
      fc.property(text, (tokens) => {
        const automaton = new SuffixAutomaton();
        for (let i = 0; i < tokens.length; i++) {
          automaton.push(tokens[i]);
          expectLongestRepeat(automaton, tokens.slice(0, i + 1));
        }
      }),
      { numRuns: 150 },
    );
  });

  test("after taking tokens back is the automaton of what is left, whatever came before", () => {
    const edit = fc.record({ back: fc.nat(40), more: text });
    fc.assert(
      fc.property(text, fc.array(edit, { maxLength: 5 }), (first, edits) => {
        const automaton = automatonOf(first);
        let tokens = first;
        for (const { back, more } of edits) {
          for (let i = 0; i < Math.min(back, tokens.length); i++) automaton.pop();
          tokens = tokens.slice(0, Math.max(0, tokens.length - back));
          expectLongestRepeat(automaton, tokens);
          expect(contents(automaton, 4, 5)).toEqual(contents(automatonOf(tokens), 4, 5));
          for (const token of more) automaton.push(token);
          tokens = [...tokens, ...more];
        }
        expectLongestRepeat(automaton, tokens);
        expect(contents(automaton, 4, 5)).toEqual(contents(automatonOf(tokens), 4, 5));
      }),
      { numRuns: 300 },
    );
  });

  test("taken back to the first token and built again is the same", () => {
    fc.assert(
      fc.property(text, text, (first, second) => {
        const automaton = automatonOf(first);
        while (automaton.length > 0) automaton.pop();
        for (const token of second) automaton.push(token);
        expect(contents(automaton, 4, 6)).toEqual(contents(automatonOf(second), 4, 6));
        automaton.clear();
        for (const token of first) automaton.push(token);
        expect(contents(automaton, 4, 6)).toEqual(contents(automatonOf(first), 4, 6));
      }),
    );
  });

  test("knows exactly the substrings", () => {
    fc.assert(
      fc.property(text, text, (corpus, probe) => {
        const automaton = automatonOf(corpus);
        let state = ROOT;
        let known = 0;
        for (const token of probe) {
          state = automaton.step(state, token);
          if (state < 0) break;
          known++;
        }
        expect(longestSuffixIn(corpus, probe.slice(0, known))).toBe(known);
        if (known < probe.length) {
          expect(longestSuffixIn(corpus, probe.slice(0, known + 1))).toBeLessThanOrEqual(known);
        }
      }),
    );
  });

  const N = 100_000;
  const random = createRandom(7);
  test.each([
    ["one token", () => 0],
    ["a period of 7", (i: number) => i % 7],
    ["a then b, the most states", (i: number) => (i < N / 2 ? 0 : 1)],
    ["ab, then b: the most splits", (i: number) => (i === 0 ? 0 : 1)],
    ["two letters", () => random.below(2)],
    ["word-like tokens", () => Math.floor(30_000 * random.uniform() ** 6)],
    ["all different", (i: number) => i],
  ])("takes linear steps and bounded memory for %s", (_name, token) => {
    const automaton = new SuffixAutomaton();
    for (let i = 0; i < N; i++) automaton.push(token(i));
    expect(automaton.length).toBe(N);
    expect(automaton.steps).toBeLessThan(10 * N);
    // Half as much again as the documented maximum, as tables grow by half when they are full.
    expect(automaton.bytes).toBeLessThan(1.5 * (12 + 40 + 27) * N);
    const pushed = automaton.steps;
    while (automaton.length > 0) automaton.pop();
    expect(automaton.steps - pushed).toBeLessThan(10 * N);
    expect(automaton.matchLength).toBe(0);
  });
});
