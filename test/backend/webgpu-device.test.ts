/** Devices that cannot be had, and those that have no more than every WebGPU device has. No device is needed. */
import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { GpuDevice } from "../../src/backend/webgpu/device.ts";
import { type GpuProvider, openDevice } from "../../src/backend/webgpu/index.ts";
import { type Kernel, PARAM_BYTES, shaderOf } from "../../src/backend/webgpu/kernel.ts";
import { Pipelines } from "../../src/backend/webgpu/pipelines.ts";
import { rescoreKernel } from "../../src/backend/webgpu/wgsl/product.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { WEIGHT_TYPES } from "../../src/format/blocks.ts";

describe("openDevice", () => {
  const info = { vendor: "some", architecture: "", description: "", subgroupMinSize: 4, subgroupMaxSize: 4 };
  const provider = (limits: Record<string, number>, requestDevice?: () => Promise<never>) => {
    const asked: GPUDeviceDescriptor[] = [];
    const lost = new Promise(() => {});
    const device = { limits, features: new Set(), lost, addEventListener: () => {} };
    const give = async (descriptor: GPUDeviceDescriptor) => {
      asked.push(descriptor);
      return device;
    };
    const adapter = { info, limits, features: new Set(), requestDevice: requestDevice ?? give };
    const gpu = { requestAdapter: async () => adapter } as unknown as GpuProvider;
    return { gpu, asked };
  };
  const refused = async (gpu: GpuProvider | undefined, message: string) => {
    const error = await openDevice(gpu).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toBe(message);
  };

  it("says what is not to be had", async () => {
    await refused(undefined, "Cannot use WebGPU: this host has none");
    await refused({ requestAdapter: async () => null }, "Cannot use WebGPU: there is no adapter");
    const fail = async (): Promise<never> => {
      throw new DOMException("no", "OperationError");
    };
    await refused({ requestAdapter: fail }, "Cannot use WebGPU: the host gives no adapter");
    await refused(provider({}, fail).gpu, "Cannot use WebGPU: the adapter gives no device");
  });

  it.each([
    ["nvidia", "packed"],
    // The number of the same maker, as hosts on wgpu tell it.
    ["4318", "packed"],
    ["apple", "f16"],
    ["5045", "f16"],
    ["some", "plain"],
  ])("makes products as the maker's hardware does: %s, %s", async (vendor, expected) => {
    const features = new Set(["shader-f16"]);
    const device = { limits: {}, features, lost: new Promise(() => {}), addEventListener: () => {} };
    const adapter = { info: { ...info, vendor }, limits: {}, features, requestDevice: async () => device };
    const wgslLanguageFeatures = new Set(["packed_4x8_integer_dot_product"]);
    const gpu = { requestAdapter: async () => adapter, wgslLanguageFeatures } as unknown as GpuProvider;
    expect((await openDevice(gpu)).products).toBe(expected);
  });

  it.each([
    [2 ** 28, 2 ** 27, 2 ** 27],
    [2 ** 26, 2 ** 27, 2 ** 26],
    [2 ** 40, 2 ** 40, 2 ** 33],
  ])("binds what fits: buffers of %i, bindings of %i", async (maxBufferSize, most, expected) => {
    const limits = { maxBufferSize, maxStorageBufferBindingSize: most };
    const { gpu, asked } = provider(limits);
    expect((await openDevice(gpu)).maxBindingBytes).toBe(expected);
    // Nothing else is asked for, so the kernels have what every device has.
    expect(asked.map(({ requiredLimits }) => requiredLimits)).toEqual([limits]);
  });
});

describe("kernels", async () => {
  // WebGPU's default limits: what every adapter has.
  const WORKGROUP_BYTES = 16_384;
  const INVOCATIONS = 256;

  it.each(await allKernels())("need no more than every device has: %s", (_, code) => {
    const sizes = /@workgroup_size\(([^)]*)\)/
      .exec(code)![1]
      .split(",")
      .map((size) => numberIn(code, size));
    expect(sizes.reduce((x, y) => x * y)).toBeLessThanOrEqual(INVOCATIONS);
    expect(workgroupBytes(code)).toBeLessThanOrEqual(WORKGROUP_BYTES);
    expect(paramBytes(code)).toBeLessThanOrEqual(PARAM_BYTES);
  });

  it("are measured right", () => {
    const code = `
      const N = 3u;
      struct Pair { a: vec3<f32>, b: u32, }
      var<workgroup> one: atomic<u32>;
      var<workgroup> some: array<vec3<f32>, N>;
      var<workgroup> pairs: array<array<Pair, 2>, 5 * 2>;
      var<workgroup> halves: array<vec4<f16>, 3>;`;
    expect(workgroupBytes(code)).toBe(16 + 48 + 320 + 32);
  });
});

/** The text of all that any model or plan can need, on devices of every kind. */
async function allKernels(): Promise<[name: string, code: string][]> {
  const kernels = new Map<string, string>();
  const add = (kernel: Kernel) => kernels.set(kernel.name, shaderOf(kernel));
  const variants = [null, 4, 32, 64].flatMap((subgroupSize) =>
    (["plain", "packed", "f16"] as const).map((products) => ({ subgroupSize, products })),
  );
  for (const variant of variants) {
    const { subgroupSize, products } = variant;
    const suffix = `, ${products}${subgroupSize === null ? "" : `, subgroups of ${subgroupSize}`}`;
    for (const { label, code } of await preparedOn(variant)) kernels.set(`${label}${suffix}`, code);
  }
  for (const type of WEIGHT_TYPES) add(rescoreKernel(type));
  const folder = new URL("../../src/backend/webgpu/wgsl/", import.meta.url);
  for (const file of await readdir(folder)) {
    for (const value of Object.values(await import(new URL(file, folder).href))) {
      if (isKernel(value)) add(value);
    }
  }
  return [...kernels];
}

function isKernel(value: unknown): value is Kernel {
  return typeof value === "object" && value !== null && "code" in value && "params" in value;
}

/** What is compiled at load, where that is done by nobody. */
async function preparedOn(
  variant: Pick<GpuDevice, "subgroupSize" | "products">,
): Promise<readonly GPUShaderModuleDescriptor[]> {
  const modules: GPUShaderModuleDescriptor[] = [];
  const none = async () => null;
  const make = () => ({});
  const device = {
    pushErrorScope: () => {},
    popErrorScope: none,
    createBindGroupLayout: make,
    createPipelineLayout: make,
    createShaderModule: (module: GPUShaderModuleDescriptor) => modules.push(module),
    createComputePipelineAsync: none,
  };
  const pipelines = new Pipelines({ ...variant, device } as unknown as GpuDevice);
  await pipelines.prepare(WEIGHT_TYPES);
  return modules;
}

function paramBytes(code: string): number {
  const members = /struct Params \{(.*?)\n?\}/s.exec(code)![1];
  const words = [...members.matchAll(/\w+: [uf]32,/g)].length;
  const list = /list: array<vec4<u32>, (\d+)>/.exec(members);
  return roundUp(4 * words, 16) + 16 * Number(list?.[1] ?? 0);
}

/** Σ of the variables that a workgroup shares, each in units of 16 bytes, as the specification counts. */
function workgroupBytes(code: string): number {
  let bytes = 0;
  for (const [, type] of code.matchAll(/var<workgroup>\s*\w+\s*:\s*([^;]+);/g)) {
    bytes += roundUp(layoutOf(code, type).size, 16);
  }
  return bytes;
}

const SCALARS: Readonly<Record<string, number>> = { f32: 4, u32: 4, i32: 4, f16: 2 };

function layoutOf(code: string, type: string): { size: number; align: number } {
  const [, name, inner] = /^\s*(\w+)\s*(?:<(.*)>)?\s*$/s.exec(type)!;
  if (SCALARS[name] !== undefined) return { size: SCALARS[name], align: SCALARS[name] };
  if (name === "atomic") return layoutOf(code, inner);
  if (name.startsWith("vec")) {
    const count = Number(name.slice(3));
    const { size } = layoutOf(code, inner);
    return { size: count * size, align: (count === 2 ? 2 : 4) * size };
  }
  if (name === "array") {
    const comma = inner.lastIndexOf(",");
    const { size, align } = layoutOf(code, inner.slice(0, comma));
    return { size: roundUp(size, align) * numberIn(code, inner.slice(comma + 1)), align };
  }
  const members = new RegExp(`struct ${name}\\s*\\{([^}]*)\\}`).exec(code);
  if (members === null) throw new Error(`no size is known of "${type}"`);
  let [end, most] = [0, 1];
  for (const [, member] of members[1].matchAll(/\w+\s*:\s*(\w+(?:<[^;}]*?>)?)\s*(?:,|$)/g)) {
    const { size, align } = layoutOf(code, member);
    end = roundUp(end, align) + size;
    most = Math.max(most, align);
  }
  return { size: roundUp(end, most), align: most };
}

/** Of digits, names of constants, and products of them. */
function numberIn(code: string, text: string): number {
  return text
    .split("*")
    .map((factor) => {
      const literal = /^\s*(\d+)u?\s*$/.exec(factor);
      if (literal !== null) return Number(literal[1]);
      const found = new RegExp(`const ${factor.trim()}\\s*(?::\\s*\\w+)?\\s*=\\s*([^;]+);`).exec(code);
      if (found === null) throw new Error(`no value is known of "${factor}"`);
      return numberIn(code, found[1]);
    })
    .reduce((product, factor) => product * factor, 1);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
