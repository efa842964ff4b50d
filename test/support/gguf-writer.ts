/**
 * Writes GGUF files for tests: valid ones in pieces, and the positions of every field so that tests can break them.
 *
 * Nothing is checked on the way: a spec that contradicts itself gives a file that does.
 */
import { TENSOR_TYPES } from "../../src/format/tensor-types.ts";

/** A metadata value with the type it has in the file. */
export type GgufValue =
  | { type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64"; value: number }
  | { type: "u64" | "i64"; value: number | bigint }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | { type: "array"; of: GgufValue["type"]; values: readonly GgufValue[] };

export const u32 = (value: number): GgufValue => ({ type: "u32", value });
export const i32 = (value: number): GgufValue => ({ type: "i32", value });
export const f32 = (value: number): GgufValue => ({ type: "f32", value });
export const u64 = (value: number | bigint): GgufValue => ({ type: "u64", value });
export const bool = (value: boolean): GgufValue => ({ type: "bool", value });
export const string = (value: string): GgufValue => ({ type: "string", value });
export const array = (of: GgufValue["type"], values: readonly GgufValue[]): GgufValue => ({
  type: "array",
  of,
  values,
});
export const strings = (values: readonly string[]): GgufValue => array("string", values.map(string));
export const i32s = (values: readonly number[]): GgufValue => array("i32", values.map(i32));
export const f32s = (values: readonly number[]): GgufValue => array("f32", values.map(f32));

export interface GgufTensor {
  name: string;
  /** As in `TENSOR_TYPES`. */
  type: string;
  /** ggml order, the row length first. */
  shape: readonly number[];
  /** The tensor's bytes, in pieces, made when their turn comes. */
  data: () => Iterable<Uint8Array>;
}

export interface GgufSpec {
  /** Default 3. */
  version?: number;
  /** Bytes. Default 32; written as `general.alignment` only if given. */
  alignment?: number;
  metadata: Readonly<Record<string, GgufValue>>;
  tensors: readonly GgufTensor[];
}

/** What a field of the header means; `offset` and `bytes` say where it is. */
export interface GgufField {
  kind:
    | "magic"
    | "version"
    | "tensorCount"
    | "keyCount"
    | "stringLength"
    | "string"
    | "valueType"
    | "elementType"
    | "elementCount"
    | "value"
    | "dimensions"
    | "dimension"
    | "tensorType"
    | "tensorOffset";
  /** The key or tensor it belongs to. */
  owner: string;
  offset: number;
  bytes: number;
}

const TYPE_NUMBERS: Readonly<Record<GgufValue["type"], number>> = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
};

type ScalarValue = Exclude<GgufValue, { type: "array" | "string" }>;

const SCALAR_BYTES: Readonly<Record<ScalarValue["type"], number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
};

const TENSOR_TYPE_NUMBERS = new Map([...TENSOR_TYPES].map(([id, { name }]) => [name, id]));

/** Bytes of a tensor, from its type and shape. */
export function tensorBytes(type: string, shape: readonly number[]): number {
  const layout = TENSOR_TYPES.get(TENSOR_TYPE_NUMBERS.get(type) ?? -1);
  if (layout === undefined) throw new RangeError(`"type" must be a tensor type, got "${type}"`);
  return (shape.reduce((product, dim) => product * dim, 1) / layout.weights) * layout.bytes;
}

/** The file, piece by piece; never holds more than the header and one piece. */
export function* ggufChunks(spec: GgufSpec): Generator<Uint8Array, void, void> {
  const { bytes } = ggufHeader(spec);
  yield bytes;
  const alignment = spec.alignment ?? 32;
  if (spec.tensors.length > 0) yield new Uint8Array(padding(bytes.length, alignment));
  for (const { name, type, shape, data } of spec.tensors) {
    let written = 0;
    for (const piece of data()) {
      written += piece.length;
      yield piece;
    }
    const expected = tensorBytes(type, shape);
    if (written !== expected)
      throw new RangeError(`Tensor "${name}" must give ${expected} bytes, gave ${written}`);
    yield new Uint8Array(padding(written, alignment));
  }
}

/** The whole file. */
export function ggufBytes(spec: GgufSpec): Uint8Array {
  const pieces = [...ggufChunks(spec)];
  const file = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    file.set(piece, at);
    at += piece.length;
  }
  return file;
}

/** The file as a stream that makes its pieces when they are asked for. */
export function ggufStream(spec: GgufSpec): ReadableStream<Uint8Array> {
  const pieces = ggufChunks(spec);
  return new ReadableStream({
    pull(controller) {
      const next = pieces.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  });
}

/** Everything before the padding and the tensor data, and where its fields are. */
export function ggufHeader(spec: GgufSpec): { bytes: Uint8Array; fields: GgufField[] } {
  const header = new HeaderWriter();
  const metadata = Object.entries(spec.metadata);
  if (spec.alignment !== undefined) metadata.push(["general.alignment", u32(spec.alignment)]);
  header.bytes("magic", "", new TextEncoder().encode("GGUF"));
  header.u32("version", "", spec.version ?? 3);
  header.u64("tensorCount", "", spec.tensors.length);
  header.u64("keyCount", "", metadata.length);
  for (const [key, value] of metadata) {
    header.string(key, key);
    header.u32("valueType", key, TYPE_NUMBERS[value.type]);
    header.value(key, value);
  }
  const alignment = spec.alignment ?? 32;
  let offset = 0;
  for (const { name, type, shape } of spec.tensors) {
    header.string(name, name);
    header.u32("dimensions", name, shape.length);
    for (const dim of shape) header.u64("dimension", name, dim);
    header.u32("tensorType", name, TENSOR_TYPE_NUMBERS.get(type) ?? 0xffff);
    header.u64("tensorOffset", name, offset);
    const end = offset + tensorBytes(type, shape);
    offset = end + padding(end, alignment);
  }
  return header.finish();
}

function padding(length: number, alignment: number): number {
  return (alignment - (length % alignment)) % alignment;
}

class HeaderWriter {
  readonly #fields: GgufField[] = [];
  readonly #encoder = new TextEncoder();
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  finish(): { bytes: Uint8Array; fields: GgufField[] } {
    return { bytes: this.#buffer.slice(0, this.#length), fields: this.#fields };
  }

  u32(kind: GgufField["kind"], owner: string, value: number): void {
    this.#field(kind, owner, 4, (view, at) => view.setUint32(at, value, true));
  }

  u64(kind: GgufField["kind"], owner: string, value: number | bigint): void {
    this.#field(kind, owner, 8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  }

  bytes(kind: GgufField["kind"], owner: string, bytes: Uint8Array): void {
    this.#field(kind, owner, bytes.length, (_, at) => this.#buffer.set(bytes, at));
  }

  string(owner: string, text: string): void {
    const bytes = this.#encoder.encode(text);
    this.u64("stringLength", owner, bytes.length);
    this.bytes("string", owner, bytes);
  }

  value(owner: string, value: GgufValue): void {
    if (value.type === "array") {
      this.u32("elementType", owner, TYPE_NUMBERS[value.of]);
      this.u64("elementCount", owner, value.values.length);
      for (const element of value.values) this.value(owner, element);
    } else if (value.type === "string") {
      this.string(owner, value.value);
    } else {
      this.#field("value", owner, SCALAR_BYTES[value.type], (view, at) => setScalar(view, at, value));
    }
  }

  /** Notes the field, makes room for it, and has it written. */
  #field(
    kind: GgufField["kind"],
    owner: string,
    bytes: number,
    write: (view: DataView, at: number) => void,
  ): void {
    const offset = this.#length;
    this.#fields.push({ kind, owner, offset, bytes });
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#buffer.subarray(0, offset));
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    write(this.#view, offset);
  }
}

function setScalar(view: DataView, at: number, { type, value }: ScalarValue): void {
  if (type === "f32") view.setFloat32(at, value, true);
  else if (type === "f64") view.setFloat64(at, value, true);
  else if (SCALAR_BYTES[type] === 8) view.setBigUint64(at, BigInt(value), true);
  else if (SCALAR_BYTES[type] === 4) view.setUint32(at, Number(value), true);
  else if (SCALAR_BYTES[type] === 2) view.setUint16(at, Number(value), true);
  else view.setUint8(at, Number(value));
}
