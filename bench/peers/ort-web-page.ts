/** In a page: the output head on ONNX Runtime Web's WebGPU provider and on ours, over the same weights. See `ort-web.mjs`. */
import { createWebGpuBackend, openDevice, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { createRandom } from "../../test/support/random.ts";
import { expectedRows, weightRows } from "../head-weights.ts";
import { productModel } from "./onnx.ts";

type Side = "edgewise" | "ort-web";
type Type = "Q8_0" | "Q4_0";

/** Runs a call, and waits for all so far; row r of column c is at c · stride + r of what `read` gives. */
interface Head {
  run(): Promise<void>;
  settle(): Promise<void>;
  read(): Promise<Float32Array>;
  readonly stride: number;
  close(): Promise<void>;
}

/** What of ONNX Runtime's own types is used here; the package is there only where it is installed. */
interface Ort {
  readonly env: {
    readonly versions: { readonly web?: string };
    readonly wasm: { numThreads?: number; wasmPaths?: string };
    readonly webgpu: { device: Promise<GPUDevice> | undefined };
  };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
}
interface OrtTensor {
  getData(): Promise<Float32Array>;
  dispose(): void;
}
interface OrtSession {
  run(inputs: Readonly<Record<string, OrtTensor>>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

/** Columns that are tried, for which inputs are held. */
const MOST_COLUMNS = 8;

export class Heads {
  readonly #shape: { vocab: number; hidden: number };
  readonly #ort: Ort;
  readonly #backend: WebGpuBackend;
  readonly #x: Float32Array;
  readonly about: Readonly<Record<string, unknown>>;
  /** Those of a type and a number of columns. More at a time may be more than a small card has. */
  readonly #open = new Map<Side, Head>();
  #kind = "";

  static async create(shape: { vocab: number; hidden: number }, ortUrl: string): Promise<Heads> {
    const ort: Ort = await import(ortUrl);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL(".", new URL(ortUrl, location.href)).href;
    const gpu = await openDevice(navigator.gpu);
    return new Heads(shape, ort, createWebGpuBackend(gpu), {
      peer: "ONNX Runtime Web",
      version: ort.env.versions.web ?? "unknown",
      adapter: gpu.name,
      variant: gpu.variant,
    });
  }

  private constructor(
    shape: { vocab: number; hidden: number },
    ort: Ort,
    backend: WebGpuBackend,
    about: Readonly<Record<string, unknown>>,
  ) {
    this.#shape = shape;
    this.#ort = ort;
    this.#backend = backend;
    this.about = about;
    const { normal } = createRandom(3);
    this.#x = Float32Array.from({ length: MOST_COLUMNS * shape.hidden }, normal);
  }

  /** Seconds of so many calls, one after the other. @throws {Error} If the results are wrong. */
  async time(side: Side, type: Type, columns: number, calls: number): Promise<number> {
    const head = await this.#head(side, type, columns);
    await head.settle();
    const began = performance.now();
    for (let call = 0; call < calls; call++) await head.run();
    await head.settle();
    return (performance.now() - began) / 1000;
  }

  async #head(side: Side, type: Type, columns: number): Promise<Head> {
    const kind = `${type}, ${columns} columns`;
    if (this.#kind !== kind) {
      for (const head of this.#open.values()) await head.close();
      this.#open.clear();
      this.#kind = kind;
    }
    let head = this.#open.get(side);
    if (head === undefined) {
      head = await (side === "edgewise" ? this.#ours(type, columns) : this.#theirs(type, columns));
      await this.#check(head, side, type, columns);
      this.#open.set(side, head);
    }
    return head;
  }

  async #check(head: Head, side: Side, type: Type, columns: number): Promise<void> {
    const { vocab, hidden } = this.#shape;
    await head.run();
    const found = await head.read();
    const x = this.#x.subarray(0, columns * hidden);
    // Their inputs are rounded to 8 bits for all types.
    const rounding = type === "Q8_0" && side === "ort-web" ? 40 : 1;
    for (const { row, values, tolerance } of expectedRows(type, vocab, hidden, x)) {
      for (const [column, value] of values.entries()) {
        const got = found[column * head.stride + row];
        if (!(Math.abs(got - value) <= rounding * tolerance)) {
          throw new Error(`${side}, ${type}: row ${row} of column ${column} must be ${value}, got ${got}`);
        }
      }
    }
  }

  async #ours(type: Type, columns: number): Promise<Head> {
    const { vocab, hidden } = this.#shape;
    const backend = this.#backend;
    const writer = backend.matrix(type, vocab, hidden);
    for (let row = 0; row < vocab; row += 1024) {
      writer.write(weightRows(type, row, Math.min(1024, vocab - row), hidden));
    }
    const weights = writer.finish();
    const [x, out] = [backend.floats(columns * hidden), backend.floats(columns * vocab)];
    backend.write(x, this.#x.subarray(0, columns * hidden));
    return {
      stride: vocab,
      run: async () => backend.matmul(x, columns, [{ weights, out }]),
      settle: () => backend.settle(),
      read: async () => (await backend.read(out)).slice(),
      close: async () => {
        for (const each of [weights, x, out]) backend.free(each);
        await backend.settle();
      },
    };
  }

  async #theirs(type: Type, columns: number): Promise<Head> {
    const { vocab, hidden } = this.#shape;
    const model = productModel(type, vocab, hidden, weightRows(type, 0, vocab, hidden));
    const session = await this.#ort.InferenceSession.create(new Uint8Array(await model.arrayBuffer()), {
      executionProviders: ["webgpu"],
      preferredOutputLocation: "gpu-buffer",
      // Were the operator not there, the CPU would be measured.
      extra: { session: { disable_cpu_ep_fallback: "1" } },
    });
    const x = new this.#ort.Tensor("float32", this.#x.slice(0, columns * hidden), [columns, hidden]);
    const device = await this.#ort.env.webgpu.device;
    if (device === undefined)
      throw new Error("ONNX Runtime Web does not tell its device: no call of it can be timed");
    const run = async () => (await session.run({ x })).out;
    return {
      stride: vocab,
      run: async () => (await run()).dispose(),
      settle: () => device.queue.onSubmittedWorkDone() as Promise<undefined>,
      read: async () => {
        const out = await run();
        const values = (await out.getData()).slice();
        out.dispose();
        return values;
      },
      close: () => session.release(),
    };
  }
}
