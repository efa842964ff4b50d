import type { Backend } from "../../backend/backend.ts";
import type { WebGpuBackend } from "../../backend/webgpu/index.ts";
import type { StepSettings } from "./call.ts";
import type { FusedInput } from "./inputs.ts";

/** What all sessions of one fused source have in common. */
export interface Fusion extends Pick<StepSettings, "program" | "kernels" | "given"> {
  /** Where rows are fused, on the first that has not failed: the sources' backends, on one device. None: here. */
  readonly devices: readonly WebGpuBackend[];
  /** Kernels of the devices are compiled; rejected if one was not. */
  readonly ready: Promise<void>;
  readonly inputs: readonly FusedInput[];
  /** Where rows are held. */
  readonly backend: Backend;
  readonly vocab: number;
  readonly contextLength: number;
}

/** Where rows are fused now; null: in this process. */
export function deviceNow({ devices }: Fusion): WebGpuBackend | null {
  return devices.find(({ failure }) => failure === null) ?? null;
}

/** Each time one fails, rows are fused elsewhere. */
export function failedOf({ devices }: Fusion): number {
  return devices.filter(({ failure }) => failure !== null).length;
}
