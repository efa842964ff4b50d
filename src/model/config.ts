/**
 * config: what a file's metadata says about a model of the llama family, checked once.
 *
 * llama    Llama 1-3, SmolLM2, TinyLlama; rope in interleaved pairs, linear or per-frequency scaling
 * qwen2    biases on q, k, v; half-split rope
 * qwen3    norms on q and k; half-split rope; heads of a size of their own
 *
 * They are one architecture with options, so `LlamaConfig` describes all three. Anything else is refused by name.
 */

import type { RopePairs } from "../backend/backend.ts";
import { UnsupportedError } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { metadataNumber, metadataString } from "../format/metadata.ts";

export interface LlamaConfig {
  /** As the file names it. */
  readonly architecture: string;
  readonly layers: number;
  /** D, the width of the stream between layers. */
  readonly hidden: number;
  /** Width inside the feed-forward part. */
  readonly feedForward: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions the model was trained for; at most its sliding window, where it has one. */
  readonly contextLength: number;
  readonly normEpsilon: number;
  readonly rope: RopeConfig;
}

export interface RopeConfig {
  readonly pairs: RopePairs;
  /** Elements of a head that are rotated; even. */
  readonly rotary: number;
  readonly base: number;
  /** Positions are divided by it (linear scaling). */
  readonly factor: number;
}

/** Architectures that can run, and how each pairs the elements it rotates. */
const ROPE_PAIRS: Readonly<Record<string, RopePairs>> = {
  llama: "interleaved",
  qwen2: "half-split",
  qwen3: "half-split",
};

/** @throws {UnsupportedError} If the architecture, or a variant of it, cannot run. @throws {RangeError | TypeError} If a value is missing or wrong. */
export function readLlamaConfig(metadata: Metadata): LlamaConfig {
  const architecture = metadataString(metadata, "general.architecture");
  const pairs = Object.hasOwn(ROPE_PAIRS, architecture) ? ROPE_PAIRS[architecture] : undefined;
  if (pairs === undefined) {
    throw new UnsupportedError(
      `Cannot run architecture "${architecture.slice(0, 64)}": supported are ${Object.keys(ROPE_PAIRS).join(", ")}`,
    );
  }
  const integer = <D = never>(key: string, max: number, fallback?: { default: D }) =>
    metadataNumber<D>(metadata, `${architecture}.${key}`, { integer: true, min: 1, max, ...fallback });

  refuse(metadata, `${architecture}.expert_count`, "mixtures of experts");
  const heads = integer("attention.head_count", 1024);
  const kvHeads = integer("attention.head_count_kv", 1024, { default: heads });
  const hidden = integer("embedding_length", 65_536);
  const headDim = integer("attention.key_length", 1024, { default: Math.floor(hidden / heads) });
  const valueDim = integer("attention.value_length", 1024, { default: headDim });
  const config: LlamaConfig = {
    architecture,
    layers: integer("block_count", 512),
    hidden,
    feedForward: integer("feed_forward_length", 262_144),
    heads,
    kvHeads,
    headDim,
    contextLength: Math.min(integer("context_length", 2 ** 24), slidingWindow(metadata, architecture)),
    normEpsilon: metadataNumber(metadata, `${architecture}.attention.layer_norm_rms_epsilon`, {
      min: 0,
      max: 1,
    }),
    rope: {
      pairs,
      rotary: integer("rope.dimension_count", 1024, { default: headDim }),
      base: metadataNumber(metadata, `${architecture}.rope.freq_base`, {
        min: 1,
        max: 1e12,
        default: 10_000,
      }),
      factor: ropeFactor(metadata, architecture),
    },
  };
  expectRunnable(config, valueDim);
  return config;
}

/** Within its window, sliding attention is full attention; beyond it nothing runs here yet. 0 means none. */
function slidingWindow(metadata: Metadata, architecture: string): number {
  const key = `${architecture}.attention.sliding_window`;
  return metadataNumber(metadata, key, { integer: true, min: 0, max: 2 ** 32 - 1, default: 0 }) || Infinity;
}

function expectRunnable(config: LlamaConfig, valueDim: number): void {
  const { heads, kvHeads, headDim, hidden, rope } = config;
  if (heads % kvHeads !== 0) {
    throw new RangeError(
      `Metadata "head_count" must be a multiple of "head_count_kv" ${kvHeads}, got ${heads}`,
    );
  }
  if (valueDim !== headDim) {
    throw new UnsupportedError(`Cannot run keys and values of different sizes: ${headDim} and ${valueDim}`);
  }
  if (headDim % 8 !== 0)
    throw new UnsupportedError(`Cannot run heads of ${headDim}: the size must be a multiple of 8`);
  if (hidden % 4 !== 0)
    throw new UnsupportedError(`Cannot run a width of ${hidden}: it must be a multiple of 4`);
  if (rope.rotary > headDim || rope.rotary % 2 !== 0) {
    throw new RangeError(
      `Metadata "rope.dimension_count" must be even and at most ${headDim}, got ${rope.rotary}`,
    );
  }
}

/** Linear scaling; the per-frequency kind of Llama 3 is a tensor instead, and arrives with the weights. */
function ropeFactor(metadata: Metadata, architecture: string): number {
  const type = metadataString(metadata, `${architecture}.rope.scaling.type`, { default: "" });
  const range = { min: 1e-3, max: 1e6, default: 1 };
  const older = metadataNumber(metadata, `${architecture}.rope.scale_linear`, range);
  if (type === "" || type === "none") return type === "" ? older : 1;
  if (type !== "linear") {
    throw new UnsupportedError(
      `Cannot run rope scaling "${type.slice(0, 32)}": supported are linear and per-frequency factors`,
    );
  }
  return metadataNumber(metadata, `${architecture}.rope.scaling.factor`, range);
}

function refuse(metadata: Metadata, key: string, what: string): void {
  const count = metadataNumber(metadata, key, { min: 0, max: 1e9, default: 0 });
  if (count > 0) throw new UnsupportedError(`Cannot run ${what}: metadata "${key}" is ${count}`);
}
