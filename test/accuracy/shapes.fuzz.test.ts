/** Models of any shape, on both backends: what the kernels assume of sizes, heads and lengths holds for all of them. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { blockSize, WEIGHT_TYPES } from "../../src/format/blocks.ts";
import { loadModel } from "../../src/node.ts";
import { type SyntheticModelOptions, syntheticModelBytes } from "../support/synthetic-model.ts";

/** More than go through a layer together, and no multiple of anything. */
const TOKENS = 37;

/** Logits have a deviation of 3. Inputs of Q4_0 and Q4_K are rounded to 8 bits, of others to 14. */
const ALLOWED = 0.02;
const ALLOWED_COARSE = 1;

const shape: fc.Arbitrary<SyntheticModelOptions> = fc
  .record({
    architecture: fc.constantFrom("llama" as const, "qwen2" as const, "qwen3" as const, "gemma3" as const),
    type: fc.constantFrom(...WEIGHT_TYPES),
    tied: fc.boolean(),
    ropeScaling: fc.constantFrom("none" as const, "linear" as const, "llama3" as const),
    vocab: fc.integer({ min: 384, max: 420 }),
    layers: fc.integer({ min: 1, max: 2 }),
    hidden: fc.integer({ min: 1, max: 24 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 5 }),
    headDim: fc.integer({ min: 1, max: 6 }),
    feedForward: fc.integer({ min: 1, max: 90 }),
    contextLength: fc.integer({ min: TOKENS, max: 80 }),
    window: fc.integer({ min: 0, max: TOKENS }),
    seed: fc.nat(1000),
  })
  .map(({ group, type, ...given }) => {
    // Gemma's files have no divisors of frequencies.
    const ropeScaling = given.architecture === "gemma3" ? ("linear" as const) : given.ropeScaling;
    const options = { ...given, ropeScaling };
    // Rows of types with blocks are whole blocks; others need a width of 4 and heads of 8.
    const block = blockSize(type).weights;
    if (block === 1) {
      const [hidden, headDim] = [4 * options.hidden, 8 * options.headDim];
      return { ...options, type, heads: options.kvHeads * group, hidden, headDim };
    }
    // Heads together are a row of the output projection.
    const heads =
      block === 32 ? { heads: options.kvHeads * group } : { kvHeads: group > 3 ? 8 : 4, heads: 8 };
    const most = block === 32 ? 3 : 1;
    return {
      ...options,
      ...heads,
      type,
      hidden: block * (1 + (options.hidden & most)),
      headDim: 32,
      feedForward: block * (1 + (options.feedForward & most)),
    };
  });

test("rows are the same on both backends, whatever the shape", async () => {
  await fc.assert(
    fc.asyncProperty(shape, async (options) => {
      const file = syntheticModelBytes(options);
      const tokens = Array.from({ length: TOKENS }, (_, index) => (index * 89 + 7) % options.vocab!);
      const rows = await rowsOf(file, "wasm", tokens);
      const expected = await rowsOf(file, "reference", tokens);
      expect(rows.length).toBe(TOKENS * options.vocab!);
      expect(rows.every(Number.isFinite)).toBe(true);
      const distance = rows.reduce(
        (most, logit, index) => Math.max(most, Math.abs(logit - expected[index])),
        0,
      );
      const isCoarse = options.type === "Q4_0" || options.type === "Q4_K";
      expect(distance).toBeLessThan(isCoarse ? ALLOWED_COARSE : ALLOWED);
    }),
    { numRuns: 150, seed: 20_240_503 },
  );
});

async function rowsOf(
  file: Uint8Array,
  backend: "wasm" | "reference",
  tokens: readonly number[],
): Promise<Float32Array> {
  const model = await loadModel(file, { backend });
  const session = model.open({ capacity: tokens.length });
  const rows = await session.forward(tokens, tokens.length);
  const all = new Float32Array(rows.count * rows.vocab);
  for (let index = 0; index < rows.count; index++) all.set(rows.row(index), index * rows.vocab);
  model.close();
  return all;
}
