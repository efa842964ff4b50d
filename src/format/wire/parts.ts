/** The tensors of a segment: rows in a row that have the same encoding. */
import { type Codebook, codeWidth, groupsOf } from "./codebook.ts";
import { blocksOf, codeBytes } from "./kernels.ts";
import type { RowEncoding } from "./types.ts";

export const TYPE_BYTES = { F32: 4, U32: 4, F16: 2, U16: 2, U8: 1 } as const;
export type TensorType = keyof typeof TYPE_BYTES;

/** What one row brings to a tensor of its segment. */
export interface Part {
  readonly name: string;
  readonly type: TensorType;
  /** Without the rows, which are the first dimension. */
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** In the order of a row's bytes; null: rows are of different lengths. */
export function partsOf(encoding: RowEncoding, vocab: number, codebook?: Codebook): readonly Part[] | null {
  switch (encoding) {
    case "f32":
      return [part("logits", "F32", [vocab])];
    case "f16":
      return [part("logits", "F16", [vocab])];
    case "int8":
    case "int4": {
      const blocks = [blocksOf(vocab)];
      const codes = codeBytes(vocab, encoding === "int8" ? 8 : 4);
      return [part("scale", "F16", blocks), part("minimum", "F16", blocks), part("codes", "U8", [codes])];
    }
    case "vq": {
      const type = codeWidth(codebook!) === 1 ? "U8" : "U16";
      return [part("shift", "F32", []), part("codes", type, [codebook!.stages, groupsOf(vocab, codebook!)])];
    }
    default:
      return null;
  }
}

function part(name: string, type: TensorType, shape: readonly number[]): Part {
  return { name, type, shape, bytes: shape.reduce((product, size) => product * size, TYPE_BYTES[type]) };
}

export const MESSAGE_FORMAT = "edgewise.rows";
export const MESSAGE_VERSION = "1";

/** Of a segment, in the header. */
export interface SegmentHeader {
  readonly encoding: RowEncoding;
  readonly rows: number;
  readonly codebook?: string;
}

export function codebookTensor(id: string): string {
  return `codebook.${id}`;
}
