/** Encoded rows are taken wherever rows are, and mean there what they decode to. */
import { describe, expect, it } from "vitest";
import { evaluatePlan, fusePreset } from "../../../src/decoding/fuse.ts";
import { createPipeline, presetSteps } from "../../../src/decoding/pipeline.ts";
import { type ScoreName, score, scoreJson } from "../../../src/decoding/score.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { decodeRow, decodeRows, encodeRow, encodeRows } from "../../../src/format/wire/index.ts";
import { createRandom, lawOf, modelRow, SPECS } from "./support.ts";

const random = createRandom(12);
const [a, b, c] = [modelRow(random, 130), modelRow(random, 130), modelRow(random, 130)];

describe.each(SPECS)("a row in %j", (spec) => {
  const encoded = [a, b, c].map((row) => encodeRow(row, spec));
  const decoded = encoded.map((row) => decodeRow(row));

  it("is fused", () => {
    const plan = fusePreset("proxy-tuning", { base: "large", expert: "tuned", anti: "small" });
    // −∞ less −∞ is no number: what is fused here has logits.
    const [large] = encoded;
    const rows = (first: typeof large | Float32Array) => ({ large: first, tuned: b, small: c });
    expect(evaluatePlan(plan, rows(large)).row).toEqual(evaluatePlan(plan, rows(decoded[0])).row);
  });

  it("is sampled from", () => {
    const pipeline = createPipeline(presetSteps("edgewise", { temperature: 0.8, topK: 20 }));
    for (let position = 0; position < 20; position++) {
      const context = { history: [], promptLength: 0, position, seed: 3 };
      expect(pipeline.sample(encoded[0], context)).toEqual(pipeline.sample(decoded[0], context));
      expect(pipeline.distribution(encoded[0], context)).toEqual(pipeline.distribution(decoded[0], context));
    }
  });

  it("is scored", () => {
    for (const name of ["nll", "entropy", "total-variation"] as ScoreName[]) {
      const token = decoded[0].indexOf(Math.max(...decoded[0]));
      const of = (rows: readonly (Float32Array | (typeof encoded)[number])[]) =>
        score(name, { row: rows[0], reference: rows[1], token } as never);
      expect(of(encoded)).toEqual(of(decoded));
      expect(scoreJson({ scores: [name], row: encoded[0], reference: encoded[1], token })).toEqual(
        scoreJson({ scores: [name], row: decoded[0], reference: decoded[1], token }),
      );
    }
  });

  it("is verified against, as the softmax of what it decodes to", () => {
    const message = decodeRows(encodeRows(encoded));
    for (let seed = 0; seed < 20; seed++) {
      const request = (rows: (index: number) => (typeof encoded)[number] | Float64Array) => ({
        rows: { count: 2, vocab: 130, row: (index: number) => rows(index) },
        draft: {
          tokens: [a.indexOf(Math.max(...a))],
          law: { rows: { count: 1, vocab: 130, row: () => rows(2) } },
        },
        start: 5,
        random: seededRandom(seed),
        policy: { verifier: "token" } as const,
      });
      const plain = verify(request((index) => lawOf(decoded[index])));
      expect(verify(request((index) => message.encoded[index]))).toEqual(plain);
    }
  });
});

describe("a row whose bytes are wrong", () => {
  const wrong = { ...encodeRow(a, "int8"), vocab: 131 };
  const message = (path: string) => `"${path}.data" must have 151 bytes for 131 tokens in "int8", got 150`;

  it("is named where it was given", () => {
    const plan = fusePreset("proxy-tuning", { base: "large", expert: "tuned", anti: "small" });
    expect(() => evaluatePlan(plan, { large: wrong, tuned: b, small: c })).toThrow(message("rows.large"));
    expect(() => score("kl", { row: a, reference: wrong })).toThrow(message("reference"));
    const context = { history: [], promptLength: 0, seed: 1 };
    expect(() => createPipeline([]).sample(wrong, context)).toThrow(message("row"));
  });
});
