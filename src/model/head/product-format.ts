/**
 * product-format: the tensors `output_pq.*` of a file, as a ProductHead.
 *
 *     codes      I8   [16, D / 8, ⌈V / 16⌉]   a byte holds the codes of a token for two sub-vectors, the first in its low
 *                                             four bits; tokens of a tile in the order 0, 8, 1, 9, … 7, 15
 *     codebook   F32  [16, 4, D / 4]          16 codewords for each of the 4 columns of a sub-vector
 *     scales     F16  [V]                     of a token's codewords
 *     biases     F16  [V]                     added to a token's logit
 *
 * Shapes in ggml order, the row length first. The model's own head is needed beside them.
 */
import { expectProductTables, productShape } from "../../backend/screen-kernels.ts";
import { decodeWeights } from "../../format/blocks.ts";
import { ProductHead } from "./product-head.ts";
import type { HeadFormat, HeadShape } from "./stored-head.ts";

export const productFormat: HeadFormat = {
  method: "pq",
  role: "draft",
  needsDense: true,

  expected: ({ vocab, hidden }: HeadShape) => ({
    codes: { kind: "values", types: ["I8"], shape: [16, hidden / 8, productShape(vocab, hidden).tiles] },
    codebook: { kind: "values", types: ["F32"], shape: [16, 4, hidden / 4] },
    scales: { kind: "values", types: ["F16"], shape: [vocab] },
    biases: { kind: "values", types: ["F16"], shape: [vocab] },
  }),

  heldBytes: (backend, { vocab, hidden }) => ProductHead.heldBytes(backend, vocab, hidden),

  open(tensors, { backend, dense, vocab, hidden }) {
    const bytesOf = (name: string) => tensors.values(name).bytes;
    const tables = {
      vocab,
      hidden,
      codes: bytesOf("codes"),
      codebook: decodeWeights("F32", bytesOf("codebook")),
      scales: finiteHalves("scales", bytesOf("scales")),
      biases: finiteHalves("biases", bytesOf("biases")),
    };
    expectProductTables(tables);
    expectFinite("codebook", tables.codebook);
    return new ProductHead(backend, tables, dense);
  },
};

/** Bit patterns; kernels do not know infinities and NaN. */
function finiteHalves(name: string, bytes: Uint8Array): Uint16Array {
  // Bytes of a file may begin anywhere.
  const halves = new Uint16Array(bytes.slice().buffer);
  const at = halves.findIndex((half) => (half & 0x7c00) === 0x7c00);
  if (at >= 0) throw notFinite(name, at);
  return halves;
}

function expectFinite(name: string, values: Float32Array): void {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw notFinite(name, at);
}

function notFinite(name: string, at: number): RangeError {
  return new RangeError(`Cannot load model: tensor "output_pq.${name}" must be finite, is not at ${at}`);
}
