/** What a file's metadata says about a model, and what is refused by name. */
import { describe, expect, it } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import type { Metadata, MetadataValue } from "../../src/format/metadata.ts";
import { readLlamaConfig } from "../../src/model/config.ts";
import { loadModel } from "../../src/node.ts";
import { type GgufTensor, ggufBytes } from "../support/gguf-writer.ts";
import { syntheticModel } from "../support/synthetic-model.ts";

const GEMMA: Record<string, MetadataValue> = {
  "general.architecture": "gemma3",
  "gemma3.context_length": 32_768,
  "gemma3.embedding_length": 640,
  "gemma3.block_count": 18,
  "gemma3.feed_forward_length": 2048,
  "gemma3.attention.head_count": 4,
  "gemma3.attention.head_count_kv": 1,
  "gemma3.attention.key_length": 256,
  "gemma3.attention.value_length": 256,
  "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
  "gemma3.attention.sliding_window": 512,
  "gemma3.rope.freq_base": 1e6,
};

const metadataOf = (changes: Record<string, MetadataValue | undefined> = {}): Metadata =>
  new Map(
    Object.entries({ ...GEMMA, ...changes }).filter(
      (entry): entry is [string, MetadataValue] => entry[1] !== undefined,
    ),
  );

const LOCAL_OF_18 = [...Array.from({ length: 18 }, (_, layer) => layer % 6 !== 5)];

describe("gemma3", () => {
  it("is read as its report says, with the sizes of the smallest model", () => {
    const pairs = "half-split";
    expect(readLlamaConfig(metadataOf())).toEqual({
      architecture: "gemma3",
      gate: "gelu",
      layers: 18,
      hidden: 640,
      feedForward: 2048,
      heads: 4,
      kvHeads: 1,
      headDim: 256,
      contextLength: 32_768,
      normEpsilon: 1e-6,
      embeddingScale: Math.fround(Math.sqrt(640)),
      attentionScale: 1 / 16,
      rope: { pairs, rotary: 256, base: 1e6, factor: 1 },
      local: { window: 512, layers: LOCAL_OF_18, rope: { pairs, rotary: 256, base: 10_000, factor: 1 } },
    });
  });

  it("scales positions of the layers that look at everything only", () => {
    const { rope, local } = readLlamaConfig(
      metadataOf({ "gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8 }),
    );
    expect(rope.factor).toBe(8);
    expect(local?.rope.factor).toBe(1);
  });

  it("scales scores by the width of the model where that is 62 layers high", () => {
    const { attentionScale } = readLlamaConfig(
      metadataOf({
        "gemma3.block_count": 62,
        "gemma3.embedding_length": 5376,
        "gemma3.attention.head_count": 32,
        "gemma3.attention.key_length": 128,
        "gemma3.attention.value_length": 128,
      }),
    );
    expect(attentionScale).toBe(1 / Math.sqrt(168));
  });

  it("has no local layers without a window", () => {
    for (const window of [0, undefined]) {
      expect(readLlamaConfig(metadataOf({ "gemma3.attention.sliding_window": window })).local).toBeNull();
    }
  });

  it("takes the pattern and the base of local layers from the file", () => {
    const localOf = (pattern: MetadataValue) =>
      readLlamaConfig(
        metadataOf({
          "gemma3.block_count": 4,
          "gemma3.attention.sliding_window_pattern": pattern,
          "gemma3.rope.freq_base_swa": 5000,
        }),
      ).local;
    expect(localOf(2)?.layers).toEqual([true, false, true, false]);
    expect(localOf(1)?.layers).toEqual([false, false, false, false]);
    expect(localOf(0)?.layers).toEqual([true, true, true, true]);
    expect(localOf([false, true, true, false])?.layers).toEqual([false, true, true, false]);
    expect(localOf(2)?.rope.base).toBe(5000);
  });

  const key = (name: string) => `gemma3.${name}`;
  it.each<[string, Record<string, MetadataValue | undefined>, new () => Error, string]>([
    [
      "capped logits",
      { [key("final_logit_softcapping")]: 30 },
      UnsupportedError,
      'Cannot run capped logits: metadata "gemma3.final_logit_softcapping" is 30',
    ],
    [
      "capped scores",
      { [key("attn_logit_softcapping")]: 50 },
      UnsupportedError,
      'Cannot run capped attention scores: metadata "gemma3.attn_logit_softcapping" is 50',
    ],
    [
      "experts",
      { [key("expert_count")]: 8 },
      UnsupportedError,
      'Cannot run mixtures of experts: metadata "gemma3.expert_count" is 8',
    ],
    [
      "another scaling",
      { [key("rope.scaling.type")]: "yarn" },
      UnsupportedError,
      'Cannot run rope scaling "yarn": supported are linear and per-frequency factors',
    ],
    [
      "no base",
      { [key("rope.freq_base")]: undefined },
      RangeError,
      'Metadata "gemma3.rope.freq_base" must be a number from 1 to 1000000000000, file has no such key',
    ],
    [
      "a pattern of another length",
      { [key("attention.sliding_window_pattern")]: [true, false] },
      RangeError,
      'Metadata "gemma3.attention.sliding_window_pattern" must have 18 elements, got 2',
    ],
    [
      "a pattern of numbers",
      { [key("attention.sliding_window_pattern")]: LOCAL_OF_18.map(Number) },
      TypeError,
      'Metadata "gemma3.attention.sliding_window_pattern[0]" must be a boolean, got number',
    ],
    [
      "a window that is no number",
      { [key("attention.sliding_window")]: -1 },
      RangeError,
      'Metadata "gemma3.attention.sliding_window" must be an integer from 0 to 4294967295, got -1',
    ],
    [
      "heads per layer",
      { [key("attention.head_count")]: [4, 8] },
      TypeError,
      'Metadata "gemma3.attention.head_count" must be an integer from 1 to 1024, got an array of 2',
    ],
  ])("is refused with %s", (_name, changes, kind, message) => {
    const read = () => readLlamaConfig(metadataOf(changes));
    expect(read).toThrow(kind);
    expect(read).toThrow(message);
  });
});

describe("tensors of gemma3", () => {
  const spec = syntheticModel({ architecture: "gemma3", layers: 1, vocab: 402 });
  const load = (tensors: readonly GgufTensor[]) => loadModel(ggufBytes({ ...spec, tensors }));
  const more = (name: string, shape: readonly number[]): GgufTensor => ({
    name,
    type: "F32",
    shape,
    data: () => [new Uint8Array(4 * shape.reduce((product, size) => product * size, 1))],
  });

  it.each(["post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"])(
    "must include %s",
    async (name) => {
      const without = spec.tensors.filter((tensor) => tensor.name !== `blk.0.${name}.weight`);
      expect(without.length).toBe(spec.tensors.length - 1);
      await expect(load(without)).rejects.toThrow(
        `Cannot load model: file has no tensor "blk.0.${name}.weight"`,
      );
    },
  );

  it.each(["v.blk.0.attn_q.weight", "mm.input_projection.weight", "rope_freqs.weight", "blk.0.attn_q.bias"])(
    "must not include %s",
    async (name) => {
      const loading = load([...spec.tensors, more(name, [32])]);
      await expect(loading).rejects.toThrow(UnsupportedError);
      await expect(loading).rejects.toThrow(`tensor "${name}" is not part of a gemma3 model here`);
    },
  );

  it("must have their shapes", async () => {
    const name = "blk.0.post_ffw_norm.weight";
    const others = spec.tensors.filter((tensor) => tensor.name !== name);
    await expect(load([...others, more(name, [32])])).rejects.toThrow(
      `Cannot load model: tensor "${name}" must have shape [64], got [32]`,
    );
  });
});

it.each(["gemma2", "gemma3n", "gemma4", "gemma-embedding", "toString"])("%s is refused", (architecture) => {
  expect(() => readLlamaConfig(new Map([["general.architecture", architecture]]))).toThrow(
    `Cannot run architecture "${architecture}": supported are llama, qwen2, qwen3, gemma3`,
  );
});
