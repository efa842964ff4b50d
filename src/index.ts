/**
 * Edgewise without a platform: nothing here knows where files or kernels are. The entries node.ts, web.ts and workerd.ts
 * add that, and are what `import ... from "edgewise"` finds.
 */
export { type Backend, stride } from "./backend/backend.ts";
export { createReferenceBackend } from "./backend/reference/index.ts";
export { createWasmBackend } from "./backend/wasm/index.ts";
export { compileGrammar, type Grammar, type GrammarSpec } from "./decoding/constrain/grammar.ts";
export { ChoiceConstraint, type Constraint } from "./decoding/constraint.ts";
export type { Draft, DraftLaw, RowSet } from "./decoding/draft.ts";
export type { Drafter } from "./decoding/drafter/drafter.ts";
export { createDrafter, type DrafterName } from "./decoding/drafter/registry.ts";
export {
  buildPlan,
  evaluatePlan,
  explainPlan,
  type FuseAudit,
  fusePreset,
  op,
  type Plan,
  readPlan,
} from "./decoding/fuse.ts";
export {
  createPipeline,
  type Pipeline,
  type PresetName,
  presetSteps,
  type Step,
} from "./decoding/pipeline.ts";
export { Aggregate, type ScoreName, score } from "./decoding/score.ts";
export { seededRandom } from "./decoding/verify/random.ts";
export type { Policy, VerifierName } from "./decoding/verify/registry.ts";
export type { Verdict, VerifyRequest } from "./decoding/verify/types.ts";
export { verify } from "./decoding/verify/verify.ts";
export { bridgeText } from "./engine/fuse/bridge.ts";
export { conceptRow, transitionGraph } from "./engine/fuse/concept.ts";
export { type FuseModelsOptions, fuseModels } from "./engine/fuse/model.ts";
export { type FuseOptions, fuse } from "./engine/fuse.ts";
export { type KernelModules, type LoadOptions, loadModel } from "./engine/load-model.ts";
export type {
  DraftMethod,
  FinishReason,
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
  SamplingOptions,
  SpeculationOptions,
  SpeculationSummary,
  Timings,
} from "./engine/model.ts";
export { connectModel, type RemoteModelOptions } from "./engine/remote/model.ts";
export type { Rows, Session, SessionOptions, Source } from "./engine/source.ts";
export { RemoteError, UnsupportedError } from "./errors.ts";
export { type ByteInput, ByteReader } from "./format/bytes.ts";
export { readGguf } from "./format/gguf.ts";
export {
  type Codebook,
  type DecodedRows,
  decodeRow,
  decodeRows,
  type EncodedRow,
  type EncodingSpec,
  encodeRow,
  encodeRows,
  ROWS_MEDIA_TYPE,
  type RowEncoding,
  trainCodebook,
} from "./format/wire/index.ts";
export type { ChatMessage } from "./model/chat-template.ts";
export type { HeadDraw } from "./model/head/head.ts";
export { type OpenHeadOptions, openHead } from "./model/head/open-head.ts";
export type { OpenedHead } from "./model/head/opened-head.ts";
export type { HeadMethod, HeadTensor } from "./model/head/stored-head.ts";
export type { Tokenizer } from "./model/tokenizer.ts";
