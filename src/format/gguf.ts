/**
 * GGUF, the file format of llama.cpp: metadata and tensors in one file. Versions 2 and 3, little-endian.
 *
 *     "GGUF"  u32 version  u64 tensors  u64 keys
 *     keys ×     string key, u32 type, value                                        -> gguf-values.ts
 *     tensors ×  string name, u32 dims, u64 dim × dims, u32 type, u64 offset        -> gguf-tensors.ts
 *     padding to `general.alignment` (32 where absent)
 *     tensor data; each tensor at its offset from here, aligned
 *
 * Source: docs/gguf.md of ggml. A file is not trusted: every count, length, number and offset is checked before it
 * is used, and nothing is allocated for bytes that have not arrived.
 */
import { UnsupportedError } from "../errors.ts";
import type { ByteReader } from "./bytes.ts";
import { GGUF_LIMITS, type GgufLimits, HeaderReader } from "./gguf-header.ts";
import { placeTensors, readTensorEntries, type TensorInfo } from "./gguf-tensors.ts";
import { readMetadata } from "./gguf-values.ts";
import { type Metadata, type MetadataValue, metadataNumber } from "./metadata.ts";

const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 20;

export { GGUF_LIMITS, type GgufLimits, type Metadata, type MetadataValue, type TensorInfo };

export interface Gguf {
  readonly version: number;
  /** Bytes; every tensor's offset is a multiple of it. */
  readonly alignment: number;
  readonly metadata: Metadata;
  /** By offset, the order in which they stream in; they do not overlap. */
  readonly tensors: readonly TensorInfo[];
  /** Offset in the file where tensor data begins; the file may end before it if there are no tensors. */
  readonly dataOffset: number;
}

/**
 * Reads the header of a GGUF file: all but the tensors' bytes.
 *
 * Tensor types that cannot run here are listed like the others, as long as their block size is known. String values
 * that are not UTF-8 get U+FFFD; keys and tensor names must be UTF-8.
 *
 * @param reader At the start of the file. Left at the end of the header; `skip` to a tensor's offset from there.
 * @param limits Replaces some of `GGUF_LIMITS`.
 * @throws {UnsupportedError} Another version, big-endian, or a tensor type whose number is not known.
 * @throws {RangeError | TypeError} The file is not a GGUF, is cut short, contradicts itself, or passes a limit.
 *
 * @example
 * ```ts
 * const reader = ByteReader.from(bytes);
 * const { tensors } = await readGguf(reader);
 * for (const tensor of tensors) {
 *   await reader.skip(tensor.offset - reader.position);
 *   for await (const piece of reader.chunks(tensor.bytes)) consume(piece);
 * }
 * ```
 */
export async function readGguf(reader: ByteReader, limits: Partial<GgufLimits> = {}): Promise<Gguf> {
  const header = new HeaderReader(reader, { ...GGUF_LIMITS, ...limits });
  const version = await readVersion(header);
  const tensorCount = await header.count("number of tensors", header.limits.tensors);
  const keyCount = await header.count("number of metadata keys", header.limits.keys);
  const metadata = await readMetadata(header, keyCount);
  const alignment = readAlignment(metadata);
  const entries = await readTensorEntries(header, tensorCount);
  const dataOffset = Math.ceil(reader.position / alignment) * alignment;
  const tensors = placeTensors(entries, { dataOffset, alignment, fileBytes: reader.total });
  return { version, alignment, metadata, tensors, dataOffset };
}

async function readVersion(header: HeaderReader): Promise<number> {
  const magic = await header.bytes(4, "magic");
  if (magic[0] !== 0x47 || magic[1] !== 0x47 || magic[2] !== 0x55 || magic[3] !== 0x46) {
    const found = Array.from(magic, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new RangeError(`Cannot read GGUF: file must begin with "GGUF" (47 47 55 46), got ${found}`);
  }
  const version = await header.u32("version");
  if (version !== 0 && (version & 0xffff) === 0) {
    throw new UnsupportedError("Cannot read GGUF: byte order must be little-endian, file is big-endian");
  }
  if (version !== 2 && version !== 3) {
    throw new UnsupportedError(`Cannot read GGUF: version must be 2 or 3, got ${version}`);
  }
  return version;
}

function readAlignment(metadata: Metadata): number {
  const key = "general.alignment";
  const alignment = metadataNumber(metadata, key, {
    integer: true,
    min: 8,
    max: MAX_ALIGNMENT,
    default: DEFAULT_ALIGNMENT,
  });
  if ((alignment & (alignment - 1)) !== 0) {
    throw new RangeError(`Metadata "${key}" must be a power of two, got ${alignment}`);
  }
  return alignment;
}
