/** Published vectors of other runtimes: vLLM, SGLang, Hugging Face transformers, ONNX Runtime GenAI, TensorRT-LLM. */
import { describe, expect, it } from "vitest";
import { referenceRowMath as math } from "../../../src/backend/reference/row-math.ts";
import type { Draft, Row, RowSet } from "../../../src/decoding/draft.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { fromSiblingLinks, orderRows } from "../../../src/decoding/verify/sibling-links.ts";
import type { Verdict } from "../../../src/decoding/verify/types.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import { compareRound, drawBy, lawOfRound } from "./models.ts";

function rowSet(rows: readonly Row[]): RowSet {
  return { count: rows.length, vocab: rows[0].length, row: (index) => rows[index] };
}

const oneHot = (vocab: number, token: number) => new Float64Array(vocab).fill(1, token, token + 1);

function softmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  const top = Math.max(...Array.from(logits));
  const values = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const sum = values.reduce((a, b) => a + b);
  return values.map((value) => value / sum);
}

/** The coin of each node, and 0.5 for what follows. */
const coins = (values: readonly number[]) => ({
  uniform: (_position: number, stage: number, item: number) =>
    stage === STAGE.accept ? values[item - 1] : 0.5,
  noise: () => 0.5,
});

function run(
  rows: readonly Row[],
  draft: Draft,
  policy: Policy,
  random = coins(Array(8).fill(0.5)),
): Verdict {
  return verify({ rows: rowSet(rows), draft, start: 10, random, policy });
}

const EXACT_POLICIES = ["greedy", "gumbel", "token", "block", "target-only"] as const;

describe("greedy chain (vLLM)", () => {
  const vectors: [draft: number[], target: number[], output: number[]][] = [
    [
      [1, 2, 3],
      [1, 2, 3, 4],
      [1, 2, 3, 4],
    ],
    [
      [1, 2, 3],
      [1, 5, 3, 4],
      [1, 5],
    ],
    [
      [1, 2],
      [1, 2, 5],
      [1, 2, 5],
    ],
    [[3], [3, 4], [3, 4]],
    [[1], [1, 2], [1, 2]],
    [[], [5], [5]],
    [
      [1, 2, 3],
      [1, 2, 7, 6],
      [1, 2, 7],
    ],
    [
      [4, 5, 6],
      [4, 8, 6, 9],
      [4, 8],
    ],
    [[1], [2, 3], [2]],
    [
      [1, 2],
      [1, 5, 6],
      [1, 5],
    ],
    [
      [3, 4],
      [3, 4, 7],
      [3, 4, 7],
    ],
    // The placeholder.
    [[-1], [3, 4], [3]],
    [
      [3, -1, 5],
      [3, 4, 5, 6],
      [3, 4],
    ],
  ];
  for (const [tokens, target, output] of vectors) {
    it(`draft ${tokens} and target ${target} give ${output}, with every exact verifier`, () => {
      const rows = target.map((token) => oneHot(10, token));
      for (const verifier of EXACT_POLICIES) {
        const verdict = run(rows, { tokens, law: "one-hot" }, { verifier });
        expect(verdict.emitted).toEqual(output);
        expect(verdict.accepted).toEqual(output.slice(1).map((_, node) => node));
      }
      for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
        const q = tokens.map((token) => oneHot(10, Math.max(token, 0)));
        const law = { rows: rowSet([...q, oneHot(10, 0)]) };
        expect(run(rows, { tokens, law }, { verifier }).emitted).toEqual(output);
      }
    });
  }
});

describe("samplers that look at history (vLLM), by matching", () => {
  const best = (logits: Float64Array) => logits.indexOf(Math.max(...logits));
  /** Logits of −100, but 100 for the target and 99 for token 15. */
  const rowsOf = (target: number[]) =>
    target.map((token) => {
      const row = new Float64Array(100).fill(-100);
      row[15] = 99;
      row[token] = 100;
      return row;
    });
  const output = (
    target: number[],
    tokens: number[],
    sample: (row: Float64Array, text: number[]) => number,
  ) =>
    run(
      rowsOf(target),
      { tokens, law: "one-hot" },
      {
        verifier: "match",
        sample: (row, _position, emitted) => sample(Float64Array.from(row), [...emitted]),
      },
    ).emitted;

  it("frequency penalty", () => {
    const penalized =
      (penalty: number, history: number[]) =>
      (logits: Float64Array, emitted: number[]): number => {
        for (const token of [...history, ...emitted]) logits[token] -= penalty;
        return best(logits);
      };
    expect(output([1, 1, 1, 1], [1, 1, 1], penalized(1.5, [2]))).toEqual([1, 15]);
    expect(output([7], [], penalized(1.5, [3]))).toEqual([7]);
    expect(output([1, 1, 1, 1], [1, 1, 1], penalized(0.7, [4]))).toEqual([1, 1, 15]);
  });

  it("bad words and allowed ids", () => {
    const banning =
      (...banned: number[]) =>
      (logits: Float64Array): number => {
        for (const token of banned) logits[token] = -Infinity;
        return best(logits);
      };
    expect(output([1, 2, 3, 4], [1, 2, 3], banning(2))).toEqual([1, 15]);
    expect(output([1, 15, 3, 4], [1, 15, 3], banning())).toEqual([1, 15, 3, 4]);
    expect(output([1, 2, 10, 5], [1, 2, 10], banning(0, 1, 2, 3, 4))).toEqual([15]);
    expect(output([10, 5, 3, 5], [10, 5, 3], banning(1, 2, 3, 4))).toEqual([10, 5, 15]);
    expect(output([7, 10, 12, 5], [7, 10, 12], banning(2, 3, 4))).toEqual([7, 10, 12, 5]);
  });
});

describe("tree (SGLang)", () => {
  const VOCAB = 20;
  const layouts = [
    {
      candidates: [0, 1, 2, 3, 4, 5],
      firstChild: [1, 2, -1, 4, 5, -1],
      nextSibling: [-1, 3, -1, -1, -1, -1],
    },
    {
      candidates: [7, 8, 9, 10, 11, 12],
      firstChild: [4, 2, 3, -1, 5, -1],
      nextSibling: [-1, -1, -1, -1, 1, -1],
    },
  ];
  const best = [
    [3, 18, 18, 4, 5, 18],
    [11, 18, 18, 18, 12, 18],
  ];

  /** Tokens and entries of the layout, for the request of that index. */
  function play(request: number, policy: Policy, temperature: number) {
    const { tokens, parents, order } = fromSiblingLinks(layouts[request]);
    const rows = best[request].map((token) =>
      softmax(
        oneHot(VOCAB, token).map((hot) => (hot === 1 ? 10 : 1)),
        temperature,
      ),
    );
    const { accepted, emitted } = verify({
      rows: orderRows(rowSet(rows), order),
      draft: { tokens, parents, law: "one-hot" },
      start: 10,
      random: coins(Array(8).fill(0.5)),
      policy,
    });
    return { emitted, entries: [0, ...accepted.map((node) => order[node + 1])] };
  }

  it("greedy, and sampling with thresholds 1 at temperature 0.01", () => {
    const thresholds = { acceptThreshold: 1, singleThreshold: 1 };
    const policies: Policy[] = [
      { verifier: "greedy" },
      { verifier: "gumbel" },
      { verifier: "target-only" },
      { verifier: "target-only-threshold", ...thresholds },
    ];
    for (const policy of policies) {
      expect(play(0, policy, 0.01)).toEqual({ emitted: [3, 4, 5, 18], entries: [0, 3, 4, 5] });
      expect(play(1, policy, 0.01)).toEqual({ emitted: [11, 12, 18], entries: [0, 4, 5] });
    }
  });

  it("thresholds 0 accept first children; at temperature 0.1, as at 0.01 they have probability 0", () => {
    const policy = { verifier: "target-only-threshold", acceptThreshold: 0, singleThreshold: 0 } as const;
    expect(play(0, policy, 0.1)).toEqual({ emitted: [1, 2, 18], entries: [0, 1, 2] });
    expect(play(1, policy, 0.1)).toEqual({ emitted: [11, 12, 18], entries: [0, 4, 5] });
    expect(play(0, policy, 0.001).emitted).toEqual([3, 4, 5, 18]);
  });
});

describe("block verification (vLLM)", () => {
  it("keeps both tokens", () => {
    const pad = (...values: number[]) => {
      const row = new Float64Array(101);
      row.set(values);
      return row;
    };
    const rows = [pad(0, 0.8, 0, 0.2), pad(0.2, 0.1, 0.3, 0.4), oneHot(101, 100)];
    const law = { rows: rowSet([pad(0, 0.6, 0, 0.4), pad(0.1, 0.2, 0.3, 0.4)]) };
    const verdict = run(rows, { tokens: [1, 0], law }, { verifier: "block" }, coins([0.7, 0.6]));
    expect(verdict.emitted).toEqual([1, 0, 100]);
  });
});

describe("token verification", () => {
  it("of a one-hot draft and a third row with one token (Hugging Face)", () => {
    const logits = (token: number) => oneHot(10, token).map((hot) => (hot === 1 ? 10 : -10));
    const q = [1, 4, 5].map((token) => softmax(logits(token)));
    const rows = [softmax(logits(1)), softmax(logits(4)), oneHot(10, 8), oneHot(10, 8)];
    const verdict = run(rows, { tokens: [1, 4, 5], law: { rows: rowSet(q) } }, { verifier: "token" });
    expect(verdict.accepted).toEqual([0, 1]);
    expect(verdict.emitted).toEqual([1, 4, 8]);
  });

  it("accepts with probability min(1, p/q) (ONNX Runtime GenAI; of q = 0 they accept, we do not)", () => {
    const survives = (p: number, q: number, u: number) => math.accepts(u, p, q);
    const last = 1 - 2 ** -53;
    expect(survives(0.8, 0.4, last)).toBe(true);
    expect([0.4999, 0.5001].map((u) => survives(0.2, 0.4, u))).toEqual([true, false]);
    expect([0.0999, 0.1001].map((u) => survives(0.1, 1, u))).toEqual([true, false]);
    expect(survives(0, 0.5, 0)).toBe(false);
    expect(survives(0.5, 0, 0)).toBe(false);
  });

  it("corrects from the residual, or from p where it is empty (ONNX Runtime GenAI)", () => {
    const correction = (p: number[], q: number[], token: number, u: number) => {
      const random = {
        uniform: (_position: number, stage: number) => (stage === STAGE.accept ? 1 - 2 ** -53 : u),
        noise: () => u,
      };
      const draft = { tokens: [token], law: { rows: rowSet([Float64Array.from(q)]) } };
      return run([Float64Array.from(p), oneHot(p.length, 0)], draft, { verifier: "token" }, random);
    };
    for (const u of [0, 0.3, 0.6, 0.99]) {
      expect(correction([0.1, 0.5, 0.2, 0.2], [0.3, 0.2, 0.3, 0.2], 0, u).emitted).toEqual([1]);
      const p = [0, 0.2, 0, 0, 0.5, 0, 0, 0, 0.3];
      expect(correction(p, [0, 0.4, 0, 0, 0, 0, 0, 0, 0.6], 1, u).emitted).toEqual([4]);
    }
  });

  it("gives p where the mass of rejected drafts goes (TensorRT-LLM): .2, .5, .3", () => {
    const target = () => Float64Array.of(0.2, 0.5, 0.3);
    const draft = () => Float64Array.of(0.6, 0.3, 0.1);
    const setting = {
      target,
      draft,
      parents: [-1],
      draw: drawBy("independent"),
      run: (request: Parameters<typeof verify>[0] | Omit<Parameters<typeof verify>[0], "policy">) =>
        verify({ ...request, policy: { verifier: "token" } }),
    };
    const first = [0, 0, 0];
    for (const [key, probability] of lawOfRound(setting)) first[Number(key[0])] += probability;
    first.forEach((probability, token) => {
      expect(probability).toBeCloseTo([0.2, 0.5, 0.3][token], 14);
    });
    expect(compareRound(setting).accepted).toBeCloseTo(0.2 + 0.3 + 0.1, 14);
  });
});

describe("relaxed acceptance (vLLM)", () => {
  const row = softmax([10, 9.4, 8, -5, -5]);
  const play = (tokens: number[], boundary?: number) =>
    run(Array(tokens.length + 1).fill(row), { tokens, law: "one-hot" }, { verifier: "relaxed", boundary })
      .emitted;

  it("accepts from ln 0.5 below the best logit", () => {
    expect(play([1])).toEqual([1, 0]);
    expect(play([2])).toEqual([0]);
  });
  it("accepts among the three best", () => {
    const flat = softmax([1, 1, 1, 1, 0.9]);
    const accepts = (token: number) =>
      run([flat, flat], { tokens: [token], law: "one-hot" }, { verifier: "relaxed" }).accepted.length === 1;
    expect([0, 1, 2, 3, 4].map(accepts)).toEqual([true, true, true, false, false]);
  });
  it("accepts nothing after the boundary", () => {
    expect(play([1, 1, 1])).toEqual([1, 1, 1, 0]);
    expect(play([0, 1, 0, 0], 1)).toEqual([0, 1, 0]);
  });
  it("is greedy outside", () => {
    const rows = [row, row];
    expect(run(rows, { tokens: [1], law: "one-hot" }, { verifier: "greedy" }).emitted).toEqual([0]);
    expect(run(rows, { tokens: [1], law: "one-hot" }, { verifier: "relaxed", ratio: 1 }).emitted).toEqual([
      0,
    ]);
  });
});
