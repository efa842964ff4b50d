/**
 * `edgewise inspect`: what a GGUF holds, whether it can run, and in how much memory. Reads the header alone, so it
 * answers at once for files of any size and for those that cannot run.
 */
import type { Backend } from "../backend/backend.ts";
import { createWasmBackend } from "../backend/wasm/index.ts";
import { contextOf, memoryNeeds, planModel } from "../engine/load-model.ts";
import { sessionBytes } from "../engine/session.ts";
import { grouped } from "../errors.ts";
import { isWeightType } from "../format/blocks.ts";
import { ByteReader } from "../format/bytes.ts";
import { type Gguf, readGguf, type TensorInfo } from "../format/gguf.ts";
import { headTensorName } from "../model/head/stored-head.ts";
import { kernelModules, openFile } from "../node.ts";
import type { Terminal } from "./generate.ts";
import type { Memory, Report, TypeTotal } from "./inspect-report.ts";
import { reportText } from "./inspect-text.ts";

export interface InspectArguments {
  /** Path or URL. */
  model: string;
  json: boolean;
  /** Positions to count the memory for. Default: what `generate` would hold. */
  contextLength?: number;
}

/** @throws {RangeError | TypeError | UnsupportedError} If the file is no GGUF, broken, or of an unknown version. */
export async function inspect(options: InspectArguments, terminal: Terminal): Promise<void> {
  const report = await inspectModel(options, terminal.signal);
  terminal.out(options.json ? `${JSON.stringify(report)}\n` : reportText(report));
}

export async function inspectModel(
  { model, contextLength }: Omit<InspectArguments, "json">,
  signal?: AbortSignal,
): Promise<Report> {
  const response = /^https?:\/\//.test(model) ? await fetch(model, { signal }) : await openFile(model);
  const reader = ByteReader.from(response, { signal });
  try {
    const gguf = await readGguf(reader);
    return {
      file: model,
      bytes: reader.total ?? null,
      ...facts(gguf),
      ...(await verdict(gguf, contextLength)),
    };
  } finally {
    await reader.close();
  }
}

function facts({
  version,
  metadata,
  tensors,
}: Gguf): Omit<Report, "file" | "bytes" | "reason" | "runs" | "memory"> {
  const text = (key: string) => {
    const value = metadata.get(key);
    return typeof value === "string" ? value : null;
  };
  const architecture = text("general.architecture");
  const number = (key: string) => {
    const value = metadata.get(`${architecture}.${key}`);
    return typeof value === "number" ? value : null;
  };
  const tokens = metadata.get("tokenizer.ggml.tokens");
  return {
    gguf_version: version,
    name: text("general.name"),
    architecture,
    shape: Object.fromEntries(
      SHAPE_KEYS.flatMap(([name, key]) => {
        const value = number(key);
        return value === null ? [] : [[name, value]];
      }),
    ),
    parameters: tensors.reduce((total, tensor) => total + parametersOf(tensor), 0),
    context_length: number("context_length"),
    tokenizer: Array.isArray(tokens)
      ? { model: text("tokenizer.ggml.model"), pre: text("tokenizer.ggml.pre"), vocab: tokens.length }
      : null,
    chat_template: text("tokenizer.chat_template") !== null,
    tensors: tensors.map(({ name, type, shape, bytes }) => ({ name, type, shape, bytes })),
    types: typeTotals(tensors),
  };
}

const SHAPE_KEYS = [
  ["layers", "block_count"],
  ["width", "embedding_length"],
  ["feed_forward", "feed_forward_length"],
  ["heads", "attention.head_count"],
  ["kv_heads", "attention.head_count_kv"],
  ["experts", "expert_count"],
] as const;

function parametersOf({ shape }: Pick<TensorInfo, "shape">): number {
  return shape.reduce((product, size) => product * size, 1);
}

function typeTotals(tensors: readonly TensorInfo[]): Record<string, TypeTotal> {
  const totals: Record<string, TypeTotal> = {};
  for (const tensor of tensors) {
    const { type, bytes } = tensor;
    const supported = isWeightType(type) || headTensorName(tensor.name) !== null;
    totals[type] ??= { tensors: 0, parameters: 0, bytes: 0, supported };
    totals[type].tensors += 1;
    totals[type].parameters += parametersOf(tensor);
    totals[type].bytes += bytes;
  }
  return totals;
}

/**
 * The checks that `loadModel` makes before it reads weights, and the memory it would then ask for.
 *
 * @throws {RangeError} If `asked` is more than the model's context.
 */
async function verdict(
  gguf: Gguf,
  asked: number | undefined,
): Promise<Pick<Report, "reason" | "runs" | "memory">> {
  let planned: ReturnType<typeof planModel>;
  try {
    planned = planModel(gguf);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { runs: false, reason: error.message, memory: null };
  }
  // Only asked for sizes, which are those of both builds.
  const backend = createWasmBackend((await kernelModules()).simd);
  const memory = memoryOf(backend, planned, contextOf(planned.config, asked));
  const reason =
    memory.total <= backend.maxBytes
      ? null
      : `Cannot load model: ${grouped(memory.total)} bytes are needed, ${grouped(backend.maxBytes)} can be addressed`;
  return { runs: reason === null, reason, memory };
}

function memoryOf(
  backend: Backend,
  { config, plan }: ReturnType<typeof planModel>,
  positions: number,
): Memory {
  const session = (length: number) => sessionBytes(backend, { config, vocab: plan.vocab }, length);
  const { weights, working } = memoryNeeds(backend, config, plan, positions);
  const context = session(positions);
  return {
    positions,
    weights,
    working,
    context,
    // Sessions take whole pages: so many that the last does not count.
    context_per_1000_positions: Math.round((session(1_000_000) - session(0)) / 1000),
    total: weights + working + context,
  };
}
