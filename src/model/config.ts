/**
 * config: what a file's metadata says about a model, checked once.
 *
 * The architectures of the folder architecture/ are one with options, so `LlamaConfig` describes them all. Anything else
 * is refused by name, and so is a key that asks for arithmetic that is not here.
 */

import { UnsupportedError } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { metadataNumber, metadataString } from "../format/metadata.ts";
import { quoted } from "../format/quote.ts";
import type { Architecture } from "./architecture/architecture.ts";
import { ARCHITECTURES } from "./architecture/index.ts";
import { type LocalAttention, readLocalAttention } from "./local-attention.ts";
import { type RopeConfig, readRope } from "./rope-config.ts";

/** Sizes that shapes are made of. */
export interface ModelShape {
  readonly layers: number;
  /** D, the width of the stream between layers. */
  readonly hidden: number;
  /** Width inside the feed-forward part. */
  readonly feedForward: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface LlamaConfig extends ModelShape {
  readonly architecture: Architecture["name"];
  readonly gate: Architecture["gate"];
  /** Positions the model was trained for. */
  readonly contextLength: number;
  readonly normEpsilon: number;
  /** What embeddings are multiplied by; f32. */
  readonly embeddingScale: number;
  /** What products of queries and keys are multiplied by. */
  readonly attentionScale: number;
  readonly rope: RopeConfig;
  /** Layers that look at a window of positions only; null where none does. */
  readonly local: LocalAttention | null;
}

/** Keys of arithmetic that no architecture here has: how files name it, and what it is. */
const REFUSED: readonly (readonly [string, string])[] = [
  ["expert_count", "mixtures of experts"],
  ["attn_logit_softcapping", "capped attention scores"],
  ["final_logit_softcapping", "capped logits"],
];

/** @throws {UnsupportedError} If the architecture, or a variant of it, cannot run. @throws {RangeError | TypeError} If a value is missing or wrong. */
export function readLlamaConfig(metadata: Metadata): LlamaConfig {
  const architecture = readArchitecture(metadata);
  const { name } = architecture;
  for (const [key, what] of REFUSED) refuse(metadata, `${name}.${key}`, what);
  const shape = readShape(metadata, name);
  const rope = readRope(metadata, architecture, shape.headDim);
  return {
    ...shape,
    architecture: name,
    gate: architecture.gate,
    contextLength: metadataNumber(metadata, `${name}.context_length`, {
      integer: true,
      min: 1,
      max: 2 ** 24,
    }),
    normEpsilon: metadataNumber(metadata, `${name}.attention.layer_norm_rms_epsilon`, { min: 0, max: 1 }),
    embeddingScale: architecture.embeddingScale?.(shape) ?? 1,
    attentionScale: architecture.attentionScale?.(shape) ?? 1 / Math.sqrt(shape.headDim),
    rope,
    local: readLocalAttention(metadata, architecture, shape.layers, rope),
  };
}

/** The description of an architecture by the name that a config has. */
export function architectureOf(name: Architecture["name"]): Architecture {
  return ARCHITECTURES.find((candidate) => candidate.name === name) as Architecture;
}

function readArchitecture(metadata: Metadata): Architecture {
  const name = metadataString(metadata, "general.architecture");
  const architecture = ARCHITECTURES.find((candidate) => candidate.name === name);
  if (architecture !== undefined) return architecture;
  const supported = ARCHITECTURES.map((candidate) => candidate.name).join(", ");
  throw new UnsupportedError(`Cannot run architecture ${quoted(name)}: supported are ${supported}`);
}

function readShape(metadata: Metadata, name: string): ModelShape {
  const integer = <D = never>(key: string, max: number, fallback?: { default: D }) =>
    metadataNumber<D>(metadata, `${name}.${key}`, { integer: true, min: 1, max, ...fallback });
  const heads = integer("attention.head_count", 1024);
  const kvHeads = integer("attention.head_count_kv", 1024, { default: heads });
  const hidden = integer("embedding_length", 65_536);
  const headDim = integer("attention.key_length", 1024, { default: Math.floor(hidden / heads) });
  const valueDim = integer("attention.value_length", 1024, { default: headDim });
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
  const layers = integer("block_count", 512);
  return { layers, hidden, feedForward: integer("feed_forward_length", 262_144), heads, kvHeads, headDim };
}

function refuse(metadata: Metadata, key: string, what: string): void {
  const value = metadataNumber(metadata, key, { min: 0, max: 1e9, default: 0 });
  if (value > 0) throw new UnsupportedError(`Cannot run ${what}: metadata "${key}" is ${value}`);
}
