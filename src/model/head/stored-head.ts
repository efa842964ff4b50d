/**
 * stored-head: heads that a file has beside the dense one, or instead of it.
 *
 *     tensors    output_vq.*, output_pq.*, output_certified.*      each format says which
 *     metadata   edgewise.head.model    what makes the model's rows: "dense" (default), or a format
 *                edgewise.head.draft    what `draft: "self"` proposes with: a format, or "shortlist", rows of the dense head.
 *                                       Default: the first format in the file that is made for it
 *
 * A file without such tensors means what it always meant.
 */
import type { Backend, Matrix } from "../../backend/backend.ts";
import type { Head } from "./head.ts";

export const HEAD_METHODS = ["vq", "pq", "certified"] as const;

export type HeadMethod = (typeof HEAD_METHODS)[number];

/** The name of a tensor in the file begins with it. */
export function headPrefix(method: HeadMethod): string {
  return `output_${method}.`;
}

export const HEAD_MODEL_KEY = "edgewise.head.model";
export const HEAD_DRAFT_KEY = "edgewise.head.draft";

export interface HeadShape {
  /** V */
  readonly vocab: number;
  /** D */
  readonly hidden: number;
}

/** A tensor that a format knows. Sizes that the file chooses are given by the largest they may be. */
export interface HeadTensorSpec {
  /** "matrix": packed for matmul, of any type that can run. "values": kept as the file's bytes. */
  readonly kind: "matrix" | "values";
  /** Of values: types that are taken, as ggml names them. */
  readonly types?: readonly string[];
  /** ggml order, the row length first. */
  readonly shape: readonly (number | { readonly most: number })[];
  readonly optional?: boolean;
}

/** A tensor as it stands in a file. */
export interface HeadTensor {
  /** Such as "output_vq.codes". */
  readonly name: string;
  /** As ggml names it. */
  readonly type: string;
  /** ggml order, the row length first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** What was read of a file, by name without the prefix. All that are not optional are there. */
export interface HeadTensors {
  has(name: string): boolean;
  matrix(name: string): Matrix;
  values(name: string): Pick<HeadTensor, "type" | "shape" | "bytes">;
}

export interface HeadContext extends HeadShape {
  readonly backend: Backend;
  /** (V, D) what makes the model's rows where nothing else does. */
  readonly dense: Matrix;
}

export interface HeadFormat {
  readonly method: HeadMethod;
  /** What it is good for: exact rows may be the model's, others propose. A file may say otherwise. */
  readonly role: "model" | "draft";
  /** Whether its answers need the dense head. */
  readonly needsDense: boolean;
  /** By name without the prefix `output_<method>.`. */
  expected(shape: HeadShape): Readonly<Record<string, HeadTensorSpec>>;
  /** Bytes that `open` takes of the backend, matrices aside. @param shapes Of the tensors in the file, by name without prefix. */
  heldBytes(backend: Backend, shape: HeadShape, shapes: ReadonlyMap<string, readonly number[]>): number;
  /** Whether the dense head gives the same answers sooner on a backend: then nothing of this one is read. */
  isOutdone?(backend: Backend): boolean;
  /** @throws {RangeError} If a value in a tensor is out of range; the message names it. */
  open(tensors: HeadTensors, context: HeadContext): Head;
}

/** "output_vq.codes" → ["vq", "codes"]; null for other tensors. */
export function headTensorName(name: string): readonly [method: HeadMethod, name: string] | null {
  const [, method, rest] = /^output_([a-z]+)\.(.+)$/.exec(name) ?? [];
  const known = HEAD_METHODS.find((one) => one === method);
  return known === undefined ? null : [known, rest];
}
