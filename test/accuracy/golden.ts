import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** What bench/peers/llama-cpp-golden.mjs wrote: llama.cpp's answers, and how far they are from the truth. */
export interface Golden {
  /** Of the model file, 16 hexadecimal digits. */
  readonly sha256: string;
  /** KL(truth || llama.cpp) in nats per token, over the tokens that ours is measured on. */
  readonly meanDivergence: number;
  readonly greedy: readonly Continuation[];
  /** After positions of the tokens that divergence is measured on; of the first window, if there are several. */
  readonly rows: readonly KeyRow[];
}

export interface Continuation {
  /** The text, where the prompt is one. */
  readonly prompt?: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  /** Steps whose two best tokens are closer than four times llama.cpp's error: they may come out either way. */
  readonly unsafe: readonly number[];
  /** Smallest distance of the two best log-probabilities at the safe steps. */
  readonly margin: number;
  /** Largest distance of llama.cpp's log-probability of either from the truth, at the safe steps. */
  readonly error: number;
}

export interface KeyRow {
  readonly position: number;
  /** The most likely tokens, most likely first. */
  readonly ids: readonly number[];
  readonly logProbabilities: readonly number[];
  /** The largest distance of one of them from the truth. */
  readonly error: number;
}

export interface GoldenFile {
  readonly from: string;
  /** Tokens of the story, for the models that it is read to. */
  readonly story: readonly number[];
  readonly models: Readonly<Record<string, Golden>>;
}

export function readGolden(name: "stories" | "synthetic"): GoldenFile {
  return JSON.parse(readFileSync(new URL(`../golden/llama-cpp-${name}.json`, import.meta.url), "utf8"));
}

/** The answers for a file. @throws {Error} If they are for another file. */
export function goldenOf(golden: GoldenFile, name: string, file: Uint8Array): Golden {
  const found = golden.models[name];
  const sha256 = createHash("sha256").update(file).digest("hex").slice(0, 16);
  if (found?.sha256 !== sha256) {
    throw new Error(
      `Golden of ${name} must be for ${sha256}, is for ${found?.sha256}: run bench/peers/llama-cpp-golden.mjs`,
    );
  }
  return found;
}
