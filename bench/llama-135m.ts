/** The model that whole-model speeds are compared on: a llama of 135 million random weights, as a file for every runtime. */
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Model } from "../src/engine/model.ts";
import type { Source } from "../src/engine/source.ts";
import { loadModel } from "../src/node.ts";
import { ggufChunks } from "../test/support/gguf-writer.ts";
import { LLAMA_135M, syntheticModel } from "../test/support/synthetic-model.ts";
import { ifSupported } from "./builds.ts";
import { divergence, logSoftmax } from "./oracle/divergence.ts";
import { Oracle } from "./oracle/forward.ts";
import { parseGguf } from "./oracle/gguf.ts";
import type { Peer } from "./peer.ts";
import type { Missing } from "./report.ts";

export type WeightType = "Q8_0" | "Q4_0";

export const SHAPE = "30 layers, D 576, 9/3 heads, FFN 1536, V 50,304";

const FOLDER = join(tmpdir(), "edgewise-bench");

/** Path of the GGUF file; written the first time (some seconds, 146 or 79 MB) and kept in the temporary folder. */
export async function llama135m(type: WeightType): Promise<string> {
  const path = join(FOLDER, `llama-135m-${type.toLowerCase()}.gguf`);
  if (!existsSync(path)) {
    await mkdir(FOLDER, { recursive: true });
    const unfinished = `${path}.${process.pid}`;
    const chunks = ggufChunks(syntheticModel({ ...LLAMA_135M, type }));
    await pipeline(Readable.from(chunks, { objectMode: false }), createWriteStream(unfinished));
    await rename(unfinished, path);
  }
  return path;
}

/** Token ids all over the vocabulary, the same for every runtime. */
export function promptTokens(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i * 7919 + 17) % LLAMA_135M.vocab!);
}

/** Every build of the kernels that runs here; why another does not goes to `missing`. */
export async function loadBuilds(path: string, missing: Missing[]): Promise<Model[]> {
  const models: Model[] = [];
  for (const build of ["simd", "relaxed"] as const) {
    const model = await ifSupported(build, missing, () => loadModel(path, { build }));
    if (model !== null) models.push(model);
  }
  return models;
}

/** What a file's first few positions must give, in f64. Seconds of work, and 600 MB while it lasts. */
export class Truth {
  readonly #tokens = promptTokens(8);
  readonly #rows: Float64Array[];
  readonly #limit: number;

  private constructor(oracle: Oracle, limit: number) {
    this.#limit = limit;
    const rows = oracle.forward(this.#tokens);
    this.#rows = this.#tokens.map((_, i) =>
      logSoftmax(rows.subarray(i * oracle.vocab, (i + 1) * oracle.vocab)),
    );
  }

  static async of(path: string, type: WeightType): Promise<Truth> {
    return new Truth(
      new Oracle(parseGguf(new Uint8Array(await readFile(path)))),
      type === "Q4_0" ? 0.1 : 1e-4,
    );
  }

  /**
   * @throws {RangeError} If the source's rows are further away than its rounding of activations: 2e-6 nats for 14 bits (Q8_0),
   * 0.01 for 8 (Q4_0).
   */
  async check(source: Source): Promise<void> {
    const session = source.open({ capacity: this.#tokens.length });
    try {
      const rows = await session.forward(this.#tokens, this.#tokens.length);
      this.#expect("edgewise", (i) => rows.row(i), this.#limit);
    } finally {
      session.close();
    }
  }

  /**
   * @throws {RangeError} If the peer does not run the same model on the same tokens. Random weights amplify the
   * rounding of its 8-bit activations to 0.01; another file or other tokens give more than 1.
   */
  async checkPeer(peer: Peer): Promise<void> {
    const file = join(FOLDER, `rows-${process.pid}`);
    const { vocab } = await peer.request("logits", { tokens: this.#tokens, file });
    const values = new Float32Array(new Uint8Array(await readFile(file)).buffer);
    await rm(file);
    this.#expect(peer.about.peer, (i) => values.subarray(i * vocab, (i + 1) * vocab), 0.1);
  }

  /** KL(truth || rows) in nats, mean over positions. */
  #expect(name: string, row: (index: number) => Float32Array, limit: number): void {
    let sum = 0;
    for (const [i, expected] of this.#rows.entries()) sum += divergence(expected, logSoftmax(row(i)));
    const mean = sum / this.#rows.length;
    if (!(mean <= limit))
      throw new RangeError(`Rows of ${name} must be within ${limit} nats of the truth, are ${mean}`);
  }
}
