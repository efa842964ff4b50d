/** The model that whole-model speeds are compared on: a llama of 135 million random weights, as a file for every runtime. */
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Source } from "../src/engine/source.ts";
import { ggufChunks } from "../test/support/gguf-writer.ts";
import { LLAMA_135M, syntheticModel } from "../test/support/synthetic-model.ts";
import { divergence, logSoftmax } from "./oracle/divergence.ts";
import type { Peer } from "./peer.ts";

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

/**
 * Throws unless both give nearly the same rows for `tokens`: mean divergence at most 0.05 nats. Random weights amplify the
 * rounding of activations (llama.cpp is 0.059 away from the truth, edgewise 0.00001); anything wrong gives more than 0.5.
 */
export async function checkRows(source: Source, llama: Peer, tokens: readonly number[]): Promise<void> {
  const file = join(FOLDER, `rows-${process.pid}`);
  const { vocab } = await llama.request("logits", { tokens, file });
  const expected = new Float32Array(new Uint8Array(await readFile(file)).buffer);
  await rm(file);
  const session = source.open({ capacity: tokens.length });
  try {
    const rows = await session.forward(tokens, tokens.length);
    let sum = 0;
    for (let i = 0; i < tokens.length; i++) {
      const row = expected.subarray(i * vocab, (i + 1) * vocab);
      sum += divergence(logSoftmax(row), logSoftmax(rows.row(i)));
    }
    const mean = sum / tokens.length;
    if (!(mean <= 0.05)) throw new RangeError(`Rows must be within 0.05 nats of llama.cpp's, are ${mean}`);
  } finally {
    session.close();
  }
}
