/**
 * stored-plan: which heads a file has, checked before a byte of them is read.
 *
 * Their tensors are all there, of the right shapes and types, and what the metadata names exists.
 */
import type { Backend, Matrix } from "../../backend/backend.ts";
import { MemoryError, UnsupportedError } from "../../errors.ts";
import { WEIGHT_TYPES, type WeightType } from "../../format/blocks.ts";
import type { Gguf, TensorInfo } from "../../format/gguf.ts";
import { metadataString } from "../../format/metadata.ts";
import { HEAD_FORMATS } from "./formats.ts";
import type { Head } from "./head.ts";
import {
  HEAD_DRAFT_KEY,
  HEAD_MODEL_KEY,
  type HeadContext,
  type HeadFormat,
  type HeadMethod,
  type HeadShape,
  type HeadTensor,
  type HeadTensorSpec,
  type HeadTensors,
  headPrefix,
  headTensorName,
} from "./stored-head.ts";

/** A tensor of a stored head. */
export interface PlannedHeadTensor {
  readonly info: TensorInfo;
  readonly kind: HeadTensorSpec["kind"];
  /** Of a matrix. */
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
}

export interface StoredHeadPlan {
  readonly shape: HeadShape;
  /** What makes the model's rows. */
  readonly model: "dense" | HeadMethod;
  /** What drafts for it. */
  readonly draft: "shortlist" | HeadMethod;
  /** Formats in the file that are used. */
  readonly formats: readonly HeadFormat[];
  /** Their tensors, by name in the file. */
  readonly tensors: ReadonlyMap<string, PlannedHeadTensor>;
}

/** @throws {RangeError | UnsupportedError} For a head that is not whole, or one that the metadata names and that is not there. */
export function planStoredHeads(
  { tensors: all, metadata }: Pick<Gguf, "tensors" | "metadata">,
  shape: HeadShape,
): StoredHeadPlan {
  const present = HEAD_FORMATS.filter(({ method }) =>
    all.some(({ name }) => headTensorName(name)?.[0] === method),
  );
  const other = all.find(
    ({ name }) =>
      headTensorName(name) !== null && !present.some(({ method }) => name.startsWith(headPrefix(method))),
  );
  if (other !== undefined) {
    throw new UnsupportedError(
      `Cannot load model: tensor "${other.name}" is of a head that is not known here`,
    );
  }
  const named = <Default extends string>(key: string, otherwise: Default, fallback: HeadMethod | Default) => {
    const name = metadataString(metadata, key, { default: fallback as string });
    const method = present.find((format) => format.method === name)?.method;
    if (method !== undefined || name === otherwise) return (method ?? otherwise) as HeadMethod | Default;
    throw new RangeError(
      `Metadata "${key}" must be "${otherwise}" or a head of the file, got "${name.slice(0, 64)}"`,
    );
  };
  const model = named(HEAD_MODEL_KEY, "dense", "dense");
  const drafter = present.find(({ role, method }) => role === "draft" && method !== model);
  const draft = named(HEAD_DRAFT_KEY, "shortlist", drafter?.method ?? "shortlist");
  const formats = present.filter(({ method }) => method === model || method === draft);
  const tensors = new Map(formats.flatMap((format) => [...plannedTensors(all, format, shape)]));
  return { shape, model, draft, formats, tensors };
}

function plannedTensors(
  all: readonly TensorInfo[],
  { method, expected }: HeadFormat,
  shape: HeadShape,
): Map<string, PlannedHeadTensor> {
  const prefix = headPrefix(method);
  const planned = new Map<string, PlannedHeadTensor>();
  const specs = expected(shape);
  for (const info of all) {
    if (!info.name.startsWith(prefix)) continue;
    const name = info.name.slice(prefix.length);
    if (!Object.hasOwn(specs, name)) {
      throw new UnsupportedError(
        `Cannot load model: tensor "${info.name}" is not part of a ${method} head here`,
      );
    }
    expectSpec(info, specs[name]);
    const [cols, rows = 1] = info.shape;
    planned.set(info.name, { info, kind: specs[name].kind, type: info.type as WeightType, rows, cols });
  }
  for (const [name, { optional = false }] of Object.entries(specs)) {
    if (!optional && !planned.has(prefix + name)) {
      throw new RangeError(`Cannot load model: file has no tensor "${prefix}${name}"`);
    }
  }
  return planned;
}

function expectSpec({ name, shape, type }: TensorInfo, spec: HeadTensorSpec): void {
  const actual = shape.slice();
  while (actual.length > spec.shape.length && actual[actual.length - 1] === 1) actual.pop();
  const fits =
    actual.length === spec.shape.length &&
    spec.shape.every((size, axis) =>
      typeof size === "number" ? actual[axis] === size : actual[axis] <= size.most,
    );
  if (!fits) {
    const wanted = spec.shape.map((size) => (typeof size === "number" ? size : `at most ${size.most}`));
    throw new RangeError(
      `Cannot load model: tensor "${name}" must have shape [${wanted.join(", ")}], got [${shape.join(", ")}]`,
    );
  }
  const types = spec.kind === "matrix" ? WEIGHT_TYPES : (spec.types ?? []);
  if (types.includes(type)) return;
  throw new UnsupportedError(
    `Cannot load model: tensor "${name}" has type ${type}, supported are ${types.join(", ")}`,
  );
}

/** The plan without heads that the dense one outdoes on a backend. */
export function planFor(backend: Backend, plan: StoredHeadPlan): StoredHeadPlan {
  const formats = plan.formats.filter(({ isOutdone }) => isOutdone?.(backend) !== true);
  const isUsed = (name: string) => formats.some(({ method }) => headTensorName(name)?.[0] === method);
  return { ...plan, formats, tensors: new Map([...plan.tensors].filter(([name]) => isUsed(name))) };
}

/** Bytes that the heads will take of `backend`. */
export function storedHeadBytes(backend: Backend, { formats, tensors, shape }: StoredHeadPlan): number {
  let bytes = 0;
  for (const { kind, type, rows, cols } of tensors.values()) {
    if (kind === "matrix") bytes += backend.matrixBytes(type, rows, cols);
  }
  for (const format of formats) {
    const prefix = headPrefix(format.method);
    const shapes = [...tensors].filter(([name]) => name.startsWith(prefix));
    bytes += format.heldBytes(
      backend,
      shape,
      new Map(shapes.map(([name, { info }]) => [name.slice(prefix.length), info.shape])),
    );
  }
  return bytes;
}

/** Heads of a model beside the dense one. */
export interface StoredHeads {
  /** Makes the model's rows; null: the dense head does. */
  readonly model: Head | null;
  /** Drafts; null: rows of the dense head do. */
  readonly draft: Head | null;
}

/** What was read of the planned tensors, by name in the file. */
export type ReadHeadTensor = Matrix | HeadTensor;

export function openStoredHeads(
  { formats, model, draft, shape }: StoredHeadPlan,
  read: ReadonlyMap<string, ReadHeadTensor>,
  context: Pick<HeadContext, "backend" | "dense">,
): StoredHeads {
  const heads = new Map<string, Head>();
  for (const format of formats) {
    const prefix = headPrefix(format.method);
    const tensors = {
      has: (name: string) => read.has(prefix + name),
      matrix: (name: string) => read.get(prefix + name) as Matrix,
      values: (name: string) => read.get(prefix + name) as HeadTensor,
    };
    heads.set(format.method, openHead(format, tensors, { ...shape, ...context }));
  }
  // Where the dense head is not what the model was trained with, its rows are no draft.
  const instead = formats.some(({ method, needsDense }) => method === model && !needsDense) ? model : draft;
  return { model: heads.get(model) ?? null, draft: heads.get(draft) ?? heads.get(instead) ?? null };
}

function openHead(format: HeadFormat, tensors: HeadTensors, context: HeadContext): Head {
  try {
    return format.open(tensors, context);
  } catch (error) {
    if (!(error instanceof RangeError) || error instanceof MemoryError) throw error;
    const why = error.message.replace(/^Cannot load model: /, "");
    throw new RangeError(`Cannot load model: its ${format.method} head is not sound: ${why}`);
  }
}
