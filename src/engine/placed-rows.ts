/**
 * placed-rows: rows that stay where a device made them, for those who go on with them there. A session of a device that was told
 * so reads none back; what becomes of its rows is the affair of who told it.
 */
import { stride } from "../backend/backend.ts";
import { PlacedRow } from "../backend/fuse-kernels.ts";
import type { WebGpuBackend } from "../backend/webgpu/index.ts";
import { expectInteger, UnsupportedError } from "../errors.ts";
import type { RowPlace } from "./session-rows.ts";
import type { Rows, Session, Source } from "./source.ts";

const devices = new WeakMap<Source, WebGpuBackend>();

/** Says on which device a source's rows are made, as long as it has not failed. */
export function setDevice(source: Source, device: WebGpuBackend): void {
  devices.set(source, device);
}

/** Undefined for sources that compute elsewhere. */
export function deviceOf(source: Source): WebGpuBackend | undefined {
  return devices.get(source);
}

/** Tells a session to leave its rows, from now on, on the device it is on, if it is on one. */
export function leaveRows(session: Session): void {
  // Sessions know this beside what everybody sees, if they are ever on a device.
  if ("leavesRows" in session) session.leavesRows = true;
}

/** Rows that were left: they can be had on the device, and nowhere else. */
class PlacedRows implements Rows {
  readonly count: number;
  readonly vocab: number;
  readonly #at: (index: number) => PlacedRow;

  constructor(count: number, vocab: number, at: (index: number) => PlacedRow) {
    this.count = count;
    this.vocab = vocab;
    this.#at = at;
  }

  placed(index: number): PlacedRow {
    return this.#at(index);
  }

  row(): never {
    throw new TypeError("Cannot look at rows here: they were left on their device");
  }

  argmax(): never {
    return this.row();
  }

  top(): never {
    return this.row();
  }

  logSumExp(): never {
    return this.row();
  }
}

/** @throws {UnsupportedError} If the device has failed: nothing that was computed since can be relied on. */
export async function placedRows({ backend, vocab, count, floats, expectCurrent }: RowPlace): Promise<Rows> {
  // A copy from memory that is not there would fail who copies.
  await (backend as WebGpuBackend).settleMemory();
  const { failure } = backend as WebGpuBackend;
  if (failure !== null) throw new UnsupportedError(`Cannot go on with WebGPU: ${failure}`);
  return new PlacedRows(count, vocab, (index) => {
    expectCurrent();
    expectInteger("index", index, 0, count - 1);
    return new PlacedRow(backend, backend.slice(floats(), index * stride(vocab), vocab));
  });
}

/** Where a row was left; undefined if it is here. */
export function placedRow(rows: Rows, index: number): PlacedRow | undefined {
  return rows instanceof PlacedRows ? rows.placed(index) : undefined;
}
