/** rope-config: how a file's metadata says that positions turn queries and keys. */
import type { RopePairs } from "../backend/backend.ts";
import { UnsupportedError } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { metadataNumber, metadataString } from "../format/metadata.ts";
import { quoted } from "../format/quote.ts";
import type { Architecture } from "./architecture/architecture.ts";

export interface RopeConfig {
  readonly pairs: RopePairs;
  /** Elements of a head that are rotated; even. */
  readonly rotary: number;
  readonly base: number;
  /** Positions are divided by it (linear scaling). */
  readonly factor: number;
}

const USUAL_BASE = 10_000;
const BASES = { min: 1, max: 1e12 };

/** @throws {UnsupportedError} For a scaling that cannot run. @throws {RangeError | TypeError} If a value is wrong. */
export function readRope(
  metadata: Metadata,
  { name, ropePairs: pairs, local }: Architecture,
  headDim: number,
): RopeConfig {
  const rotary = metadataNumber(metadata, `${name}.rope.dimension_count`, {
    integer: true,
    min: 1,
    max: 1024,
    default: headDim,
  });
  if (rotary > headDim || rotary % 2 !== 0) {
    throw new RangeError(
      `Metadata "rope.dimension_count" must be even and at most ${headDim}, got ${rotary}`,
    );
  }
  // Where local layers have a base of their own the others never have the usual one: a file must tell it.
  const fallback = local === undefined && { default: USUAL_BASE };
  const base = metadataNumber(metadata, `${name}.rope.freq_base`, { ...BASES, ...fallback });
  return { pairs, rotary, base, factor: readFactor(metadata, name) };
}

/** That of the layers with a window. */
export function readLocalRope(
  metadata: Metadata,
  { name, local }: Architecture,
  rope: RopeConfig,
): RopeConfig {
  const base = metadataNumber(metadata, `${name}.rope.freq_base_swa`, {
    ...BASES,
    default: local?.ropeBase ?? rope.base,
  });
  return { ...rope, base, factor: local === undefined ? rope.factor : 1 };
}

/** Linear scaling; the per-frequency kind of Llama 3 is a tensor instead, and arrives with the weights. */
function readFactor(metadata: Metadata, name: string): number {
  const type = metadataString(metadata, `${name}.rope.scaling.type`, { default: "" });
  const range = { min: 1e-3, max: 1e6, default: 1 };
  const older = metadataNumber(metadata, `${name}.rope.scale_linear`, range);
  if (type === "" || type === "none") return type === "" ? older : 1;
  if (type !== "linear") {
    throw new UnsupportedError(
      `Cannot run rope scaling ${quoted(type)}: supported are linear and per-frequency factors`,
    );
  }
  return metadataNumber(metadata, `${name}.rope.scaling.factor`, range);
}
