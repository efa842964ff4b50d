/**
 * onnx: a model file of one product, out = x · Wᵀ with weights in blocks of 32 (MatMulNBits of ONNX Runtime).
 *
 * Q4_0 and Q8_0 mean the same numbers there: unsigned codes whose zero is half their range, times a scale per block. Nibbles
 * stand in order of k, where Q4_0 has weights j and j + 16 in a byte.
 *
 * Source: onnx.proto3 of the ONNX project for the fields; docs/ContribOperators.md of ONNX Runtime for the operator.
 */
import { bytesPerRow } from "../../src/format/blocks.ts";
import { f16ToNumber } from "../../src/format/half.ts";

const BLOCK = 32;
/** TensorProto.DataType */
const FLOAT = 1;
const UINT8 = 2;
/** AttributeProto.AttributeType */
const INT = 2;

type Parts = readonly Uint8Array<ArrayBuffer>[];

/** Fields of a message, by number: an integer, a text, bytes, or a message; several of one number in order. */
type Field = readonly [number: number, value: number | string | Parts];

function varint(value: number): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Uint8Array.from([...bytes, rest]);
}

function message(...fields: readonly Field[]): Parts {
  return fields.flatMap(([number, value]): Parts => {
    if (typeof value === "number") return [varint(number * 8), varint(value)];
    const parts = typeof value === "string" ? [new TextEncoder().encode(value)] : value;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    return [varint(number * 8 + 2), varint(length), ...parts];
  });
}

const tensor = (name: string, type: number, dims: readonly number[], bytes: Uint8Array<ArrayBuffer>): Parts =>
  message(...dims.map((dim): Field => [1, dim]), [2, type], [8, name], [9, [bytes]]);

/** A matrix of f32 with any number of rows. */
function matrixOf(name: string, columns: number): Parts {
  const shape = message([1, message([2, "M"])], [1, message([1, columns])]);
  return message([1, name], [2, message([1, message([1, FLOAT], [2, shape])])]);
}

/**
 * @param blocks Of Q4_0 or Q8_0, as a file has them: (rows, cols).
 * @returns      A model with the input `x`, (M, cols), and the output `out`, (M, rows).
 */
export function productModel(type: "Q4_0" | "Q8_0", rows: number, cols: number, blocks: Uint8Array): Blob {
  const bits = type === "Q4_0" ? 4 : 8;
  const { codes, scales } = unpack(type, rows * (cols / BLOCK), blocks);
  const attributes = { K: cols, N: rows, bits, block_size: BLOCK, accuracy_level: 4 };
  const node = message(
    ...["x", "codes", "scales"].map((name): Field => [1, name]),
    [2, "out"],
    [4, "MatMulNBits"],
    ...Object.entries(attributes).map(
      ([name, value]): Field => [5, message([1, name], [3, value], [20, INT])],
    ),
    [7, "com.microsoft"],
  );
  const graph = message(
    [1, node],
    [2, "product"],
    [5, tensor("codes", UINT8, [rows, cols / BLOCK, 4 * bits], codes)],
    [5, tensor("scales", FLOAT, [rows, cols / BLOCK], new Uint8Array(scales.buffer))],
    [11, matrixOf("x", cols)],
    [12, matrixOf("out", rows)],
  );
  const model = message(
    [1, 8],
    [7, graph],
    [8, message([1, ""], [2, 17])],
    [8, message([1, "com.microsoft"], [2, 1])],
  );
  return new Blob([...model]);
}

function unpack(type: "Q4_0" | "Q8_0", count: number, blocks: Uint8Array) {
  const bytes = bytesPerRow(type, BLOCK);
  const codes = new Uint8Array(count * (bytes - 2));
  const scales = new Float32Array(count);
  for (let block = 0; block < count; block++) {
    const at = block * bytes;
    scales[block] = f16ToNumber(blocks[at] | (blocks[at + 1] << 8));
    const to = block * (bytes - 2);
    for (let j = 0; j < bytes - 2; j++) {
      if (type === "Q8_0") codes[to + j] = blocks[at + 2 + j] ^ 0x80;
      else codes[to + j] = nibble(blocks, at + 2, 2 * j) | (nibble(blocks, at + 2, 2 * j + 1) << 4);
    }
  }
  return { codes, scales };
}

/** Code of weight k of a block of Q4_0. */
function nibble(blocks: Uint8Array, at: number, k: number): number {
  return k < BLOCK / 2 ? blocks[at + k] & 15 : blocks[at + k - BLOCK / 2] >> 4;
}
