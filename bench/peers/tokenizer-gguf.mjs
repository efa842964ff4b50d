/** A GGUF with metadata and no tensors: enough for llama.cpp to load a vocabulary. */

/** Typed arrays become arrays of their type; a number is u32. */
export const i32 = Int32Array;
export const f32 = Float32Array;

const TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };

/** @param {Record<string, string | number | boolean | string[] | Int32Array | Float32Array>} metadata */
export function ggufBytes(metadata) {
  const all = { ...hyperparameters, ...metadata };
  const parts = [Buffer.from("GGUF"), u32(3), u64(0), u64(Object.keys(all).length)];
  for (const [key, value] of Object.entries(all)) parts.push(string(key), ...typed(value));
  return Buffer.concat(parts);
}

const hyperparameters = {
  "general.architecture": "llama",
  "general.name": "synthetic",
  "llama.context_length": 64,
  "llama.embedding_length": 32,
  "llama.block_count": 1,
  "llama.feed_forward_length": 32,
  "llama.attention.head_count": 1,
  "llama.rope.dimension_count": 32,
};

function typed(value) {
  if (typeof value === "string") return [u32(TYPE.string), string(value)];
  if (typeof value === "number") return [u32(TYPE.u32), u32(value)];
  if (typeof value === "boolean") return [u32(TYPE.bool), Buffer.from([value ? 1 : 0])];
  if (Array.isArray(value)) return [...array(TYPE.string, value.length), ...value.map(string)];
  const type = value instanceof i32 ? TYPE.i32 : TYPE.f32;
  return [...array(type, value.length), Buffer.from(value.buffer)];
}

function array(type, length) {
  return [u32(TYPE.array), u32(type), u64(length)];
}

function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
