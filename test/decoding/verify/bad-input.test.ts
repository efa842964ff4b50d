/** Requests that are wrong get an error that says what is wrong. */
import { describe, expect, it } from "vitest";
import type { Draft, RowSet } from "../../../src/decoding/draft.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import {
  defaultVerifier,
  findVerifier,
  type Policy,
  VERIFIERS,
} from "../../../src/decoding/verify/registry.ts";
import { fromSiblingLinks } from "../../../src/decoding/verify/sibling-links.ts";
import { MAX_DRAFT } from "../../../src/decoding/verify/tree.ts";
import type { VerifyRequest } from "../../../src/decoding/verify/types.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";

const uniformRows = (count: number, vocab = 2): RowSet => ({
  count,
  vocab,
  row: () => new Float64Array(vocab).fill(1 / vocab),
});

function request(
  draft: Partial<Record<keyof Draft, unknown>>,
  rest: Partial<VerifyRequest> = {},
): VerifyRequest {
  return {
    rows: uniformRows(4),
    draft: { tokens: [0, 1, 0], law: "one-hot", ...draft } as Draft,
    start: 0,
    random: seededRandom(1),
    policy: { verifier: "token" },
    ...rest,
  };
}

describe("verify refuses", () => {
  const rows = uniformRows(4);
  const cases: [what: string, request: VerifyRequest, error: Error][] = [
    [
      "an unknown verifier",
      request({}, { policy: { verifier: "constructor" } as unknown as Policy }),
      new RangeError(
        `"policy.verifier" must be one of ${Object.keys(VERIFIERS).join(", ")}, got "constructor"`,
      ),
    ],
    [
      "a draft without tokens",
      request({ tokens: undefined }),
      new TypeError('"draft.tokens.length" must be an integer, got undefined'),
    ],
    [
      "a draft that is too long",
      request({ tokens: { length: MAX_DRAFT + 1 } }),
      new RangeError('"draft.tokens.length" must be an integer from 0 to 1024, got 1025'),
    ],
    [
      "a token that is no integer",
      request({ tokens: [0, 0.5, 0] }),
      new RangeError(
        '"draft.tokens[1]" must be an integer from -9007199254740991 to 9007199254740991, got 0.5',
      ),
    ],
    [
      "a token that is no number",
      request({ tokens: [0, "1", 0] }),
      new TypeError('"draft.tokens[1]" must be an integer, got string'),
    ],
    [
      "parents of another length",
      request({ parents: [-1] }),
      new RangeError('"draft.parents" must have one entry per token, 3, got 1'),
    ],
    [
      "a parent that comes later",
      request({ parents: [-1, 1, 0] }),
      new RangeError('"draft.parents[1]" must be an integer from -1 to 0, got 1'),
    ],
    [
      "a tree for a verifier of chains",
      request({ parents: [-1, 0, 0] }),
      new RangeError('Verifier "token" needs a chain, got node 2 with parent 0'),
    ],
    [
      "too few rows",
      request({}, { rows: uniformRows(3) }),
      new RangeError('"rows.count" must be an integer from 4 to 9007199254740991, got 3'),
    ],
    [
      "rows that are too short",
      request({}, { rows: { ...rows, vocab: 3 } }),
      new RangeError('Row 0 of "rows" must have 3 values, got 2'),
    ],
    [
      "rows of another kind",
      request({}, { rows: { ...rows, row: () => [0.5, 0.5] as unknown as Float64Array } }),
      new TypeError('Row 0 of "rows" must be a Float32Array or Float64Array, got object'),
    ],
    [
      "an empty vocabulary",
      request({}, { rows: uniformRows(4, 0) }),
      new RangeError('"rows.vocab" must be an integer from 1 to 2147483647, got 0'),
    ],
    [
      "a position that is none",
      request({}, { start: -1 }),
      new RangeError('"start" must be an integer from 0 to 4294967295, got -1'),
    ],
    [
      "an unknown law",
      request({ law: "soft" }),
      new TypeError('"draft.law" must be "one-hot", { scalars } or { rows }, got "soft"'),
    ],
    [
      "no law",
      request({ law: undefined }),
      new TypeError('"draft.law" must be "one-hot", { scalars } or { rows }, got undefined'),
    ],
    [
      "a law that the verifier cannot use",
      request({ law: { scalars: [1, 1, 1] } }, { policy: { verifier: "block" } }),
      new RangeError('Verifier "block" needs a draft law of one-hot or rows, got scalars'),
    ],
    [
      "too few scalars",
      request({ law: { scalars: [1] } }),
      new RangeError('"draft.law.scalars.length" must be an integer from 3 to 3, got 1'),
    ],
    [
      "a scalar that is no probability",
      request({ law: { scalars: [1, NaN, 1] } }),
      new RangeError('"draft.law.scalars[1]" must be a number from 0 to 1, got NaN'),
    ],
    [
      "too few draft rows",
      request({ law: { rows: uniformRows(2) } }),
      new RangeError('"draft.law.rows.count" must be an integer from 3 to 9007199254740991, got 2'),
    ],
    [
      "draft rows of another vocabulary",
      request({ law: { rows: uniformRows(4, 3) } }),
      new RangeError('"draft.law.rows.vocab" must be an integer from 2 to 2, got 3'),
    ],
    [
      "draft rows that are no probabilities",
      request({ law: { rows: { ...rows, row: () => new Float32Array([NaN, 1]) } } }),
      new RangeError(
        'Row 0 of "draft.law.rows" must be probabilities that sum to 1, got a negative number or NaN among them',
      ),
    ],
  ];
  it.each(cases)("%s", (_what, wrong, error) => {
    expect(() => verify(wrong)).toThrow(error);
  });

  it.each([
    { verifier: "threshold", threshold: 1.1 },
    { verifier: "threshold", threshold: NaN },
    { verifier: "reverse", threshold: -0.1 },
    { verifier: "typical", epsilon: 2 },
    { verifier: "typical", delta: -1 },
    { verifier: "relaxed", topK: 0 },
    { verifier: "relaxed", ratio: 1.5 },
    { verifier: "relaxed", boundary: 2 },
    { verifier: "target-only-threshold", acceptThreshold: 2, singleThreshold: 1 },
    { verifier: "target-only-threshold", acceptThreshold: 1, singleThreshold: NaN },
  ] as Policy[])("options out of range: %o", (policy) => {
    const [name] = Object.keys(policy).filter(
      (key) => key !== "verifier" && policy[key as keyof Policy] !== (1 as unknown),
    );
    expect(() => verify(request({}, { policy }))).toThrow(`"policy.${name}" must be `);
  });
});

describe("a long draft", () => {
  it("of the largest length is verified, as a chain and as a star", () => {
    const tokens = Array(MAX_DRAFT).fill(0);
    const rows: RowSet = { count: MAX_DRAFT + 1, vocab: 1, row: () => Float64Array.of(1) };
    for (const parents of [undefined, tokens.map(() => -1)]) {
      const verdict = verify(
        request({ tokens, parents, law: { rows } }, { rows, policy: { verifier: "traversal" } }),
      );
      expect(verdict.accepted).toHaveLength(parents === undefined ? MAX_DRAFT : 1);
    }
  });
});

describe("sibling links", () => {
  const links = (firstChild: number[], nextSibling: number[]) =>
    fromSiblingLinks({ candidates: firstChild, firstChild, nextSibling });
  it("become parents that come first", () => {
    const { tokens, parents, order } = fromSiblingLinks({
      candidates: [7, 8, 9, 10, 11, 12],
      firstChild: [4, 2, 3, -1, 5, -1],
      nextSibling: [-1, -1, -1, -1, 1, -1],
    });
    expect({ tokens, parents, order }).toEqual({
      tokens: [11, 8, 12, 9, 10],
      parents: [-1, -1, 0, 1, 3],
      order: [0, 4, 1, 5, 2, 3],
    });
  });
  it("must not go round in circles", () => {
    const twice = new RangeError("Entry 1 must be linked to once, is linked to twice");
    expect(() => links([1, -1], [-1, 1])).toThrow(twice);
    expect(() => links([1, 1], [-1, -1])).toThrow(twice);
    expect(() => links([0], [-1])).toThrow("Entry 0 must be linked to once");
  });
  it("must stay inside", () => {
    expect(() => links([2, -1], [-1, -1])).toThrow('"firstChild[0]" must be an integer from -1 to 1, got 2');
    expect(() => links([1, -1], [-1, NaN])).toThrow('"nextSibling[1]" must be an integer');
    expect(() => links([-1, -1], [-1])).toThrow('"nextSibling.length" must be an integer from 2 to 2, got 1');
  });
});

describe("registry", () => {
  it("defaults to verifiers that keep the text", () => {
    expect(defaultVerifier("one-hot")).toBe("match");
    expect(defaultVerifier("rows")).toBe("gumbel");
    expect(defaultVerifier("scalars")).toBe("gumbel");
    for (const law of ["one-hot", "scalars", "rows"] as const) {
      const { lossless, reproducible, laws } = findVerifier(defaultVerifier(law));
      expect({ lossless, reproducible }).toEqual({ lossless: true, reproducible: true });
      expect(laws).toContain(law);
    }
  });
});
