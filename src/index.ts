/**
 * Edgewise without a platform: nothing here knows where files or kernels are. The entries node.ts, web.ts and workerd.ts
 * add that, and are what `import ... from "edgewise"` finds.
 */
export { type Backend, stride } from "./backend/backend.ts";
export { createReferenceBackend } from "./backend/reference/index.ts";
export { createWasmBackend } from "./backend/wasm/index.ts";
export { sampleToken } from "./decoding/pipeline.ts";
export { type KernelModules, type LoadOptions, loadModel } from "./engine/load-model.ts";
export type {
  DraftMethod,
  FinishReason,
  GenerateOptions,
  GenerateResult,
  Model,
  Piece,
  SamplingOptions,
  SpeculationSummary,
  Timings,
} from "./engine/model.ts";
export type { Rows, Session, Source } from "./engine/source.ts";
export { UnsupportedError } from "./errors.ts";
export { type ByteInput, ByteReader } from "./format/bytes.ts";
export { readGguf } from "./format/gguf.ts";
export type { ChatMessage } from "./model/chat-template.ts";
export type { Tokenizer } from "./model/tokenizer.ts";
