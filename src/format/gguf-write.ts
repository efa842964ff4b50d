/**
 * gguf-write: a GGUF file with some tensors and metadata more, or fewer; all else as it was, byte for byte.
 *
 *     header   the keys of the file that stay, then new ones; entries of the tensors that stay, then of new ones
 *     data     in the same order, each aligned
 *
 * The file is asked for in pieces and the new one comes in pieces, so that its size does not matter. gguf.ts has the format.
 */
import { grouped } from "../errors.ts";
import { ByteReader } from "./bytes.ts";
import { type Gguf, readGguf, type TensorInfo } from "./gguf.ts";
import { joined } from "./joined.ts";
import { quoted } from "./quote.ts";
import { TENSOR_TYPES } from "./tensor-types.ts";

/** A tensor to write. */
export interface NewTensor {
  readonly name: string;
  /** As ggml names it. */
  readonly type: string;
  /** ggml order, the row length first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface GgufEdit {
  /** Texts; they replace keys of the same name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Appended. None may have the name of a tensor that stays. */
  readonly tensors: readonly NewTensor[];
  /** Keys and tensors that do not stay. Default: none. */
  readonly drops?: (name: string) => boolean;
}

/** Bytes of the file from `from` on, before `to`: at least one, unless the file ends there. */
export type ReadBytes = (from: number, to: number) => Promise<Uint8Array>;

const STRING = 8;
const ARRAY = 9;
/** Bytes of a value, by its type in the file; strings and arrays have lengths of their own. */
const SCALAR_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
/** Magic, version, two counts. */
const FIXED_BYTES = 24;
const PIECE = 1 << 20;

const TYPE_NUMBERS = new Map([...TENSOR_TYPES].map(([id, type]) => [type.name, { id, ...type }]));

/** A file whose header is known. */
export interface GgufSource {
  readonly gguf: Gguf;
  /** All of the header, up to the padding. */
  readonly header: Uint8Array;
  readonly read: ReadBytes;
}

/** @throws What `readGguf` throws. @param bytes Of the whole file. */
export async function openGguf(read: ReadBytes, bytes: number): Promise<GgufSource> {
  const reader = ByteReader.from(streamOf(read, bytes));
  try {
    const gguf = await readGguf(reader);
    return { gguf, header: await read(0, reader.position), read };
  } finally {
    await reader.close();
  }
}

/**
 * @throws {RangeError} If a new tensor's bytes do not fit its shape, or its name is taken.
 *
 * @example
 * ```ts
 * for await (const piece of editGguf(source, { metadata: { "general.name": "mine" }, tensors: [] })) await out.write(piece);
 * ```
 */
export async function* editGguf(source: GgufSource, edit: GgufEdit): AsyncGenerator<Uint8Array, void, void> {
  const { gguf, header, read } = source;
  const { drops = () => false } = edit;
  const { alignment } = gguf;
  const kept = gguf.tensors.filter(({ name }) => !drops(name));
  for (const tensor of edit.tensors) expectFit(tensor, kept);
  const keys = keysOf(header, gguf.metadata.size).filter(
    ({ key }) => !drops(key) && !Object.hasOwn(edit.metadata, key),
  );
  const added = Object.entries(edit.metadata);
  const all = [...kept, ...edit.tensors.map((tensor) => ({ ...tensor, bytes: tensor.bytes.length }))];
  const parts = [
    header.subarray(0, 8),
    u64(all.length),
    u64(keys.length + added.length),
    ...keys.map(({ start, end }) => header.subarray(start, end)),
    ...added.flatMap(([key, value]) => [text(key), u32(STRING), text(value)]),
    ...entriesOf(all, alignment),
  ];
  const head = joined(...parts);
  yield head;
  yield new Uint8Array(padding(head.length, alignment));
  for (const { name, offset, bytes } of kept) {
    const end = offset + bytes;
    for (let at = offset; at < end; ) {
      const piece = await read(at, Math.min(end, at + PIECE));
      if (piece.length === 0) {
        throw new RangeError(
          `Cannot read GGUF: tensor ${quoted(name)} ends at ${grouped(end)}, file at ${grouped(at)}`,
        );
      }
      at += piece.length;
      yield piece;
    }
    yield new Uint8Array(padding(bytes, alignment));
  }
  for (const { bytes } of edit.tensors) {
    yield bytes;
    yield new Uint8Array(padding(bytes.length, alignment));
  }
}

function expectFit({ name, type, shape, bytes }: NewTensor, kept: readonly TensorInfo[]): void {
  if (kept.some((tensor) => tensor.name === name)) {
    throw new RangeError(`Cannot write GGUF: tensor ${quoted(name)} is there already`);
  }
  const layout = TYPE_NUMBERS.get(type);
  if (layout === undefined) {
    throw new RangeError(`Cannot write GGUF: tensor ${quoted(name)} must have a known type, got "${type}"`);
  }
  const needed = (shape.reduce((product, size) => product * size, 1) / layout.weights) * layout.bytes;
  if (shape[0] % layout.weights === 0 && bytes.length === needed) return;
  throw new RangeError(
    `Cannot write GGUF: tensor ${quoted(name)} of ${type} [${shape.join(", ")}] must have ${grouped(needed)} bytes, ` +
      `got ${grouped(bytes.length)}`,
  );
}

function entriesOf(
  tensors: readonly Omit<TensorInfo, "offset">[],
  alignment: number,
): Uint8Array<ArrayBuffer>[] {
  let offset = 0;
  return tensors.flatMap(({ name, type, shape, bytes }) => {
    const at = offset;
    offset += bytes + padding(bytes, alignment);
    return [text(name), u32(shape.length), ...shape.map(u64), u32(TYPE_NUMBERS.get(type)!.id), u64(at)];
  });
}

/** Where the keys of a header that has been read, and is sound, begin and end. */
function keysOf(header: Uint8Array, count: number): { key: string; start: number; end: number }[] {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const length = (at: number) => Number(view.getBigUint64(at, true));
  /** The end of a value that begins at `at`. */
  const endOf = (type: number, at: number): number => {
    if (type === STRING) return at + 8 + length(at);
    if (type !== ARRAY) return at + SCALAR_BYTES[type];
    const of = view.getUint32(at, true);
    const elements = length(at + 4);
    let end = at + 12;
    if (of !== STRING && of !== ARRAY) return end + elements * SCALAR_BYTES[of];
    for (let i = 0; i < elements; i++) end = endOf(of, end);
    return end;
  };
  let at = FIXED_BYTES;
  return Array.from({ length: count }, () => {
    const start = at;
    const value = start + 8 + length(start);
    at = endOf(view.getUint32(value, true), value + 4);
    return { key: decoder.decode(header.subarray(start + 8, value)), start, end: at };
  });
}

function streamOf(read: ReadBytes, bytes: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      const piece = await read(at, Math.min(bytes, at + PIECE));
      at += piece.length;
      if (piece.length > 0) controller.enqueue(piece);
      if (piece.length === 0 || at >= bytes) controller.close();
    },
  });
}

function u32(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

/** A length and UTF-8. */
function text(value: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(value);
  return joined(u64(bytes.length), bytes);
}

function padding(length: number, alignment: number): number {
  return (alignment - (length % alignment)) % alignment;
}
