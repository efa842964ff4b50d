/**
 * safetensors: u64 length of the header, the header in JSON, tensors without gaps. Only what messages of rows need: all that
 * is wrong is said before anything is allocated but the header.
 *
 * Source: the format's description at huggingface.co/docs/safetensors.
 */
import { grouped } from "../../errors.ts";
import { quoted } from "../quote.ts";

const MAX_HEADER = 1 << 22;
const MAX_TENSORS = 1 << 14;
const MAX_DIMENSIONS = 8;

export interface TensorView {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  /** A view. */
  readonly bytes: Uint8Array;
}

export interface Safetensors {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, TensorView>;
}

/** @throws {RangeError} If the bytes are not a safetensors file that is whole. */
export function readSafetensors(bytes: Uint8Array): Safetensors {
  if (bytes.length < 8) throw cannot(`it must begin with 8 bytes of length, has ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER)) {
    throw cannot(`its header must have at most ${grouped(MAX_HEADER)} bytes, got ${grouped(length)}`);
  }
  const start = 8 + Number(length);
  if (start > bytes.length) {
    throw cannot(`its header needs ${grouped(length)} bytes at offset 8, input has ${grouped(bytes.length)}`);
  }
  const entries = Object.entries(readHeader(bytes.subarray(8, start)));
  if (entries.length > MAX_TENSORS) throw cannot(`it must have at most ${MAX_TENSORS} tensors, has more`);
  const tensors = new Map<string, TensorView>();
  let metadata: ReadonlyMap<string, string> = new Map();
  const data = bytes.subarray(start);
  for (const [name, entry] of entries) {
    if (name === "__metadata__") metadata = readMetadata(entry);
    else tensors.set(name, readTensor(name, entry, data));
  }
  expectNoGaps([...tensors.values()], data);
  return { metadata, tensors };
}

function readHeader(bytes: Uint8Array): object {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw cannot("its header must be JSON");
  }
  if (!isObject(header)) throw cannot("its header must be an object");
  return header;
}

function readMetadata(entry: unknown): ReadonlyMap<string, string> {
  if (!isObject(entry)) throw cannot('"__metadata__" must be an object of texts');
  const texts = Object.entries(entry);
  const wrong = texts.find(([, text]) => typeof text !== "string");
  if (wrong !== undefined) throw cannot(`"__metadata__" must have texts only, ${quoted(wrong[0])} is none`);
  return new Map(texts as [string, string][]);
}

function readTensor(name: string, entry: unknown, data: Uint8Array): TensorView {
  const what = `tensor ${quoted(name)}`;
  if (!isObject(entry)) throw cannot(`${what} must be an object`);
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== "string") throw cannot(`${what} must have a dtype`);
  if (!isSizes(shape) || shape.length > MAX_DIMENSIONS) throw cannot(`${what} must have a shape`);
  if (!isSizes(offsets) || offsets.length !== 2) throw cannot(`${what} must have two data_offsets`);
  const [begin, end] = offsets;
  if (begin > end || end > data.length) {
    throw cannot(`${what} must lie in ${grouped(data.length)} bytes of data, got ${begin} to ${end}`);
  }
  return { name, type: dtype, shape, bytes: data.subarray(begin, end) };
}

/** Tensors lie one after the other, up to the end. */
function expectNoGaps(tensors: readonly TensorView[], data: Uint8Array): void {
  let end = 0;
  const inOrder = [...tensors].sort(
    (a, b) => a.bytes.byteOffset - b.bytes.byteOffset || a.bytes.length - b.bytes.length,
  );
  for (const { name, bytes } of inOrder) {
    const begin = bytes.byteOffset - data.byteOffset;
    if (begin !== end) throw cannot(`tensor ${quoted(name)} must begin at offset ${end}, got ${begin}`);
    end += bytes.length;
  }
  if (end !== data.length) {
    throw cannot(
      `its tensors must be all of ${grouped(data.length)} bytes of data, they are ${grouped(end)}`,
    );
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function cannot(why: string): RangeError {
  return new RangeError(`Cannot read rows: ${why}`);
}
