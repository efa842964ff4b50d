/** `edgewise generate`: a prompt in, its continuation on standard output as it comes. */
import { fileURLToPath } from "node:url";
import { explainPlan, type Plan } from "../decoding/fuse.ts";
import { openPipeline } from "../engine/options.ts";
import { isServer } from "../engine/remote/connect.ts";
import type { GenerateOptions, GenerateResult, LoadOptions, Model, SamplingOptions } from "../node.ts";
import { loadModel } from "../node.ts";
import type { DraftArguments } from "./draft-arguments.ts";
import { breakerTokens } from "./dry-breakers.ts";
import { constraintOf, type FormatArguments, readFormat } from "./format-arguments.ts";
import { statistics, summary } from "./generate-report.ts";
import { readInput } from "./input.ts";
import { openServer } from "./open-models.ts";
import type { PlanArguments } from "./plan-arguments.ts";
import { needsText, type OpenModel, openPlan, readPlanArgument } from "./plan-models.ts";
import type { SamplingArguments } from "./sampling-arguments.ts";

export interface GenerateArguments
  extends Omit<SamplingArguments, "sampling">,
    Omit<DraftArguments, "speculation">,
    FormatArguments {
  /** Path or URL. Default: the embedded model. */
  model?: string;
  /** Several models, fused, instead. */
  plan?: PlanArguments;
  /** Say what the plan does, and no more. */
  explain?: boolean;
  prompt: string;
  /** Read the prompt from here instead; "-" is standard input. */
  promptFile?: string;
  /** The prompt is a user's message. */
  chat: boolean;
  json: boolean;
  load: LoadOptions;
  decode: GenerateOptions;
  /** How many texts, where that was asked for. Default: one. */
  texts?: { n: number; bestOf: number };
}

/** Where a command writes, and what interrupts it. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  readonly signal: AbortSignal;
}

export const EMBEDDED_MODEL = fileURLToPath(
  new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url),
);

/** Between two texts. */
const RULE = `${"\u2500".repeat(40)}\n`;

/**
 * Text goes to standard output and ends with a newline; one line of statistics goes to standard error. With `json` it is
 * one object on standard output alone.
 *
 * @throws {DOMException} AbortError, when the terminal's signal fires.
 */
export async function generate(options: GenerateArguments, terminal: Terminal): Promise<void> {
  const { signal } = terminal;
  const plan = options.plan && (await readPlanArgument(options.plan));
  if (plan !== undefined && options.explain) {
    return terminal.out(`${explainPlan(plan)}\n${needsText(plan)}\n`);
  }
  const prompt = options.promptFile === undefined ? options.prompt : await readInput(options.promptFile);
  const format = await readFormat(options);
  const pipeline = await readPipeline(options.pipelineFile);
  const prediction = options.predictionFile && (await readInput(options.predictionFile));
  const draftModel = await openDraftModel(options, signal);
  let target: OpenModel | undefined;
  try {
    target = await openTarget(options, plan, draftModel, signal);
    const { model } = target;
    const tokens = options.chat ? model.chatPrompt([{ role: "user", content: prompt }]) : prompt;
    const decode: GenerateOptions = {
      ...options.decode,
      ...withBreakers(model, options),
      ...(pipeline && { pipeline }),
      ...constraintOf(format, model),
      draft: draftModel ?? options.draft,
      prediction,
      signal,
    };
    const out = options.json ? () => {} : terminal.out;
    const results =
      options.texts === undefined
        ? [await printText(model.generate(tokens, decode), out)]
        : await printTexts(model.generateMany(tokens, { ...decode, ...options.texts }), options.texts.n, out);
    if (options.json) {
      terminal.out(`${JSON.stringify(summary(model, results, options.texts !== undefined, plan))}\n`);
    } else terminal.error(`${statistics(model, results, decode.temperature === 0)}\n`);
  } finally {
    target?.close();
    draftModel?.close();
  }
}

async function openTarget(
  { model, plan: files, load }: GenerateArguments,
  plan: Plan | undefined,
  draftModel: Model | undefined,
  signal: AbortSignal,
): Promise<OpenModel> {
  if (plan !== undefined && files !== undefined) return openPlan(plan, files, { ...load, signal });
  const loaded =
    model !== undefined && isServer(model)
      ? await openServer(model, expectLender(draftModel), undefined, { ...load, signal })
      : await loadModel(model ?? EMBEDDED_MODEL, { ...load, signal });
  return { model: loaded, close: () => loaded.close() };
}

/** @throws {TypeError} If there is none. */
function expectLender(draftModel: Model | undefined): Model {
  if (draftModel !== undefined) return draftModel;
  throw new TypeError(
    '"--model" must be a file, or have "--draft model:FILE" beside it: a server lends no tokenizer',
  );
}

async function openDraftModel(
  { draftModel, load }: GenerateArguments,
  signal: AbortSignal,
): Promise<Model | undefined> {
  if (draftModel === undefined) return undefined;
  return loadModel(draftModel, { ...load, contextLength: undefined, signal });
}

/** The steps in a file, checked before a model is loaded for them. */
async function readPipeline(path: string | undefined): Promise<SamplingOptions["pipeline"]> {
  if (path === undefined) return undefined;
  const json = await readInput(path);
  try {
    const pipeline = JSON.parse(json);
    openPipeline({ pipeline });
    return pipeline;
  } catch (error) {
    if (error instanceof Error) error.message = `Cannot read "${path}": ${error.message}`;
    throw error;
  }
}

function withBreakers(model: Model, { dryBreakers, decode }: GenerateArguments): SamplingOptions {
  if (dryBreakers === undefined || decode.dry === undefined) return {};
  return { dry: { ...decode.dry, breakers: breakerTokens(model.tokenizer, dryBreakers) } };
}

/** Prints a text as it comes, and ends it with a newline. */
async function printText(
  pieces: ReturnType<Model["generate"]>,
  out: (text: string) => void,
): Promise<GenerateResult> {
  for (;;) {
    const step = await pieces.next();
    if (step.done) {
      if (!step.value.text.endsWith("\n")) out("\n");
      return step.value;
    }
    out(step.value.text);
  }
}

/** Prints the first text as it comes; the others come at the same time, and are printed after it. */
async function printTexts(
  pieces: ReturnType<Model["generateMany"]>,
  n: number,
  out: (text: string) => void,
): Promise<readonly GenerateResult[]> {
  const texts = Array.from({ length: n }, () => "");
  const printRest = () => {
    const ended = texts.map((text) => (text.endsWith("\n") ? text : `${text}\n`));
    out([ended[0].slice(texts[0].length), ...ended.slice(1)].join(RULE));
  };
  try {
    for (;;) {
      const step = await pieces.next();
      if (step.done) {
        printRest();
        return step.value;
      }
      const { index, text } = step.value;
      texts[index] += text;
      if (index === 0) out(text);
    }
  } catch (error) {
    // At Ctrl-C too: it was said.
    if (texts.some((text) => text !== "")) printRest();
    throw error;
  }
}
