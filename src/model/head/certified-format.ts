/**
 * certified-format: the tensors `output_certified.*` of a file, as a CertifiedHead.
 *
 *     screen.weight  (V, D)   a coarser copy of the model's head: Q4_0, or a type in CERTIFIED_TYPES
 *     errors         F32 [V]  at least ‖w − ŵ‖ of each row
 *     norm           F32 [1]  at least ‖w‖ + ‖w − ŵ‖ of any row
 *
 * The certificate is about the head in the same file. If that is replaced by another, the errors are wrong: some rows are
 * compared when the file is read.
 */
import { type Backend, stride } from "../../backend/backend.ts";
import { UnsupportedError } from "../../errors.ts";
import { decodeWeights, type WeightType } from "../../format/blocks.ts";
import { CertifiedHead, type CertifiedWeights } from "./certified-head.ts";
import type { HeadFormat } from "./stored-head.ts";

/**
 * Types of heads: products that sum nothing but products with weights, as a minimum that cancels would round more than the
 * bound says, and states that are rounded finely, or not at all. A head of 4 bits has nothing to gain, as the screen has as many
 * bytes; with Q5_1 and Q5_K it would be a quarter at most.
 */
export const CERTIFIED_TYPES: readonly WeightType[] = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_0"];
const SCREEN_TYPES: readonly WeightType[] = [...CERTIFIED_TYPES, "Q4_0"];

/** Rows that are compared. */
const COMPARED = 32;
/** Above the roundings of the numbers in the file. */
const UP = 1 + 1e-5;

export const certifiedFormat: HeadFormat = {
  method: "certified",
  role: "model",
  needsDense: true,

  expected: ({ vocab, hidden }) => ({
    "screen.weight": { kind: "matrix", shape: [hidden, vocab] },
    errors: { kind: "values", types: ["F32"], shape: [vocab] },
    norm: { kind: "values", types: ["F32"], shape: [1] },
  }),

  heldBytes: (_, { vocab, hidden }) => 4 * (3 * stride(vocab) + 2 * stride(hidden)),

  /** A certificate is a conversation with the backend: too long where each answer has to be waited for. */
  isOutdone: ({ name }) => name === "webgpu",

  open(tensors, { backend, dense: exact }) {
    const screen = tensors.matrix("screen.weight");
    expectType("a head", exact.type, CERTIFIED_TYPES);
    expectType("with a screen", screen.type, SCREEN_TYPES);
    const errors = decodeWeights("F32", tensors.values("errors").bytes);
    const [norm] = decodeWeights("F32", tensors.values("norm").bytes);
    const wrong = errors.findIndex((error) => !(error >= 0 && error <= norm));
    if (wrong >= 0 || !Number.isFinite(norm)) {
      throw new RangeError(
        `Cannot load model: tensor "output_certified.errors" must be from 0 to the norm, ${norm}, got ${errors[wrong] ?? norm}`,
      );
    }
    const held = backend.floats(stride(errors.length));
    try {
      backend.write(held, errors);
      const weights = { exact, screen, errors: held, norm };
      expectErrors(backend, weights, errors);
      return new StoredCertifiedHead(backend, weights);
    } catch (error) {
      backend.free(held);
      throw error;
    }
  },
};

export function expectType(what: string, type: string, types: readonly string[] = CERTIFIED_TYPES): void {
  if (types.includes(type)) return;
  throw new UnsupportedError(`Cannot certify ${what} of type ${type}: supported are ${types.join(", ")}`);
}

/** Gives its errors back with itself. */
class StoredCertifiedHead extends CertifiedHead {
  readonly #backend: Backend;
  readonly #errors: CertifiedWeights["errors"];

  constructor(backend: Backend, weights: CertifiedWeights) {
    super(backend, weights);
    this.#backend = backend;
    this.#errors = weights.errors;
  }

  override close(): void {
    super.close();
    this.#backend.free(this.#errors);
  }
}

/** @throws {RangeError} If a row that is looked at is further from its copy than the file says. */
function expectErrors(backend: Backend, weights: CertifiedWeights, errors: Float32Array): void {
  const { exact, screen, norm } = weights;
  const cols = stride(exact.cols);
  const both = backend.floats(2 * cols);
  try {
    for (let i = 0; i < Math.min(COMPARED, exact.rows); i++) {
      const row = Math.floor((i * exact.rows) / Math.min(COMPARED, exact.rows));
      backend.embed(both, exact, [row]);
      backend.embed(backend.slice(both, cols, cols), screen, [row]);
      const values = backend.read(both) as Float32Array;
      let squares = 0;
      let distance = 0;
      for (let k = 0; k < exact.cols; k++) {
        const apart = values[k] - values[cols + k];
        squares += values[k] * values[k];
        distance += apart * apart;
      }
      const error = Math.sqrt(distance);
      if (error <= errors[row] * UP && Math.sqrt(squares) + error <= norm * UP) continue;
      throw new RangeError(
        `Cannot load model: tensor "output_certified.errors" is not of this head: row ${row} is off by ${error}, the file says ${errors[row]}`,
      );
    }
  } finally {
    backend.free(both);
  }
}
