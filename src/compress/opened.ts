/** opened: a model with its parts in reach: what `loadModel` makes tells neither states nor weights. */
import { type Backend, stride } from "../backend/backend.ts";
import { createWasmBackend } from "../backend/wasm/index.ts";
import { type KernelModules, memoryNeeds, planModel } from "../engine/load-model.ts";
import { UnsupportedError } from "../errors.ts";
import { type ByteInput, ByteReader } from "../format/bytes.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import { readGguf } from "../format/gguf.ts";
import { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { type LlamaWeights, loadWeights } from "../model/weights.ts";
import type { HeadRows } from "./method.ts";

export interface OpenedModel {
  readonly backend: Backend;
  readonly tokenizer: Tokenizer;
  readonly model: Llama;
  readonly weights: LlamaWeights;
  /** The dense head's. */
  readonly head: HeadRows;
}

/** Positions of a piece of text: states further on are of the same kind. */
export const WINDOW = 256;

/** Rows decoded at once. */
const SOME_ROWS = 256;

/** @throws What `loadModel` throws. @throws {UnsupportedError} If the model has no dense head. */
export async function openModel(
  input: ByteInput,
  modules: KernelModules,
  signal?: AbortSignal,
): Promise<OpenedModel> {
  const reader = ByteReader.from(input, { signal });
  try {
    const gguf = await readGguf(reader);
    const { config, plan, tokenizer } = planModel(gguf);
    const { formats, model: own } = plan.heads;
    if (formats.some(({ method, needsDense }) => method === own && !needsDense)) {
      throw new UnsupportedError(`Cannot compress the head: the model has no dense one, its own is "${own}"`);
    }
    const backend = createWasmBackend(modules.simd);
    const contextLength = Math.min(config.contextLength, WINDOW);
    const { weights: bytes, working } = memoryNeeds(backend, config, plan, contextLength);
    backend.reserve(bytes + working);
    const weights = await loadWeights(backend, reader, plan, config, new Fingerprint());
    const model = new Llama(backend, config, weights, contextLength);
    return { backend, tokenizer, model, weights, head: headRows(backend, weights) };
  } finally {
    await reader.close();
  }
}

function headRows(backend: Backend, { head }: LlamaWeights): HeadRows {
  const { rows: vocab, cols: hidden, type } = head;
  const memory = backend.floats(SOME_ROWS * stride(hidden));
  return {
    vocab,
    hidden,
    type,
    rows(first, count) {
      const all = new Float32Array(count * hidden);
      for (let at = 0; at < count; at += SOME_ROWS) {
        const some = Math.min(SOME_ROWS, count - at);
        const ids = Array.from({ length: some }, (_, i) => first + at + i);
        backend.embed(memory, head, ids);
        // D is a multiple of 4: rows stand one after the other.
        all.set((backend.read(memory) as Float32Array).subarray(0, some * hidden), at * hidden);
      }
      return all;
    },
  };
}
