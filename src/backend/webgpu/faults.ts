/**
 * faults: what goes wrong in the calls of one backend, told apart from what goes wrong in those of others on its device.
 *
 *     within(calls)     errors of the device's calls in there are this backend's, and nobody else's
 *     settled()         errors arrive later than what made them: waits for those of all calls so far
 *
 * A lost device, and errors that nobody caught, are everybody's: device.ts.
 */
import { expectWell, type GpuDevice, reasonOf } from "./device.ts";

/** What an allocation or a submission may end in; the innermost scope first. */
const KINDS: readonly GPUErrorFilter[] = ["internal", "validation", "out-of-memory"];

export class Faults {
  readonly #gpu: GpuDevice;
  #calls = 0;
  /** What went wrong first, which is what says something: what follows is made of it. */
  #first: { readonly call: number; readonly reason: string } | null = null;
  readonly #pending = new Set<Promise<void>>();
  /** Those of calls that take memory. */
  readonly #taking = new Set<Promise<void>>();

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
  }

  /** Why nothing that was computed since can be relied on; null: all is well, as far as is known. */
  get failure(): string | null {
    return this.#first?.reason ?? this.#gpu.failure;
  }

  /** @throws {UnsupportedError} If something is known to have gone wrong. */
  expectWell(): void {
    expectWell(this);
  }

  /** Makes calls to the device, none of which waits. */
  within<T>(calls: () => T): T {
    return this.#watch(calls, []);
  }

  /** As `within`, for a call that takes memory. */
  taking<T>(call: () => T): T {
    return this.#watch(call, [this.#taking]);
  }

  /** Waits until all errors of calls so far are known. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** Waits until it is known whether all memory is there that was asked for; hardly ever is there something to wait for. */
  async memorySettled(): Promise<void> {
    await Promise.all(this.#taking);
  }

  #watch<T>(calls: () => T, kept: readonly Set<Promise<void>>[]): T {
    const { device } = this.#gpu;
    const call = ++this.#calls;
    for (const kind of KINDS) device.pushErrorScope(kind);
    try {
      return calls();
    } finally {
      for (const _ of KINDS) this.#wait(call, device.popErrorScope(), [this.#pending, ...kept]);
    }
  }

  #wait(call: number, popped: Promise<GPUError | null>, kept: readonly Set<Promise<void>>[]): void {
    const known = popped.then(
      (error) => {
        if (error !== null) this.fail(reasonOf(error), call);
      },
      // A scope of a device that was lost, which says so itself.
      () => {},
    );
    for (const some of kept) some.add(known);
    known.then(() => {
      for (const some of kept) some.delete(known);
    });
  }

  /** Says that something went wrong. @param call When. Default: now. */
  fail(reason: string, call: number = this.#calls): void {
    if (this.#first === null || call < this.#first.call) this.#first = { call, reason };
  }
}
