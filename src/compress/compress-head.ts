/**
 * compress-head: a compressed head for a model, and how good it is.
 *
 *     model, text  →  states  →  method  →  tensors  →  opened as a loader does  →  compared on states that were held out
 */
import type { KernelModules } from "../engine/load-model.ts";
import { expectInteger } from "../errors.ts";
import type { ByteInput } from "../format/bytes.ts";
import { HEAD_FORMATS } from "../model/head/formats.ts";
import { MOST_RESIDUAL_BYTES } from "../model/head/residual-codes.ts";
import {
  HEAD_DRAFT_KEY,
  HEAD_MODEL_KEY,
  type HeadMethod,
  type HeadTensor,
  headPrefix,
} from "../model/head/stored-head.ts";
import { evaluateHead, type HeadQuality, openTensors } from "./evaluate.ts";
import { findMethod } from "./methods.ts";
import { openModel } from "./opened.ts";
import { calibrationOf, gatherFromModel, gatherFromText, type Progress } from "./states.ts";

export interface CompressHeadOptions {
  readonly method: HeadMethod;
  /** Of vq. Default 2,048, or the vocabulary if that is smaller. */
  readonly codes?: number;
  /** Of vq: bytes a token for an order within codes that depends on the text, 0 … 64. Default 0: none. */
  readonly residual?: number;
  /** What the states come from, at least some ten thousand words. Default: the model writes it. */
  readonly text?: string;
  /** States to calibrate with, 64 … 2^20. Default 4,096. */
  readonly states?: number;
  /** Default 1. */
  readonly seed?: number;
  /** Whether the head becomes the model's, instead of the dense one. Default false. */
  readonly replace?: boolean;
}

export interface CompressReport {
  readonly method: HeadMethod;
  /** What the head will be used for. */
  readonly role: "model" | "draft";
  readonly vocab: number;
  readonly hidden: number;
  readonly codes: number | null;
  /** Bytes of residual codes for each token. */
  readonly residual: number;
  /** Weights and tables read for a token. */
  readonly bytes: number;
  readonly denseBytes: number;
  /** Of the new tensors in the file. */
  readonly fileBytes: number;
  readonly quality: HeadQuality;
}

export interface CompressedHead {
  readonly tensors: readonly HeadTensor[];
  /** Keys for the file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Keys and tensors that the file is to lose: those of an earlier head of the method, and a dense head that is replaced. */
  readonly drops: (name: string) => boolean;
  readonly report: CompressReport;
}

/**
 * @param input The model's file.
 * @param onProgress Called often; what it throws ends the work.
 * @throws {UnsupportedError} If the model cannot run, has no dense head, or the method cannot do without it.
 * @throws {RangeError} If an option or the text does not fit the model.
 *
 * @example
 * ```ts
 * const { tensors, metadata, drops, report } = await compressHead(bytes, modules, { method: "vq", codes: 1024, text });
 * for await (const piece of editGguf(source, { tensors, metadata, drops })) await out.write(piece);
 * ```
 */
export async function compressHead(
  input: ByteInput,
  modules: KernelModules,
  options: CompressHeadOptions,
  onProgress: Progress = () => {},
): Promise<CompressedHead> {
  const { method: name, text, replace = false } = options;
  const seed = expectInteger("seed", options.seed ?? 1, 0, Number.MAX_SAFE_INTEGER);
  const count = expectInteger("states", options.states ?? 4096, 64, 2 ** 20);
  const method = findMethod(name);
  const format = HEAD_FORMATS.find((one) => one.method === name)!;
  if (replace && format.needsDense) {
    throw new RangeError(`"replace" must not be set for "${name}": it works with the dense head beside it`);
  }
  if (options.codes !== undefined && name !== "vq") {
    throw new RangeError(`"codes" must not be given for "${name}", got ${options.codes}: they are of vq`);
  }
  const residual = expectInteger("residual", options.residual ?? 0, 0, MOST_RESIDUAL_BYTES);
  if (residual > 0 && name !== "vq") {
    throw new RangeError(`"residual" must be 0 for "${name}", got ${residual}: residuals are what vq misses`);
  }
  const opened = await openModel(input, modules);
  const { backend, head, weights } = opened;
  const { vocab, hidden } = head;
  const codes = expectInteger("codes", options.codes ?? Math.min(2048, vocab), 1, vocab);
  const states =
    text === undefined
      ? await gatherFromModel(opened, count, seed, onProgress)
      : await gatherFromText(opened, text, count, onProgress);
  const calibration = await calibrationOf(opened, states.fitted, onProgress);
  const tensors = await method.build({
    head,
    states: calibration,
    options: { codes, residual, seed },
    backend,
    onProgress,
  });
  const made = openTensors(name, tensors, { backend, dense: weights.head, vocab, hidden });
  const quality = await evaluateHead(backend, weights.head, made, states.heldOut, onProgress);
  const role = replace ? "model" : format.role;
  return {
    tensors,
    metadata: { [role === "model" ? HEAD_MODEL_KEY : HEAD_DRAFT_KEY]: name },
    drops: (other) => other.startsWith(headPrefix(name)) || (replace && other === "output.weight"),
    report: {
      method: name,
      role,
      vocab,
      hidden,
      codes: name === "vq" ? codes : null,
      residual,
      bytes: made.bytes,
      denseBytes: weights.head.bytes,
      fileBytes: tensors.reduce((sum, { bytes }) => sum + bytes.length, 0),
      quality,
    },
  };
}
