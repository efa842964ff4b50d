/**
 * open-head: the head of a model by itself, for hidden states that another runtime makes.
 *
 *     file or tensors  →  which head, is it whole, what will it take  →  only its tensors are kept  →  OpenedHead
 *
 * A state is what the model's head takes: the last layer's output after the final norm.
 */
import { type Backend, type Matrix, stride } from "../../backend/backend.ts";
import { UnsupportedError } from "../../errors.ts";
import { bytesPerRow, isWeightType, type WeightType } from "../../format/blocks.ts";
import { type ByteInput, ByteReader } from "../../format/bytes.ts";
import { type Gguf, readGguf, type TensorInfo } from "../../format/gguf.ts";
import { metadataString } from "../../format/metadata.ts";
import { DenseHead } from "./dense-head.ts";
import type { Head } from "./head.ts";
import { OpenedHead } from "./opened-head.ts";
import {
  HEAD_DRAFT_KEY,
  HEAD_MODEL_KEY,
  type HeadMethod,
  type HeadTensor,
  headPrefix,
} from "./stored-head.ts";
import {
  openStoredHeads,
  planFor,
  planStoredHeads,
  type ReadHeadTensor,
  type StoredHeadPlan,
  storedHeadBytes,
} from "./stored-plan.ts";

export interface OpenHeadOptions {
  /** Which of the file's heads. Default: the one that makes the model's rows. */
  readonly head?: "dense" | HeadMethod;
  readonly signal?: AbortSignal;
}

/** Allocations are rounded up, and kernels take some for themselves. */
const SLACK_BYTES = 1 << 16;

/**
 * Opens a head alone: of a GGUF file, or of tensors named as in one, "output.weight" (V, D) and those of compressed heads.
 *
 * Of a file without "output.weight" the embedding is the head. Nothing but the head stays in memory.
 *
 * @param backend Where it runs, best one of the head's own: of a file that breaks off something may stay in it.
 * @throws {RangeError} If the head is not there, or a tensor has another shape than it must have.
 * @throws {UnsupportedError} If a tensor is of a type that cannot run.
 * @throws {MemoryError} If there is no room for it.
 *
 * @example
 * ```ts
 * const head = await openHead(await fetch("model.gguf"), createWasmBackend((await kernelModules()).simd));
 * const token = await head.sample(state, { temperature: 0.8, seed: 1, position: 17 });
 * ```
 */
export async function openHead(
  input: ByteInput | readonly HeadTensor[],
  backend: Backend,
  options: OpenHeadOptions = {},
): Promise<OpenedHead> {
  if (Array.isArray(input)) {
    const given: readonly HeadTensor[] = input;
    const plan = planHead({ metadata: new Map(), tensors: given.map(infoOf) }, options.head);
    const bytesOf = new Map(given.map(({ name, bytes }) => [name, bytes]));
    return await open(plan, backend, async ({ name }, write) => write(bytesOf.get(name)!));
  }
  const reader = ByteReader.from(input as ByteInput, { signal: options.signal });
  try {
    const plan = planHead(await readGguf(reader), options.head);
    return await open(plan, backend, async ({ name, offset, bytes }, write) => {
      await reader.skip(offset - reader.position, `bytes before tensor "${name}"`);
      for await (const chunk of reader.chunks(bytes, Infinity, `tensor "${name}"`)) write(chunk);
    });
  } finally {
    await reader.close();
  }
}

interface HeadPlan {
  readonly method: "dense" | HeadMethod;
  /** The matrix of the whole vocabulary, where it is needed. */
  readonly dense: TensorInfo | null;
  readonly stored: StoredHeadPlan;
}

function planHead(
  { metadata, tensors }: Pick<Gguf, "metadata" | "tensors">,
  asked: "dense" | HeadMethod | undefined,
): HeadPlan {
  const method = asked ?? metadataString(metadata, HEAD_MODEL_KEY, { default: modelOf(tensors) });
  const prefix = method === "dense" ? null : headPrefix(method as HeadMethod);
  const own = tensors.filter(({ name }) => prefix !== null && name.startsWith(prefix));
  if (prefix !== null && own.length === 0) {
    throw new RangeError(`"head" must be one of the file's heads, got "${method}"`);
  }
  const matrix =
    tensors.find(({ name }) => name === "output.weight") ??
    tensors.find(({ name }) => name === "token_embd.weight");
  const [hidden, vocab] = matrix === undefined ? shapeOf(own) : expectMatrix(matrix).shape;
  if (hidden % 4 !== 0) {
    throw new UnsupportedError(`Cannot open head: states of ${hidden} values are no multiple of 4`);
  }
  const stored = planStoredHeads(
    {
      tensors: own,
      metadata: new Map([
        [HEAD_MODEL_KEY, method],
        [HEAD_DRAFT_KEY, "shortlist"],
      ]),
    },
    { vocab, hidden },
  );
  const needsDense = method === "dense" || stored.formats.some((format) => format.needsDense);
  if (needsDense && matrix === undefined) throw new RangeError('Cannot open head: no tensor "output.weight"');
  return { method: stored.model, dense: needsDense ? (matrix as TensorInfo) : null, stored };
}

/** Where nothing says what makes the rows. */
function modelOf(tensors: readonly TensorInfo[]): "dense" | "vq" {
  const isDense = tensors.some(({ name }) => /^(output|token_embd)\.weight$/.test(name));
  return !isDense && tensors.some(({ name }) => name.startsWith(headPrefix("vq"))) ? "vq" : "dense";
}

/** Of a head that needs no other. */
function shapeOf(tensors: readonly TensorInfo[]): [hidden: number, vocab: number] {
  const words = tensors.find(({ name }) => name === "output_vq.codebook.weight");
  const codes = tensors.find(({ name }) => name === "output_vq.codes");
  if (words !== undefined && codes !== undefined) return [words.shape[0], codes.shape[0]];
  throw new RangeError('Cannot open head: no tensor "output.weight"');
}

function expectMatrix(info: TensorInfo): TensorInfo {
  const { name, shape, type } = info;
  if (shape.length !== 2) {
    throw new RangeError(`Cannot open head: tensor "${name}" must have 2 axes, got [${shape.join(", ")}]`);
  }
  if (!isWeightType(type)) throw new UnsupportedError(`Cannot open head: tensor "${name}" has type ${type}`);
  return info;
}

/** @throws {RangeError} If there are not as many bytes as the shape says. */
function infoOf({ name, type, shape, bytes }: HeadTensor): TensorInfo {
  const [cols, ...rest] = shape;
  const rows = rest.reduce((product, size) => product * size, 1);
  const sizes: Record<string, number> = { I8: 1, I16: 2, I32: 4 };
  const expected = rows * (Object.hasOwn(sizes, type) ? sizes[type] * cols : bytesPerRow(type, cols));
  if (bytes.length !== expected) {
    throw new RangeError(
      `Cannot open head: tensor "${name}" of ${type} [${shape.join(", ")}] has ${expected} bytes, got ${bytes.length}`,
    );
  }
  return { name, type, shape, bytes: expected, offset: 0 };
}

/** Calls `write` with the bytes of a tensor, in pieces. */
type ReadTensor = (info: TensorInfo, write: (piece: Uint8Array) => void) => Promise<void>;

/** @param read Called in the order of the file. */
async function open(planned: HeadPlan, backend: Backend, read: ReadTensor): Promise<OpenedHead> {
  const plan = { ...planned, stored: planFor(backend, planned.stored) };
  const { dense, stored } = plan;
  const { vocab, hidden } = stored.shape;
  const matrices: Matrix[] = [];
  const needed = dense === null ? 0 : backend.matrixBytes(dense.type as WeightType, vocab, hidden);
  backend.reserve(needed + storedHeadBytes(backend, stored) + 8 * stride(vocab) + 4 * hidden + SLACK_BYTES);
  const load = async (info: TensorInfo, type: WeightType, rows: number, cols: number) => {
    const writer = backend.matrix(type, rows, cols);
    await read(info, (piece) => writer.write(piece));
    const matrix = writer.finish();
    matrices.push(matrix);
    return matrix;
  };
  try {
    const tensors = new Map<string, ReadHeadTensor>();
    let whole: Matrix | null = null;
    const infos = [
      ...(dense === null ? [] : [dense]),
      ...[...stored.tensors.values()].map(({ info }) => info),
    ];
    for (const info of infos.sort((a, b) => a.offset - b.offset)) {
      const tensor = stored.tensors.get(info.name);
      if (tensor === undefined) whole = await load(info, info.type as WeightType, vocab, hidden);
      else if (tensor.kind === "matrix") {
        tensors.set(info.name, await load(info, tensor.type, tensor.rows, tensor.cols));
      } else tensors.set(info.name, await valuesOf(info, read));
    }
    return new OpenedHead(backend, headOf(plan, tensors, backend, whole), plan.method, () => {
      for (const matrix of matrices) backend.free(matrix);
    });
  } catch (error) {
    for (const matrix of matrices) backend.free(matrix);
    throw error;
  }
}

/** Grows with what arrives: a size that a file tells is not believed. */
async function valuesOf(info: TensorInfo, read: ReadTensor): Promise<HeadTensor> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  await read(info, (piece) => pieces.push(Uint8Array.from(piece)));
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  return { name: info.name, type: info.type, shape: info.shape, bytes };
}

function headOf(
  { method, stored }: HeadPlan,
  tensors: ReadonlyMap<string, ReadHeadTensor>,
  backend: Backend,
  dense: Matrix | null,
): Head {
  if (method === "dense") return new DenseHead(backend, dense as Matrix);
  // It is there for all that need it, or could do without the stored one.
  const { model } = openStoredHeads(stored, tensors, { backend, dense: dense as Matrix });
  return model ?? new DenseHead(backend, dense as Matrix);
}
