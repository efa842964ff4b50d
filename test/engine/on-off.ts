/** Random requests, each without speculation and with it: the tokens must be the same. Knows no platform. */
import type { GenerateOptions, GenerateResult, Grammar, Model, SamplingOptions } from "../../src/index.ts";
import type { Random } from "../support/random.ts";
import { ToyGrammar } from "../support/toy-grammar.ts";

export interface Pair {
  /** In a form that can be printed. */
  readonly what: string;
  readonly plain: Outcome;
  readonly drafted: Outcome;
}

/** A text; or what was said where a grammar and the other steps left no token. */
type Outcome = Partial<GenerateResult> & { readonly tokens: readonly number[]; readonly error?: string };

const PROMPTS = [
  "Once upon a time",
  "Lily had a red ball. Tom had a blue ball. Lily had a red ball. Tom had a",
  "One day, the dog and the cat went to the park. The dog saw a bird. The cat saw a bird. One day, the dog and",
  '{"name": "Tim", "age": 3}, {"name": "Sue", "age": 4}, {"name": "',
  "",
];

const METHODS = [
  "prompt-lookup",
  "ngram",
  "ngram-cache",
  "suffix",
  "recycling",
  "recycling-tree",
  "self",
] as const;

export async function textOf(
  model: Model,
  prompt: string | readonly number[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  const steps = model.generate(prompt, options);
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

async function outcomeOf(model: Model, prompt: string, options: GenerateOptions): Promise<Outcome> {
  try {
    return await textOf(model, prompt, options);
  } catch (error) {
    if (!(error instanceof RangeError && error.message.startsWith("Cannot sample"))) throw error;
    return { tokens: [], error: error.message };
  }
}

/**
 * @param drafts Models that may draft, of any vocabulary.
 * @param grammars One of which each text follows. Default: some follow a toy.
 */
export async function randomPair(
  model: Model,
  drafts: readonly Model[],
  random: Random,
  grammars?: readonly Grammar[],
): Promise<Pair> {
  const prompt = PROMPTS[random.below(PROMPTS.length)];
  const grammar = grammars !== undefined || random.below(4) === 0 ? random.below(1000) : null;
  const sampling = randomSampling(random, grammar !== null);
  const asked: GenerateOptions = {
    ...sampling,
    maxTokens: 1 + random.below(40),
    seed: random.below(2 ** 31),
    ignoreEos: random.below(2) === 1,
    stop: random.below(5) === 0 ? [" the", "."] : [],
  };
  const speculation = randomSpeculation(model, drafts, random, prompt);
  // A grammar is advanced by what is emitted, so each text needs its own.
  const withGrammar = (options: GenerateOptions): GenerateOptions =>
    grammar === null
      ? options
      : {
          ...options,
          constraint: grammars?.[grammar % grammars.length].open() ?? new ToyGrammar(model.vocab, grammar),
        };
  const plain = await outcomeOf(model, prompt, withGrammar({ ...asked, draft: "none" }));
  const drafted = await outcomeOf(model, prompt, withGrammar({ ...asked, ...speculation }));
  const { draft } = speculation;
  const told = { ...asked, ...speculation, draft: typeof draft === "object" ? `model:${draft.name}` : draft };
  return { what: JSON.stringify({ prompt, grammar, ...told }), plain, drafted };
}

function randomSpeculation(
  model: Model,
  drafts: readonly Model[],
  random: Random,
  prompt: string,
): GenerateOptions {
  const gamma = random.below(3) === 0 ? undefined : 1 + random.below(16);
  // Mostly drafted whether it pays or not: on so small a model it hardly does.
  const adaptive = random.below(4) === 0;
  // A fused model has no head of its own.
  const methods = model.architecture === "fusion" ? METHODS.filter((name) => name !== "self") : METHODS;
  const kind = random.below(methods.length + 1 + 2 * drafts.length);
  if (kind < methods.length) {
    const verifier = (["match", "gumbel", undefined] as const)[random.below(3)];
    return { draft: methods[kind], verifier, speculation: { gamma, adaptive } };
  }
  if (kind === methods.length) {
    const prediction = random.below(2) === 0 ? `${prompt} there was a little girl named Lily.` : prompt;
    return { prediction, speculation: { gamma, adaptive } };
  }
  const draft = drafts[(kind - methods.length - 1) >> 1];
  // A tree of a draft model needs its vocabulary.
  const tree = draft.vocab === model.vocab && kind % 2 === 0;
  return { draft, speculation: { gamma, tree, adaptive } };
}

function randomSampling(random: Random, masked: boolean): SamplingOptions {
  const some = <T>(value: T): T | undefined => (random.below(3) === 0 ? value : undefined);
  const common: SamplingOptions = {
    temperature: [0, 0.4, 0.8, 1.2][random.below(4)],
    topP: some([0.9, 0.5][random.below(2)]),
    repetitionPenalty: some(1.2),
    logitBias: some({ [random.below(400)]: 5, [random.below(400)]: -100 }),
    minTokens: some(8),
  };
  const topK = some([1, 5, 40][random.below(3)]);
  const minP = some(0.05);
  const penalties = { presencePenalty: some(0.5), frequencyPenalty: some(0.7) };
  switch (random.below(6)) {
    case 0:
      return { preset: "vllm", ...common, topK, minP, ...penalties };
    case 1:
      return { preset: "hf", ...common, topK, minP, typicalP: some(0.9), noRepeatNgram: some(3) };
    case 2:
      return { preset: "webllm", ...common, ...penalties };
    case 3: {
      const mirostat = some({ version: (1 + random.below(2)) as 1 | 2, tau: 3 });
      // Mirostat takes the place of what else cuts and penalizes there.
      if (mirostat !== undefined) return { preset: "llamacpp", temperature: common.temperature, mirostat };
      return { preset: "llamacpp", ...common, topK, minP, ...penalties, dry: some(DRY), xtc: some(XTC) };
    }
    case 4:
      return {
        ...common,
        topK,
        dynamicTemperature: some({ range: 0.3 }),
        topNSigma: some(1.5),
        badWords: some([[13], [100, 101]]),
        xtc: some(XTC),
        dry: some(DRY),
      };
    default:
      return { ...common, topK, minP, mirostat: masked ? undefined : some({ version: 2, tau: 4 }) };
  }
}

const DRY = { multiplier: 0.8, allowedLength: 1 };
const XTC = { probability: 0.5, threshold: 0.1 };
