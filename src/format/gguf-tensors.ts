/**
 * The tensor entries of a GGUF, and their places in the file.
 *
 *     string name   u32 dims (1 … 4)   u64 × dims   u32 type   u64 offset from the start of the data
 */
import { grouped, UnsupportedError } from "../errors.ts";
import type { HeaderReader } from "./gguf-header.ts";
import { quoted } from "./quote.ts";
import { TENSOR_TYPES } from "./tensor-types.ts";

export interface TensorInfo {
  readonly name: string;
  /** As ggml names it, such as "Q8_0"; see `isWeightType` for those that can run. */
  readonly type: string;
  /** ggml order: the first is the row length, the dimension that is contiguous. 1 to 4 of them, none 0. */
  readonly shape: readonly number[];
  /** Of the first byte, from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** As in the file: `offset` counts from the start of the data, and is not checked yet. */
export type TensorEntry = Omit<TensorInfo, "offset"> & { readonly offset: bigint };

const MAX_DIMENSIONS = 4;

/** Reads `count` entries; checks all but where they lie. */
export async function readTensorEntries(header: HeaderReader, count: number): Promise<TensorEntry[]> {
  const entries: TensorEntry[] = [];
  const names = new Set<string>();
  for (let index = 0; index < count; index++) {
    const name = await header.name(`name of tensor ${index}`, header.limits.tensorNameBytes);
    if (names.has(name)) throw new RangeError(`Cannot read GGUF: tensor ${quoted(name)} comes twice`);
    names.add(name);
    entries.push(await readEntry(header, name));
  }
  return entries;
}

async function readEntry(header: HeaderReader, name: string): Promise<TensorEntry> {
  const label = `tensor ${quoted(name)}`;
  const dimensions = await header.u32(`number of dimensions of ${label}`);
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    throw new RangeError(
      `Cannot read GGUF: ${label} must have 1 … ${MAX_DIMENSIONS} dimensions, got ${grouped(dimensions)}`,
    );
  }
  const view = await header.view(dimensions * 8 + 12, label);
  const dims = Array.from({ length: dimensions }, (_, axis) => view.getBigUint64(axis * 8, true));
  const id = view.getUint32(dimensions * 8, true);
  const offset = view.getBigUint64(dimensions * 8 + 4, true);

  const type = TENSOR_TYPES.get(id);
  if (type === undefined) {
    throw new UnsupportedError(
      `Cannot read GGUF: ${label} must have a type known to this version, got type ${id}`,
    );
  }
  if (dims.includes(0n)) {
    throw new RangeError(
      `Cannot read GGUF: dimensions of ${label} must be at least 1, got ${dims.join(" × ")}`,
    );
  }
  const weights = dims.reduce((product, dim) => product * dim, 1n);
  const bytes = (weights / BigInt(type.weights)) * BigInt(type.bytes);
  if (weights > Number.MAX_SAFE_INTEGER || bytes > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(
      `Cannot read GGUF: ${label} must have at most 2^53 weights and bytes, got ${dims.join(" × ")}`,
    );
  }
  const shape = dims.map(Number);
  if (shape[0] % type.weights !== 0) {
    throw new RangeError(
      `Cannot read GGUF: row length of ${label} must be a multiple of ${type.weights} for ${type.name}, got ${shape[0]}`,
    );
  }
  return { name, type: type.name, shape, bytes: Number(bytes), offset };
}

export interface Placement {
  /** Bytes; of the first tensor byte from the start of the file. */
  readonly dataOffset: number;
  readonly alignment: number;
  /** Undefined where the input does not say: then the end is found out when it is read. */
  readonly fileBytes: number | undefined;
}

/** Gives tensors their offsets in the file, sorted by them. @throws {RangeError} Misaligned, past the end, overlapping. */
export function placeTensors(entries: readonly TensorEntry[], place: Placement): TensorInfo[] {
  const tensors = entries.map((entry) => ({ ...entry, offset: checkedOffset(entry, place) }));
  tensors.sort((a, b) => a.offset - b.offset);
  for (let index = 1; index < tensors.length; index++) {
    const before = tensors[index - 1];
    const tensor = tensors[index];
    if (tensor.offset < before.offset + before.bytes) {
      throw new RangeError(
        `Cannot read GGUF: tensor ${quoted(tensor.name)} at offset ${grouped(tensor.offset)} overlaps tensor ` +
          `${quoted(before.name)}, which ends at ${grouped(before.offset + before.bytes)}`,
      );
    }
  }
  return tensors;
}

function checkedOffset(entry: TensorEntry, { dataOffset, alignment, fileBytes }: Placement): number {
  if (entry.offset % BigInt(alignment) !== 0n) {
    throw new RangeError(
      `Cannot read GGUF: offset of tensor ${quoted(entry.name)} must be a multiple of ${alignment}, ` +
        `got ${grouped(entry.offset)}`,
    );
  }
  const offset = BigInt(dataOffset) + entry.offset;
  const end = offset + BigInt(entry.bytes);
  if (end > (fileBytes ?? Number.MAX_SAFE_INTEGER)) {
    const file = fileBytes === undefined ? "no file is that long" : `file has ${grouped(fileBytes)}`;
    throw new RangeError(
      `Cannot read GGUF: tensor ${quoted(entry.name)} needs ${grouped(entry.bytes)} bytes at offset ` +
        `${grouped(offset)}, ${file}`,
    );
  }
  return Number(offset);
}
