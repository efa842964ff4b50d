/** vq-format: the tensors `output_vq.*` of a file, as a VqHead. vq-head.ts has the list. */
import { MOST_CODES } from "../../backend/head-kernels.ts";
import { UnsupportedError } from "../../errors.ts";
import { decodeWeights } from "../../format/blocks.ts";
import type { HeadFormat, HeadTensor } from "./stored-head.ts";
import { VqHead } from "./vq-head.ts";

/** A draft unless the file says that the model was trained with it. */
export const vqFormat: HeadFormat = {
  method: "vq",
  role: "draft",
  needsDense: false,

  expected: ({ vocab, hidden }) => ({
    "codebook.weight": { kind: "matrix", shape: [hidden, { most: MOST_CODES }] },
    codes: { kind: "values", types: ["I16", "I32"], shape: [vocab] },
    bias: { kind: "values", types: ["F16", "F32"], shape: [vocab] },
  }),

  heldBytes(backend, { vocab }, shapes) {
    const [, codes] = shapes.get("codebook.weight")!;
    return VqHead.heldBytes(backend, vocab, codes ?? 1);
  },

  open(tensors, { backend }) {
    const bias = tensors.values("bias");
    return new VqHead(backend, {
      codebook: tensors.matrix("codebook.weight"),
      codes: codesOf(tensors.values("codes")),
      bias: decodeWeights(bias.type, bias.bytes),
    });
  },
};

/** I16 holds codes to 65,535, as its bits without a sign. */
function codesOf({ type, bytes }: Pick<HeadTensor, "type" | "bytes">): Uint16Array | Int32Array {
  // Bytes of a file may begin anywhere.
  const { buffer } = bytes.slice();
  if (type === "I16") return new Uint16Array(buffer);
  if (type === "I32") return new Int32Array(buffer);
  throw new UnsupportedError(`Cannot read codes of type ${type}: supported are I16, I32`);
}
