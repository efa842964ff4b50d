/**
 * vq-format: the tensors `output_vq.*` of a file, as a VqHead.
 *
 *     codebook.weight         (K, D)      any type that can run
 *     codes                   (V)         I16 read as unsigned, or I32
 *     bias                    (V)         F16 or F32, within ±2048
 *
 * and, of a head with residual codes of R bytes in S = 2R sub-vectors of C columns,
 *
 *     residual.basis.weight   (S · C, D)  any type that can run
 *     residual.codebook       (S, C, 16)  F32
 *     residual.codes          (V, R)      I8
 *     residual.bias           (V)         F16 or F32, within ±2048
 */
import { type Backend, type Matrix, stride } from "../../backend/backend.ts";
import { MOST_CODES, RESIDUAL_WORDS } from "../../backend/head-kernels.ts";
import { expectInteger, UnsupportedError } from "../../errors.ts";
import { decodeWeights } from "../../format/blocks.ts";
import { MOST_RESIDUAL_BYTES, MOST_RESIDUAL_COLUMNS } from "./residual-codes.ts";
import type { HeadFormat, HeadTensor, HeadTensors } from "./stored-head.ts";
import { VqHead, type VqWeights } from "./vq-head.ts";

const MOST_SUBS = 2 * MOST_RESIDUAL_BYTES;
const RESIDUAL = ["residual.basis.weight", "residual.codebook", "residual.codes", "residual.bias"] as const;

/** A draft unless the file says that the model was trained with it. */
export const vqFormat: HeadFormat = {
  method: "vq",
  role: "draft",
  needsDense: false,

  expected: ({ vocab, hidden }) => ({
    "codebook.weight": { kind: "matrix", shape: [hidden, { most: MOST_CODES }] },
    codes: { kind: "values", types: ["I16", "I32"], shape: [vocab] },
    bias: { kind: "values", types: ["F16", "F32"], shape: [vocab] },
    "residual.basis.weight": {
      kind: "matrix",
      shape: [hidden, { most: MOST_SUBS * MOST_RESIDUAL_COLUMNS }],
      optional: true,
    },
    "residual.codebook": {
      kind: "values",
      types: ["F32"],
      shape: [RESIDUAL_WORDS, { most: MOST_RESIDUAL_COLUMNS }, { most: MOST_SUBS }],
      optional: true,
    },
    "residual.codes": {
      kind: "values",
      types: ["I8"],
      shape: [{ most: MOST_RESIDUAL_BYTES }, vocab],
      optional: true,
    },
    "residual.bias": { kind: "values", types: ["F16", "F32"], shape: [vocab], optional: true },
  }),

  heldBytes(backend, { vocab }, shapes) {
    const [, codes = 1] = shapes.get("codebook.weight")!;
    const basis = shapes.get("residual.basis.weight");
    const residual = basis && { size: basis[1] ?? 1, bytes: shapes.get("residual.codes")?.[0] ?? 0 };
    return VqHead.heldBytes(backend, vocab, codes, residual);
  },

  open(tensors, { backend }) {
    const bias = tensors.values("bias");
    const residual = residualOf(tensors);
    const codebook = tensors.matrix("codebook.weight");
    // Scores are bounded: what is no number would pass for the least of them.
    expectFinite(backend, "codebook.weight", codebook);
    if (residual !== undefined) expectFinite(backend, "residual.basis.weight", residual.basis);
    return new VqHead(backend, {
      codebook,
      codes: codesOf(tensors.values("codes")),
      bias: decodeWeights(bias.type, bias.bytes),
      residual,
    });
  },
};

/** @throws {RangeError} If some of its tensors are there and others are not. */
function residualOf(tensors: HeadTensors): VqWeights["residual"] {
  if (!RESIDUAL.some((name) => tensors.has(name))) return undefined;
  const missing = RESIDUAL.find((name) => !tensors.has(name));
  if (missing !== undefined) throw new RangeError(`residual codes need tensor "output_vq.${missing}"`);
  const [codes, bias] = [tensors.values("residual.codes"), tensors.values("residual.bias")];
  const words = tensors.values("residual.codebook");
  const bytes = codes.shape[0];
  expectInteger("sub-vectors of residual.codebook", words.shape[2] ?? 1, 2 * bytes, 2 * bytes);
  return {
    basis: tensors.matrix("residual.basis.weight"),
    bytes,
    codes: codes.bytes,
    words: decodeWeights("F32", words.bytes),
    bias: decodeWeights(bias.type, bias.bytes),
  };
}

/** @throws {RangeError} If a weight is NaN or infinite. Takes a look at each; not where that is to wait for a device. */
function expectFinite(backend: Backend, name: string, matrix: Matrix): void {
  if (backend.name === "webgpu") return;
  const row = backend.floats(stride(matrix.cols));
  try {
    for (let i = 0; i < matrix.rows; i++) {
      backend.embed(row, matrix, [i]);
      const values = backend.read(backend.slice(row, 0, matrix.cols)) as Float32Array;
      const at = values.findIndex((value) => !Number.isFinite(value));
      if (at < 0) continue;
      throw new RangeError(`tensor "output_vq.${name}" must be finite, is ${values[at]} in row ${i}`);
    }
  } finally {
    backend.free(row);
  }
}

/** I16 holds codes to 65,535, as its bits without a sign. */
function codesOf({ type, bytes }: Pick<HeadTensor, "type" | "bytes">): Uint16Array | Int32Array {
  // Bytes of a file may begin anywhere.
  const { buffer } = bytes.slice();
  if (type === "I16") return new Uint16Array(buffer);
  if (type === "I32") return new Int32Array(buffer);
  throw new UnsupportedError(`Cannot read codes of type ${type}: supported are I16, I32`);
}
