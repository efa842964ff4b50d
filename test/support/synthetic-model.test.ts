import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { blockSize, decodeWeights, WEIGHT_TYPES } from "../../src/format/blocks.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { type Gguf, readGguf } from "../../src/format/gguf.ts";
import { metadataNumbers, metadataStrings } from "../../src/format/metadata.ts";
import { ggufStream } from "./gguf-writer.ts";
import {
  LLAMA_135M,
  mediumTypes,
  type SyntheticModelOptions,
  syntheticModel,
  syntheticModelBytes,
} from "./synthetic-model.ts";

const parse = (options: SyntheticModelOptions): Promise<Gguf> =>
  readGguf(ByteReader.from(syntheticModelBytes(options)));

const shapes = ({ tensors }: Gguf): Record<string, readonly number[]> =>
  Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]));

async function weights(options: SyntheticModelOptions, name: string): Promise<Float32Array> {
  const bytes = syntheticModelBytes(options);
  const { tensors } = await readGguf(ByteReader.from(bytes));
  const tensor = tensors.find((candidate) => candidate.name === name)!;
  return decodeWeights(tensor.type, bytes.subarray(tensor.offset, tensor.offset + tensor.bytes));
}

describe("syntheticModel()", () => {
  test("is the same file every time", () => {
    const hash = createHash("sha256").update(syntheticModelBytes()).digest("hex");
    expect(createHash("sha256").update(syntheticModelBytes()).digest("hex")).toBe(hash);
    expect(syntheticModelBytes({ seed: 2 })).not.toEqual(syntheticModelBytes());
  });

  test("has the tensors of its architecture", async () => {
    const llama = shapes(await parse({ ropeScaling: "llama3" }));
    expect(llama).toMatchObject({
      "token_embd.weight": [64, 512],
      "output.weight": [64, 512],
      "rope_freqs.weight": [8],
      "blk.1.attn_k.weight": [64, 32],
      "blk.1.ffn_down.weight": [96, 64],
    });
    expect(shapes(await parse({ tied: true }))).not.toHaveProperty(["output.weight"]);
    const qwen2 = shapes(await parse({ architecture: "qwen2" }));
    expect(qwen2["blk.0.attn_q.bias"]).toEqual([64]);
    expect(qwen2["blk.0.attn_v.bias"]).toEqual([32]);
    const qwen3 = await parse({ architecture: "qwen3" });
    expect(qwen3.metadata.get("qwen3.attention.key_length")).toBe(32);
    expect(shapes(qwen3)["blk.0.attn_q_norm.weight"]).toEqual([32]);
    expect(shapes(qwen3)["blk.0.attn_output.weight"]).toEqual([128, 64]);
    const gemma3 = await parse({ architecture: "gemma3" });
    expect(gemma3.metadata.get("gemma3.attention.sliding_window")).toBe(24);
    expect(shapes(gemma3)).not.toHaveProperty(["output.weight"]);
    expect(shapes(gemma3)).toMatchObject({
      "blk.6.attn_k_norm.weight": [32],
      "blk.6.post_attention_norm.weight": [64],
      "blk.6.post_ffw_norm.weight": [64],
    });
  });

  test.each(WEIGHT_TYPES)(
    "in %s has matrices of that type, vectors of F32, and the same weights",
    async (type) => {
      const { tensors } = await parse({ type });
      for (const tensor of tensors) expect(tensor.type).toBe(tensor.shape.length === 1 ? "F32" : type);
      const name = "blk.1.attn_q.weight";
      const hidden = Math.max(64, blockSize(type).weights);
      const exact = await weights({ type: "F32", hidden }, name);
      const rounded = await weights({ type }, name);
      const error = exact.reduce((sum, weight, index) => sum + (weight - rounded[index]) ** 2, 0);
      const energy = exact.reduce((sum, weight) => sum + weight ** 2, 0);
      expect(energy / exact.length).toBeCloseTo(1 / hidden, 2);
      expect(error / energy).toBeLessThan(0.02);
    },
  );

  test("mixes types as files of medium size do", async () => {
    const { tensors } = await parse({ type: "Q4_K", typeOf: mediumTypes(2) });
    const types = Object.fromEntries(tensors.map(({ name, type }) => [name, type]));
    expect(types).toMatchObject({
      "token_embd.weight": "Q6_K",
      "output.weight": "Q6_K",
      "output_norm.weight": "F32",
      "blk.0.attn_q.weight": "Q4_K",
      "blk.0.attn_v.weight": "Q6_K",
      "blk.1.ffn_down.weight": "Q6_K",
      "blk.1.ffn_up.weight": "Q4_K",
    });
  });

  test("can be streamed, whatever its size", async () => {
    const reader = ByteReader.from(ggufStream(syntheticModel({ ...LLAMA_135M, type: "Q4_0" })));
    const { tensors } = await readGguf(reader);
    await reader.skip(tensors[0].offset - reader.position);
    expect((await reader.read(18)).length).toBe(18);
    await reader.close();
    expect(tensors.length).toBe(2 + 30 * 9);
    const parameters = tensors.reduce((sum, { shape }) => sum + shape[0] * (shape[1] ?? 1), 0);
    expect(Math.round(parameters / 1e6)).toBe(135);
  });
});

describe.each(["llama", "gpt2", "gemma"] as const)("tokenizer %s", (tokenizer) => {
  test.each([384, 512, 3000])("has %i different tokens", async (vocab) => {
    const { metadata } = await parse({ tokenizer, vocab });
    expect(new Set(metadataStrings(metadata, "tokenizer.ggml.tokens")).size).toBe(vocab);
    metadataNumbers(metadata, "tokenizer.ggml.token_type", { length: vocab, min: 1, max: 6, integer: true });
  });

  test("joins tokens that exist", async () => {
    const { metadata } = await parse({ tokenizer, vocab: 1000 });
    const tokens = new Set(metadataStrings(metadata, "tokenizer.ggml.tokens"));
    if (tokenizer !== "gpt2") {
      const scores = metadataNumbers(metadata, "tokenizer.ggml.scores", { length: 1000, min: -1000, max: 0 });
      const special = scores.lastIndexOf(0);
      expect(new Set(scores.slice(special)).size).toBe(1000 - special);
      expect(tokens.has("▁the")).toBe(true);
    } else {
      const merges = metadataStrings(metadata, "tokenizer.ggml.merges", { length: 1000 - 3 - 256 });
      for (const [left, right] of merges.map((merge) => merge.split(" "))) {
        expect([left, right, left + right].every((token) => tokens.has(token))).toBe(true);
      }
      expect(tokens.has("Ġthe")).toBe(true);
    }
  });

  test("refuses a vocabulary that its alphabet does not fit", () => {
    expect(() => syntheticModelBytes({ tokenizer, vocab: 200 })).toThrow(/"vocab" must have room/);
  });
});
