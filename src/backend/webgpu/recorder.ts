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
import type { GpuDevice } from "./device.ts";
import { Faults } from "./faults.ts";
import { bitsOf, fieldsOf, type KernelKind, PARAM_BYTES, PARAM_WORDS } from "./kernel.ts";
import type { Pipeline, Pipelines } from "./pipelines.ts";
import { Staging } from "./staging.ts";

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
/** How long a host may take to say that a device was lost after it has failed to read from it. */
const LOST_MS = 100;

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
  /** What goes wrong in its calls. */
  readonly faults: Faults;
  readonly #gpu: GpuDevice;
  readonly #pipelines: Pipelines;
  /** All that were made and not destroyed, but for those that results are read through. */
  readonly #buffers = new Set<GPUBuffer>();
  /** Those that may have recorded copies from buffers of this one, and not submitted them. */
  readonly #borrowers = new Set<Recorder>();
  readonly #params: GPUBuffer;
  readonly #words = new Uint32Array(MOST_CALLS * PARAM_WORDS);
  #calls = 0;
  readonly #uploads: GPUBuffer;
  readonly #uploadBytes = new Uint8Array(UPLOAD_BYTES);
  #uploaded = 0;
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #groups = new WeakMap<GPUBuffer, WeakMap<GPUBuffer, GPUBindGroup>>();
  readonly #staging = new Staging((size) => this.#create(size, USAGE.mapRead | USAGE.copyTarget));
  /** Reads that are recorded and wait for the rest of their command buffer. */
  #reads = 0;
  #submissions = 0;
  #readBytes = 0;
  #closed = false;
  /** Nothing is done any more: see `abandon`. */
  #isAbandoned = false;

  constructor(gpu: GpuDevice, pipelines: Pipelines) {
    this.faults = new Faults(gpu);
    this.#gpu = gpu;
    this.#pipelines = pipelines;
    this.#params = this.createBuffer(MOST_CALLS * PARAM_BYTES, USAGE.uniform | USAGE.copyTarget);
    this.#uploads = this.createBuffer(UPLOAD_BYTES, USAGE.copySource | USAGE.copyTarget);
  }

  /** Command buffers submitted, and bytes read back, so far. */
  get traffic(): Traffic {
    return { submissions: this.#submissions, readBytes: this.#readBytes };
  }

  /**
   * Memory that the device turns out not to have is an error that arrives later.
   *
   * @throws {UnsupportedError} If everything was given back after a failure.
   */
  createBuffer(size: number, usage: number): GPUBuffer {
    const buffer = this.#create(size, usage);
    this.#buffers.add(buffer);
    return buffer;
  }

  /** Gives a buffer back, once all that was recorded has read it. */
  destroy(...buffers: readonly GPUBuffer[]): void {
    this.submit();
    for (const borrower of this.#borrowers) borrower.submit();
    this.#borrowers.clear();
    for (const buffer of buffers) {
      buffer.destroy();
      this.#buffers.delete(buffer);
    }
  }

  /** Says that `borrower` records copies from buffers of this one: what makes them is submitted before. */
  lend(borrower: Recorder): void {
    this.submit();
    this.#borrowers.add(borrower);
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
    if (this.#isAbandoned) return;
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
    if (this.#isAbandoned) return;
    this.#pass?.end();
    this.#pass = null;
    this.#encoder ??= this.#gpu.device.createCommandEncoder();
    record(this.#encoder);
  }

  /** Writes what later calls see; earlier ones do not. `offset` and the length are multiples of 4. */
  write(buffer: GPUBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    const { byteLength } = data;
    if (this.#isAbandoned) return;
    if (this.#encoder === null || this.#uploaded + byteLength > UPLOAD_BYTES) {
      this.submit();
      this.faults.within(() => this.#gpu.device.queue.writeBuffer(buffer, offset, data));
      return;
    }
    const from = this.#uploaded;
    this.#uploadBytes.set(new Uint8Array(data.buffer, data.byteOffset, byteLength), from);
    this.#uploaded += byteLength;
    this.encode((encoder) => encoder.copyBufferToBuffer(this.#uploads, from, buffer, offset, byteLength));
  }

  submit(): void {
    if (this.#encoder !== null) this.faults.within(() => this.#submit());
  }

  #submit(): void {
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
   * @throws {UnsupportedError} If the device was lost, or a call before was not possible.
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.faults.expectWell();
    const staging = this.#staging.take(bytes);
    this.encode((encoder) => encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes));
    this.#readBytes += bytes;
    this.#reads++;
    await null;
    this.#reads--;
    try {
      await this.faults.within(() => {
        this.#submit();
        return staging.mapAsync(MAP_READ, 0, bytes);
      });
    } catch (cause) {
      await this.faults.settled();
      if (this.faults.failure === null) await this.#lost();
      if (this.faults.failure === null) {
        const why = cause instanceof Error ? cause.message : String(cause);
        this.faults.fail(`nothing can be read back (${why})`);
      }
      throw new UnsupportedError(`Cannot go on with WebGPU: ${this.faults.failure}`, { cause });
    }
    const values = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    this.#staging.give(staging);
    // Errors of the calls before may arrive later than what they made.
    await this.faults.settled();
    this.faults.expectWell();
    return values;
  }

  /** Destroys all buffers. Nothing that was recorded and not submitted is done, unless someone waits for it. */
  close(): void {
    if (this.#reads > 0) this.submit();
    this.#closed = true;
    this.#giveBack();
  }

  /**
   * After a failure: gives all memory back, as whoever goes on elsewhere may need it. Whoever does not know yet is not disturbed:
   * what is recorded is not done, and reads are refused.
   */
  abandon(): void {
    this.faults.fail("given up");
    this.#isAbandoned = true;
    this.#giveBack();
  }

  #create(size: number, usage: number): GPUBuffer {
    if (this.#isAbandoned) this.faults.expectWell();
    return this.faults.taking(() => this.#gpu.device.createBuffer({ size, usage }));
  }

  #giveBack(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#encoder = null;
    this.#staging.close();
    this.destroy(...this.#buffers);
  }

  /** Waits for word that the device was lost: some hosts tell what cannot be read because of it before. */
  async #lost(): Promise<void> {
    await Promise.race([this.#gpu.device.lost, new Promise((resolve) => setTimeout(resolve, LOST_MS))]);
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
      const entries = [
        { binding: 0, resource: { buffer: this.#params, size: PARAM_BYTES } },
        ...buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer } })),
      ];
      const layout = this.#pipelines.groupLayouts[kind];
      group = this.faults.within(() => this.#gpu.device.createBindGroup({ layout, entries }));
      bySecond.set(second, group);
    }
    return group;
  }
}
