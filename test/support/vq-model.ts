/** A small model whose head is a codebook with residual codes, trained by nobody. Knows no platform. */
import { encodeWeights } from "../../src/format/blocks.ts";
import { type GgufTensor, ggufBytes, string } from "./gguf-writer.ts";
import { createRandom } from "./random.ts";
import { type SyntheticModelOptions, syntheticModel } from "./synthetic-model.ts";

const CODES = 24;
const RESIDUAL_BYTES = 4;

export function vqModelBytes({ vocab = 300, hidden = 64, ...options }: SyntheticModelOptions): Uint8Array {
  const random = createRandom(3);
  const numbers = (length: number, scale: number) =>
    encodeWeights(
      "F32",
      Float32Array.from({ length }, () => scale * random.normal()),
    );
  const bytes = (length: number, below: number) => Uint8Array.from({ length }, () => random.below(below));
  const codes = Int32Array.from({ length: vocab }, () => random.below(CODES));
  const tensor = (name: string, type: string, shape: number[], data: Uint8Array): GgufTensor => ({
    name: `output_vq.${name}`,
    type,
    shape,
    data: () => [data],
  });
  const { metadata, tensors } = syntheticModel({ vocab, hidden, ...options });
  return ggufBytes({
    metadata: { ...metadata, "edgewise.head.model": string("vq") },
    tensors: [
      ...tensors.filter(({ name }) => name !== "output.weight"),
      tensor("codebook.weight", "F32", [hidden, CODES], numbers(CODES * hidden, 0.4)),
      tensor("codes", "I32", [vocab], new Uint8Array(codes.buffer)),
      tensor("bias", "F32", [vocab], numbers(vocab, 1)),
      tensor("residual.basis.weight", "F32", [hidden, 16], numbers(16 * hidden, 0.2)),
      tensor("residual.codebook", "F32", [16, 2, 2 * RESIDUAL_BYTES], numbers(256, 0.5)),
      tensor("residual.codes", "I8", [RESIDUAL_BYTES, vocab], bytes(RESIDUAL_BYTES * vocab, 256)),
      tensor("residual.bias", "F32", [vocab], numbers(vocab, 1)),
    ],
  });
}
