/** local-attention: which layers look at the last positions only, by a file's metadata. */
import type { Metadata } from "../format/gguf.ts";
import { metadataNumber } from "../format/metadata.ts";
import type { Architecture } from "./architecture/architecture.ts";
import { type RopeConfig, readLocalRope } from "./rope-config.ts";

export interface LocalAttention {
  /** Positions that are looked at, the last of them the one that looks. */
  readonly window: number;
  /** Whether a layer is local. (layers) */
  readonly layers: readonly boolean[];
  readonly rope: RopeConfig;
}

/** @throws {RangeError | TypeError} If a value is wrong. */
export function readLocalAttention(
  metadata: Metadata,
  architecture: Architecture,
  layers: number,
  rope: RopeConfig,
): LocalAttention | null {
  const key = `${architecture.name}.attention.sliding_window`;
  const window = metadataNumber(metadata, key, { integer: true, min: 0, max: 2 ** 32 - 1, default: 0 });
  if (window === 0) return null;
  const pattern = readPattern(metadata, `${key}_pattern`, layers, architecture.local?.period ?? layers + 1);
  return { window, layers: pattern, rope: readLocalRope(metadata, architecture, rope) };
}

/** The key holds either a boolean per layer, or after how many layers one comes that looks at everything. */
function readPattern(metadata: Metadata, key: string, layers: number, usual: number): boolean[] {
  const value = metadata.get(key);
  if (!Array.isArray(value)) {
    // A period of 1 leaves no local layer, 0 no other.
    const period = metadataNumber(metadata, key, { integer: true, min: 0, max: 2 ** 31, default: usual });
    return Array.from({ length: layers }, (_, layer) => period === 0 || (layer + 1) % period !== 0);
  }
  if (value.length !== layers) {
    throw new RangeError(`Metadata "${key}" must have ${layers} elements, got ${value.length}`);
  }
  return value.map((isLocal, layer) => {
    if (typeof isLocal === "boolean") return isLocal;
    throw new TypeError(`Metadata "${key}[${layer}]" must be a boolean, got ${typeof isLocal}`);
  });
}
