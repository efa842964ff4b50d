/** `edgewise generate`: a prompt in, its continuation on standard output as it comes. */
import { readFile } from "node:fs/promises";
import { text as readText } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type {
  DraftMethod,
  GenerateOptions,
  GenerateResult,
  LoadOptions,
  Model,
  SpeculationSummary,
} from "../node.ts";
import { loadModel } from "../node.ts";

export interface GenerateArguments {
  /** Path or URL. Default: the embedded model. */
  model?: string;
  prompt: string;
  /** Read the prompt from here instead; "-" is standard input. */
  promptFile?: string;
  /** The prompt is a user's message. */
  chat: boolean;
  json: boolean;
  load: LoadOptions;
  decode: GenerateOptions;
  /** A drafting method, or `model:` and a path or URL. */
  draft?: string;
}

/** Where a command writes, and what interrupts it. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  readonly signal: AbortSignal;
}

const MODEL_PREFIX = "model:";

const EMBEDDED_MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

/**
 * Text goes to standard output and ends with a newline; one line of statistics goes to standard error. With `json` it is
 * one object on standard output alone.
 *
 * @throws {DOMException} AbortError, when the terminal's signal fires.
 */
export async function generate(options: GenerateArguments, terminal: Terminal): Promise<void> {
  const { signal } = terminal;
  const prompt = options.promptFile === undefined ? options.prompt : await readPrompt(options.promptFile);
  const model = await loadModel(options.model ?? EMBEDDED_MODEL, { ...options.load, signal });
  const draft = await openDraft(options, signal);
  try {
    const tokens = options.chat ? model.chatPrompt([{ role: "user", content: prompt }]) : prompt;
    const pieces = model.generate(tokens, { ...options.decode, draft, signal });
    if (options.json) {
      terminal.out(`${JSON.stringify(summary(model, await finish(pieces)))}\n`);
      return;
    }
    const result = await finish(pieces, (text) => terminal.out(text));
    if (!result.text.endsWith("\n")) terminal.out("\n");
    terminal.error(`${statistics(model, result, options.decode)}\n`);
  } finally {
    model.close();
    if (typeof draft === "object") draft.close();
  }
}

async function openDraft(
  { draft, load }: GenerateArguments,
  signal: AbortSignal,
): Promise<DraftMethod | Model | undefined> {
  if (draft === undefined || !draft.startsWith(MODEL_PREFIX)) return draft as DraftMethod | undefined;
  return loadModel(draft.slice(MODEL_PREFIX.length), { ...load, contextLength: undefined, signal });
}

async function readPrompt(path: string): Promise<string> {
  return path === "-" ? readText(process.stdin) : readFile(path, "utf8");
}

async function finish(
  pieces: ReturnType<Model["generate"]>,
  onText?: (text: string) => void,
): Promise<GenerateResult> {
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
    onText?.(step.value.text);
  }
}

/** What `--json` prints; names as in OpenAI's API. */
function summary(model: Model, result: GenerateResult) {
  return {
    prompt_tokens: result.promptTokens,
    tokens: result.tokens,
    text: result.text,
    finish_reason: result.finishReason,
    timings: { load_ms: model.loadMs, ...result.timings },
    backend: model.backend,
    build: model.build,
    ...(result.speculation && { speculation: speculation(result.speculation) }),
  };
}

function speculation(summary: SpeculationSummary) {
  return {
    drafter: summary.drafter,
    verifier: "match",
    drafted: summary.drafted,
    accepted: summary.accepted,
    target_calls: summary.targetCalls,
    tokens_per_call: summary.tokensPerCall,
    acceptance_rate: summary.acceptanceRate,
  };
}

function statistics(model: Model, result: GenerateResult, { temperature, seed }: GenerateOptions): string {
  const { prompt_ms, prompt_tokens_per_second, decode_ms, tokens_per_second } = result.timings;
  const time = (ms: number) => (ms < 10_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);
  return [
    `${model.name} on ${[model.backend, model.build].filter(Boolean).join(" ")}: loaded in ${time(model.loadMs)}`,
    `prompt ${result.promptTokens.length} tokens in ${time(prompt_ms)} (${prompt_tokens_per_second.toFixed(1)}/s)`,
    `${result.tokens.length} tokens in ${time(decode_ms)} (${tokens_per_second.toFixed(1)}/s)`,
    `finish: ${result.finishReason}`,
    ...(temperature === 0 ? [] : [`seed ${seed}`]),
  ].join("; ");
}
