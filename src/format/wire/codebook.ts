/**
 * Codebooks of the encoding "vq": what stands for `dim` logits of consecutive tokens, relative to the row's largest.
 *
 * A codebook is shipped once and named by its content in every row: 16 hexadecimal digits (format/fingerprint.ts), which
 * tell codebooks apart and do not protect against a forger.
 */
import { expectInteger } from "../../errors.ts";
import { Fingerprint } from "../fingerprint.ts";

export interface CodebookShape {
  /** Codewords that are added up. */
  readonly stages: number;
  /** Codewords of a stage. */
  readonly count: number;
  /** Logits of a codeword: a multiple of 4. */
  readonly dim: number;
}

export interface Codebook extends CodebookShape {
  readonly id: string;
  /** (stages, count, dim), finite. Not to be written to. */
  readonly values: Float32Array;
}

const MAX_STAGES = 8;
const MAX_COUNT = 1 << 16;
const MAX_DIM = 64;
const MAX_VALUES = 1 << 22;
/** So that sums and squares of differences stay finite in f32. */
const MAX_VALUE = 1e6;

/**
 * @param values (stages, count, dim); kept, not copied.
 * @throws {TypeError | RangeError} If the shape is out of range, or a value is not from −1e6 to 1e6.
 */
export function createCodebook(shape: CodebookShape, values: Float32Array, path = "codebook"): Codebook {
  const { stages, count, dim } = expectCodebookShape(shape, path);
  if (!(values instanceof Float32Array)) throw new TypeError(`"${path}.values" must be a Float32Array`);
  expectInteger(`${path}.values.length`, values.length, stages * count * dim, stages * count * dim);
  const bad = values.findIndex((value) => !(Math.abs(value) <= MAX_VALUE));
  if (bad >= 0) {
    throw new RangeError(
      `"${path}.values[${bad}]" must be a number from ${-MAX_VALUE} to ${MAX_VALUE}, got ${values[bad]}`,
    );
  }
  const hash = new Fingerprint();
  hash.addText(`codebook ${stages} ${count} ${dim}`);
  hash.addBytes(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return { id: hash.toString(), stages, count, dim, values };
}

export function expectCodebookShape({ stages, count, dim }: CodebookShape, path: string): CodebookShape {
  expectInteger(`${path}.stages`, stages, 1, MAX_STAGES);
  expectInteger(`${path}.count`, count, 1, MAX_COUNT);
  expectInteger(`${path}.dim`, dim, 4, MAX_DIM);
  if (dim % 4 !== 0) throw new RangeError(`"${path}.dim" must be a multiple of 4, got ${dim}`);
  if (stages * count * dim > MAX_VALUES) {
    throw new RangeError(
      `"${path}" must have at most ${MAX_VALUES} values, got ${stages} x ${count} x ${dim}`,
    );
  }
  return { stages, count, dim };
}

/** Codes of a row, of one stage. */
export function groupsOf(vocab: number, { dim }: CodebookShape): number {
  return Math.ceil(vocab / dim);
}

/** Bytes of one code. */
export function codeWidth({ count }: CodebookShape): 1 | 2 {
  return count <= 256 ? 1 : 2;
}
