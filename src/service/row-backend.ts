/** Where rows that come with requests are computed: kernels in a memory of their own, or plain TypeScript. */
import { type Backend, stride } from "../backend/backend.ts";
import { createReferenceBackend } from "../backend/reference/index.ts";
import { createWasmBackend } from "../backend/wasm/index.ts";
import type { SamplingKernels } from "../decoding/pipeline.ts";
import type { KernelModules } from "../engine/load-model.ts";

/** Rows of one request, and those made of them. */
const MAX_BYTES = 64 * 2 ** 20;

/** A memory never shrinks: one that held more than this is given up with the request. */
const KEPT_BYTES = 8 * 2 ** 20;

export class RowBackend {
  readonly #modules: KernelModules | undefined;
  #backend: Backend | undefined;

  /** @param modules Which build does not matter: both give the same bits. Absent: rows are f64, and other bits. */
  constructor(modules: KernelModules | undefined) {
    this.#modules = modules;
  }

  /** What `work` returns; it must give back what it takes, and not wait for anything. */
  use<T>(work: (backend: Backend) => T): T {
    const backend = this.#open();
    try {
      return work(backend);
    } finally {
      if (backend.usedBytes > KEPT_BYTES) this.#backend = undefined;
    }
  }

  #open(): Backend {
    this.#backend ??= this.#modules
      ? createWasmBackend(this.#modules.simd, { build: "simd", maxBytes: MAX_BYTES })
      : createReferenceBackend({ maxBytes: MAX_BYTES });
    return this.#backend;
  }
}

/** What `work` returns of kernels over a row. */
export function withKernels<T>(
  backend: Backend,
  row: Float32Array | Float64Array,
  work: (kernels: SamplingKernels | undefined) => T,
): T {
  // A row in f64 is not what kernels would see.
  if (!(row instanceof Float32Array)) return work(undefined);
  const { length } = row;
  const floats = backend.floats(stride(length));
  try {
    backend.write(floats, row);
    const best = (count: number) => backend.top(floats, length, count) as ReturnType<SamplingKernels["best"]>;
    return work({ best, law: backend.lawKernels(floats, length) });
  } finally {
    backend.free(floats);
  }
}
