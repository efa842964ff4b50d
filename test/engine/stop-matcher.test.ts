import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StopMatcher } from "../../src/engine/stop-matcher.ts";

/** Everything that comes out, push by push and at the end. */
function pass(stops: string[], pieces: string[]): { pieces: string[]; text: string; stopped: boolean } {
  const matcher = new StopMatcher(stops);
  const out = pieces.map((piece) => matcher.push(piece));
  if (!matcher.stopped) out.push(matcher.end());
  return { pieces: out, text: out.join(""), stopped: matcher.stopped };
}

describe("StopMatcher", () => {
  it("passes text on at once where nothing could stop it", () => {
    expect(pass([], ["a", "b"])).toEqual({ pieces: ["a", "b", ""], text: "ab", stopped: false });
    expect(pass(["END"], ["abc", "de"]).pieces).toEqual(["abc", "de", ""]);
  });

  it("holds back the beginning of a stop text, and nothing more", () => {
    expect(pass(["END"], ["abE", "N", "xE"]).pieces).toEqual(["ab", "", "ENx", "E"]);
    expect(pass(["END"], ["E", "E", "END"])).toEqual({ pieces: ["", "E", "E"], text: "EE", stopped: true });
    expect(pass(["aab"], ["aaa", "ab"])).toEqual({ pieces: ["a", "a"], text: "aa", stopped: true });
  });

  it("ends before a stop text, and passes nothing on after it", () => {
    const matcher = new StopMatcher(["\n\n"]);
    expect(matcher.push("one\n")).toBe("one");
    expect(matcher.stopped).toBe(false);
    expect(matcher.push("\ntwo\n\n")).toBe("");
    expect(matcher.stopped).toBe(true);
    expect(matcher.push("three")).toBe("");
    expect(matcher.end()).toBe("");
  });

  it("ends before the first of several stop texts", () => {
    expect(pass(["xyz", "b"], ["abcxyz"]).text).toBe("a");
    expect(pass(["bc", "b"], ["abc"]).text).toBe("a");
    expect(pass(["abc", "b"], ["a", "b", "c"])).toEqual({ pieces: ["", "a", ""], text: "a", stopped: true });
  });

  it("knows texts beyond the first plane of Unicode", () => {
    expect(pass(["\u{1f600}"], ["hi \u{1f601}", "\u{1f600}!"]).text).toBe("hi \u{1f601}");
  });

  it("gives the text before the first occurrence, however it was cut", () => {
    const letters = (length: number) =>
      fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: length });
    fc.assert(
      fc.property(letters(4), fc.array(letters(5), { maxLength: 10 }), (stop, pieces) => {
        const { text, stopped } = pass([stop], pieces);
        const all = pieces.join("");
        const at = all.indexOf(stop);
        expect([text, stopped]).toEqual([at < 0 ? all : all.slice(0, at), at >= 0]);
      }),
      { numRuns: 3000, seed: 1 },
    );
  });

  it("never emits a stop text, nor loses what does not belong to one", () => {
    const letters = (length: number) =>
      fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: length });
    fc.assert(
      fc.property(
        fc.array(letters(4), { minLength: 1, maxLength: 4 }),
        fc.array(letters(3)),
        (stops, pieces) => {
          const { text, stopped } = pass(stops, pieces);
          const all = pieces.join("");
          expect(stops.some((stop) => text.includes(stop))).toBe(false);
          expect(all.startsWith(text)).toBe(true);
          expect(stopped).toBe(stops.some((stop) => all.includes(stop)));
          if (stopped) expect(stops.some((stop) => all.startsWith(stop, text.length))).toBe(true);
          else expect(text).toBe(all);
        },
      ),
      { numRuns: 3000, seed: 1 },
    );
  });
});
