/**
 * recorder: calls in order, in as few submissions as can be.
 *
 *     dispatch, write, dispatch, …, read, read   →   one write of all parameters, one command buffer, one wait
 *
 * A decoding step is one command buffer: what is dispatched is recorded, and submitted when something is read; reads that
 * are asked for in one go, as those of several sessions, share it. Parameters of all calls stand in one buffer, 256 bytes
 * each, at a dynamic offset; so does what is written in between, and is copied from there when its turn has come.
 */
import { UnsupportedError } from "../../errors.ts";
import { expectWell, type GpuDevice } from "./device.ts";
import { bitsOf, fieldsOf, type KernelKind, PARAM_BYTES, PARAM_WORDS } from "./kernel.ts";
import type { Pipeline, Pipelines } from "./pipelines.ts";

/** Calls whose parameters fit the buffer: more than a step of a large model has. */
const MOST_CALLS = 2048;
/** Bytes written in the middle of a command buffer: masks of a few rows of a large vocabulary. */
const UPLOAD_BYTES = 1 << 17;

// GPUBufferUsage and GPUMapMode: names that not every host defines.
export const USAGE = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
} as const;
const MAP_READ = 1;

export type Params = Readonly<Record<string, number>>;

/** What has gone to a device, and come from it. */
export interface Traffic {
  readonly submissions: number;
  readonly readBytes: number;
}

/** What calls of kernels go to. */
export interface Target {
  readonly recorder: Recorder;
  readonly pipelines: Pipelines;
  /** The region of all floats, as it is then. */
  floats(): GPUBuffer;
}

export class Recorder {
  readonly #gpu: GpuDevice;
  readonly #pipelines: Pipelines;
  readonly #params: GPUBuffer;
  readonly #words = new Uint32Array(MOST_CALLS * PARAM_WORDS);
  #calls = 0;
  readonly #uploads: GPUBuffer;
  readonly #uploadBytes = new Uint8Array(UPLOAD_BYTES);
  #uploaded = 0;
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #groups = new WeakMap<GPUBuffer, WeakMap<GPUBuffer, GPUBindGroup>>();
  /** Buffers to read through that are free. */
  #staging: GPUBuffer[] = [];
  /** Reads that are recorded and wait for the rest of their command buffer. */
  #reads = 0;
  #submissions = 0;
  #readBytes = 0;
  #closed = false;

  constructor(gpu: GpuDevice, pipelines: Pipelines) {
    this.#gpu = gpu;
    this.#pipelines = pipelines;
    this.#params = this.createBuffer(MOST_CALLS * PARAM_BYTES, USAGE.uniform | USAGE.copyTarget);
    this.#uploads = this.createBuffer(UPLOAD_BYTES, USAGE.copySource | USAGE.copyTarget);
  }

  /** Command buffers submitted, and bytes read back, so far. */
  get traffic(): Traffic {
    return { submissions: this.#submissions, readBytes: this.#readBytes };
  }

  createBuffer(size: number, usage: number): GPUBuffer {
    return this.#gpu.device.createBuffer({ size, usage });
  }

  /**
   * Records a call.
   *
   * @param second What binding 2 is; absent for kernels of floats alone.
   * @param groups Workgroups in x, y, z.
   */
  dispatch(
    { kernel, pipeline }: Pipeline,
    buffers: { readonly floats: GPUBuffer; readonly second?: GPUBuffer },
    params: Params,
    groups: readonly [number, number?, number?],
    list?: ArrayLike<number>,
  ): void {
    if (this.#closed) throw new TypeError("Cannot compute: backend is closed");
    if (this.#calls === MOST_CALLS) this.submit();
    const at = this.#calls * PARAM_WORDS;
    fieldsOf(kernel).forEach(({ name, type }, i) => {
      this.#words[at + i] = type === "f32" ? bitsOf(params[name]) : params[name];
    });
    if (list !== undefined) this.#words.set(list, at + Math.ceil(kernel.params.length / 4) * 4);
    const pass = this.#openPass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, this.#group(kernel.kind, buffers.floats, buffers.second), [
      this.#calls * PARAM_BYTES,
    ]);
    pass.dispatchWorkgroups(groups[0], groups[1] ?? 1, groups[2] ?? 1);
    this.#calls++;
  }

  /** Records commands that are no dispatches. */
  encode(record: (encoder: GPUCommandEncoder) => void): void {
    this.#pass?.end();
    this.#pass = null;
    this.#encoder ??= this.#gpu.device.createCommandEncoder();
    record(this.#encoder);
  }

  /** Writes what later calls see; earlier ones do not. `offset` and the length are multiples of 4. */
  write(buffer: GPUBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    const { byteLength } = data;
    if (this.#encoder === null || this.#uploaded + byteLength > UPLOAD_BYTES) {
      this.submit();
      this.#gpu.device.queue.writeBuffer(buffer, offset, data);
      return;
    }
    const from = this.#uploaded;
    this.#uploadBytes.set(new Uint8Array(data.buffer, data.byteOffset, byteLength), from);
    this.#uploaded += byteLength;
    this.encode((encoder) => encoder.copyBufferToBuffer(this.#uploads, from, buffer, offset, byteLength));
  }

  submit(): void {
    this.#pass?.end();
    this.#pass = null;
    if (this.#encoder === null) return;
    const { queue } = this.#gpu.device;
    if (this.#calls > 0) queue.writeBuffer(this.#params, 0, this.#words, 0, this.#calls * PARAM_WORDS);
    if (this.#uploaded > 0) queue.writeBuffer(this.#uploads, 0, this.#uploadBytes, 0, this.#uploaded);
    queue.submit([this.#encoder.finish()]);
    this.#submissions++;
    this.#encoder = null;
    this.#calls = 0;
    this.#uploaded = 0;
  }

  /**
   * Bytes of a buffer as they are after all calls so far.
   *
   * @throws {UnsupportedError} If the device was lost, or a call was not possible.
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    expectWell(this.#gpu);
    const staging = this.#takeStaging(bytes);
    this.encode((encoder) => encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes));
    this.#readBytes += bytes;
    this.#reads++;
    await null;
    this.#reads--;
    this.submit();
    try {
      await staging.mapAsync(MAP_READ, 0, bytes);
    } catch (cause) {
      expectWell(this.#gpu);
      throw new UnsupportedError("Cannot go on with WebGPU: nothing can be read back", { cause });
    }
    const values = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    if (this.#closed) staging.destroy();
    else this.#staging.push(staging);
    // An error of the calls before arrives no later than what they made.
    expectWell(this.#gpu);
    return values;
  }

  /** Nothing that was recorded and not submitted is done, unless someone waits for it. */
  close(): void {
    if (this.#reads > 0) this.submit();
    this.#closed = true;
    this.#pass?.end();
    this.#pass = null;
    this.#encoder = null;
    for (const staging of this.#staging) staging.destroy();
    this.#staging = [];
    this.#params.destroy();
    this.#uploads.destroy();
  }

  #openPass(): GPUComputePassEncoder {
    if (this.#pass !== null) return this.#pass;
    this.#encoder ??= this.#gpu.device.createCommandEncoder();
    this.#pass = this.#encoder.beginComputePass();
    return this.#pass;
  }

  #group(kind: KernelKind, floats: GPUBuffer, second: GPUBuffer = floats): GPUBindGroup {
    let bySecond = this.#groups.get(floats);
    if (bySecond === undefined) {
      bySecond = new WeakMap();
      this.#groups.set(floats, bySecond);
    }
    let group = bySecond.get(second);
    if (group === undefined) {
      const buffers = second === floats ? [floats] : [floats, second];
      group = this.#gpu.device.createBindGroup({
        layout: this.#pipelines.groupLayouts[kind],
        entries: [
          { binding: 0, resource: { buffer: this.#params, size: PARAM_BYTES } },
          ...buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer } })),
        ],
      });
      bySecond.set(second, group);
    }
    return group;
  }

  /** The smallest that is large enough, or a new one. */
  #takeStaging(bytes: number): GPUBuffer {
    const fitting = this.#staging.filter(({ size }) => size >= bytes).sort((a, b) => a.size - b.size)[0];
    if (fitting !== undefined) {
      this.#staging.splice(this.#staging.indexOf(fitting), 1);
      return fitting;
    }
    // Those that are too small would pile up.
    for (const staging of this.#staging.splice(2)) staging.destroy();
    let size = 256;
    while (size < bytes) size *= 2;
    return this.createBuffer(size, USAGE.mapRead | USAGE.copyTarget);
  }
}
