/**
 * kernel: a compute shader as data, and the text that makes it one.
 *
 *     binding 0   parameters, one 32-bit word each, by name: `p.count`
 *     binding 1   the region of all floats: `floats`, to read and to write
 *     binding 2   of matmul and embed a matrix, to read: `weights`; of attention the region of all keys and values: `kv`
 *
 * Whole regions are bound and places in them are parameters: what lies in one buffer cannot be bound twice, once to read
 * and once to write, and so a handful of bind groups serves everything.
 */
import { COMMON } from "./wgsl/common.ts";

/** What binding 2 is. */
export type KernelKind = "floats" | "weights" | "kv";

export interface Kernel {
  readonly name: string;
  readonly kind: KernelKind;
  /** Element type of `floats`. Bits that need not be numbers travel as u32. */
  readonly floats: "f32" | "u32" | "vec4<f32>" | "vec4<u32>";
  /** Element type of binding 2. */
  readonly second?: "u32" | "vec4<u32>";
  /** Names of the parameters, in order; those that end in ":f32" are floats, the others u32. At most 64 words. */
  readonly params: readonly string[];
  /** Behind the parameters: words in fours, `p.list`. */
  readonly list?: number;
  /** Features of the device: `enable`. */
  readonly features?: readonly string[];
  /** Features of the language: `requires`. */
  readonly requires?: readonly string[];
  readonly code: string;
}

/** A parameter of a kernel. */
export interface Field {
  readonly name: string;
  readonly type: string;
}

const fields = new WeakMap<Kernel, readonly Field[]>();

/** The parameters in order; read once per kernel, as calls are many. */
export function fieldsOf(kernel: Kernel): readonly Field[] {
  let read = fields.get(kernel);
  if (read === undefined) {
    read = kernel.params.map((field) => {
      const [name, type = "u32"] = field.split(":");
      return { name, type };
    });
    fields.set(kernel, read);
  }
  return read;
}

/** Bytes of the parameters of one call: what dynamic offsets are multiples of. */
export const PARAM_BYTES = 256;
export const PARAM_WORDS = PARAM_BYTES / 4;

export function shaderOf(kernel: Kernel): string {
  const { kind, floats, second = "u32", list, features = [], requires = [], code } = kernel;
  const members = fieldsOf(kernel).map(({ name, type }) => `${name}: ${type},`);
  if (list !== undefined) members.push(`@align(16) list: array<vec4<u32>, ${list}>,`);
  const access = kind === "weights" ? "read" : "read_write";
  return [
    ...features.map((feature) => `enable ${feature};`),
    ...requires.map((feature) => `requires ${feature};`),
    `struct Params { ${members.join(" ")} }`,
    "@group(0) @binding(0) var<uniform> p: Params;",
    `@group(0) @binding(1) var<storage, read_write> floats: array<${floats}>;`,
    ...(kind === "floats"
      ? []
      : [`@group(0) @binding(2) var<storage, ${access}> ${kind}: array<${second}>;`]),
    COMMON,
    code,
  ].join("\n");
}

const word = new DataView(new ArrayBuffer(4));

/** Bits of a number as f32. */
export function bitsOf(x: number): number {
  word.setFloat32(0, x);
  return word.getUint32(0);
}

/** Workgroups in two dimensions, as one takes at most 65,535; kernels skip what is beyond the end. */
export function spread(groups: number): [x: number, y: number] {
  if (groups <= 65_535) return [groups, 1];
  const y = Math.ceil(groups / 65_535);
  return [Math.ceil(groups / y), y];
}
