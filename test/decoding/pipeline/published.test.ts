/** Vectors that other runtimes publish: Hugging Face transformers, ONNX Runtime GenAI, vLLM. */
import { describe, expect, it } from "vitest";
import { createPipeline, type Step } from "../../../src/decoding/pipeline.ts";
import { context, expectLaw, law, normalized, rowOf, support } from "./support.ts";

describe("Hugging Face's vectors", () => {
  it("top_k 3 of a ramp", () => {
    expect(
      support(
        Float64Array.from({ length: 10 }, (_, id) => id),
        [{ step: "top-k", k: 3 }],
      ),
    ).toEqual([7, 8, 9]);
  });

  it.each<[Step, number[], number[]]>([
    // 0.5 and 0.3 are 0.8 but for a rounding, which falls the other way in f64 than in f32.
    [{ step: "top-p", p: 0.8 - 1e-12 }, [0.3, 0.1, 0.1, 0.5], [0.3, 0, 0, 0.5]],
    [{ step: "top-p", p: 0.8 }, [0.15, 0.3, 0.3, 0.25], [0, 0.3, 0.3, 0.25]],
    [{ step: "min-p", p: 0.05 }, [0.9, 0.0274, 0.047, 0.0274], [0.9, 0, 0.047, 0]],
    [{ step: "min-p", p: 0.05 }, [0.15, 0.3, 0.3, 0.25], [0.15, 0.3, 0.3, 0.25]],
    [{ step: "min-p", p: 0.05 }, [0.97, 0.01, 0.01, 0.01], [1, 0, 0, 0]],
    [{ step: "top-h", h: 0.3 }, [0.97, 0.01, 0.01, 0.01], [1, 0, 0, 0]],
    [{ step: "top-h", h: 0.7 }, [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0, 0]],
    [{ step: "top-h", h: 1 }, [0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]],
    [{ step: "top-h", h: 0.4 }, [0.75, 0.25, 0, 0], [1, 0, 0, 0]],
  ])("%j of %j", (step, probabilities, kept) => {
    expectLaw(law(rowOf(...probabilities), [step]), normalized(...kept));
  });

  it("repetition penalty 2: a seen logit is halved if positive, doubled if negative", () => {
    const step: Step = { step: "repetition-penalty", penalty: 2 };
    const seen = law(Float64Array.of(1, -1, 0.5, -0.5), [step], { history: [0, 1], promptLength: 2 });
    expectLaw(seen, law(Float64Array.of(0.5, -2, 0.5, -0.5), []), 1e-15);
  });
});

describe("ONNX Runtime GenAI's rows", () => {
  it.each<[Float64Array, Step[], number[]]>([
    [Float64Array.of(1, 2, 3, 4, 5), [{ step: "top-k", k: 2 }], [0, 0, 0, 0.2689414, 0.7310586]],
    [Float64Array.of(0, 2), [{ step: "temperature", temperature: 2 }], [0.2689414, 0.7310586]],
    [rowOf(0.5, 0.3, 0.15, 0.05), [{ step: "top-p", p: 0.6 }], [0.625, 0.375, 0, 0]],
    // Of 0.625 and 0.375 the first alone reaches 0.6.
    [
      rowOf(0.5, 0.3, 0.15, 0.05),
      [
        { step: "top-k", k: 2 },
        { step: "top-p", p: 0.6 },
      ],
      [1, 0, 0, 0],
    ],
    [rowOf(0.5, 0.3, 0.15, 0.05), [{ step: "top-p", p: 0.01 }], [1, 0, 0, 0]],
    [rowOf(0.5, 0.3, 0.2), [{ step: "top-k", k: 100 }], [0.5, 0.3, 0.2]],
  ])("%#: %s %j", (row, steps, expected) => expectLaw(law(row, steps), expected, 1e-7));
});

describe("vLLM's rejection sampler vectors, row by row", () => {
  const V = 100;
  /** Logit 100 for the target, 99 for token 15, −100 for the others. */
  function rowFor(target: number): Float32Array {
    const row = new Float32Array(V).fill(-100);
    row[15] = 99;
    row[target] = 100;
    return row;
  }

  /** Greedy sample-and-match: the tokens after `prompt`, drafts as long as they are right and one more. */
  function verify(steps: Step[], prompt: number[], draft: number[], targets: number[]): number[] {
    const pipeline = createPipeline([...steps, { step: "temperature", temperature: 0 }]);
    const emitted: number[] = [];
    for (const target of targets) {
      const history = [...prompt, ...emitted];
      const { token } = pipeline.sample(
        rowFor(target),
        context({ history, promptLength: prompt.length - 1 }),
      );
      emitted.push(token);
      if (token !== draft[emitted.length - 1]) break;
    }
    return emitted;
  }

  it.each([
    [1.5, [2], [1, 1, 1], [1, 1, 1, 1], [1, 15]],
    [1.5, [3], [], [7], [7]],
    [0.7, [4], [1, 1, 1], [1, 1, 1, 1], [1, 1, 15]],
  ])("frequency penalty %f after %j, draft %j", (penalty, prompt, draft, targets, expected) => {
    const steps: Step[] = [{ step: "frequency-penalty", penalty, scope: "output" }];
    expect(verify(steps, prompt, draft, targets)).toEqual(expected);
  });

  it.each([
    [[[2]], [1, 2, 3], [1, 2, 3, 4], [1, 15]],
    [[], [1, 15, 3], [1, 15, 3, 4], [1, 15, 3, 4]],
    [[[2]], [1, 2, 3], [1, 2, 3, 4], [1, 15]],
  ])("bad words %j, draft %j", (words, draft, targets, expected) => {
    expect(verify([{ step: "bad-words", words, scope: "output" }], [9], draft, targets)).toEqual(expected);
  });

  // The second request has no mask, and the token after a draft that was used up is given there, not sampled.
  it.each([
    [[0, 1, 2, 3, 4], [1, 2, 10], [1, 2, 10], [15]],
    [[], [10, 5, 3], [10, 5, 10], [10, 5, 10]],
    [
      [2, 3, 4, 5, 6],
      [7, 10, 12],
      [7, 10, 12],
      [7, 10, 12],
    ],
  ])("all ids allowed but %j, draft %j", (forbidden, draft, targets, expected) => {
    const ids = Array.from({ length: V }, (_, id) => id).filter((id) => !forbidden.some((no) => no === id));
    expect(verify([{ step: "allowed-ids", ids }], [9], draft, targets)).toEqual(expected);
  });

  it("bad words of several tokens match the output alone", () => {
    const step: Step = { step: "bad-words", words: [[7, 8]], scope: "output" };
    const row = rowOf(0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.6);
    expect(support(row, [step], { history: [1, 7], promptLength: 1 })).not.toContain(8);
    expect(support(row, [step], { history: [1, 7], promptLength: 2 })).toContain(8);
    expect(support(row, [step], { history: [7, 1], promptLength: 0 })).toContain(8);
    expect(support(row, [{ ...step, scope: "all" }], { history: [1, 7], promptLength: 2 })).not.toContain(8);
  });
});
