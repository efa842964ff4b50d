import type { PresetOptions } from "../../decoding/pipeline.ts";
import type { SamplingOptions } from "../../engine/model.ts";
import { apiError } from "../errors.ts";
import type { SamplingBody } from "../schemas/sampling.ts";
import { given } from "./given.ts";
import { readLogitBias, readTokenIds, spellings, type Vocabulary } from "./tokens.ts";

/** What llama.cpp breaks repetitions at, unless it is told. */
const BREAKERS = ["\n", ":", '"', "*"];

/** Values that change nothing in any preset. Clients send them by habit, also to presets that lack the step. */
const NEUTRAL: PresetOptions = {
  typicalP: 1,
  topNSigma: 0,
  epsilonCutoff: 0,
  etaCutoff: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  noRepeatNgram: 0,
  minTokens: 0,
};

/**
 * Sampling fields in the engine's words; what is absent, or asks for nothing, is left out.
 *
 * @throws {HTTPException} 400, if two names for one thing say different things, or a token is not the model's.
 */
export function readSampling(model: Vocabulary, body: SamplingBody): SamplingOptions {
  const logitBias = readLogitBias(model, body.logit_bias);
  const badWords = [
    ...spellings(model.tokenizer, body.bad_words ?? []),
    ...(logitBias?.banned ?? []).map((token) => [token]),
  ];
  const options = given({
    preset: body.sampler_preset,
    // Read by the engine, which tells what is wrong.
    pipeline: body.pipeline as SamplingOptions["pipeline"] | null,
    // As vLLM and llama.cpp's server have it.
    seed: body.seed === -1 ? undefined : body.seed,
    temperature: body.temperature,
    dynamicTemperature: body.dynatemp_range
      ? given({ range: body.dynatemp_range, exponent: body.dynatemp_exponent })
      : undefined,
    // -1 is "all" for vLLM's clients, 0 for everyone else's.
    topK: body.top_k && Math.min(Math.max(body.top_k, 0), model.vocab),
    // OpenAI allows 0, which keeps the best token alone; so does any p below the best token's probability.
    topP: body.top_p === 0 ? 1e-9 : body.top_p,
    minP: body.min_p,
    typicalP: body.typical_p,
    // llama.cpp's default of -1 is off.
    topNSigma: body.top_n_sigma && Math.max(body.top_n_sigma, 0),
    topH: body.top_h,
    epsilonCutoff: body.epsilon_cutoff,
    etaCutoff: body.eta_cutoff,
    xtc: body.xtc_probability
      ? { probability: body.xtc_probability, threshold: body.xtc_threshold ?? 0.1 }
      : undefined,
    mirostat: body.mirostat
      ? given({ version: body.mirostat as 1 | 2, tau: body.mirostat_tau, eta: body.mirostat_eta })
      : undefined,
    confidenceLimit: body.confidence_limit && confidenceLimit(body.confidence_limit),
    repetitionPenalty: onlyOne(
      "repeat_penalty",
      body.repeat_penalty,
      "repetition_penalty",
      body.repetition_penalty,
    ),
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    penaltyLastN: body.repeat_last_n,
    noRepeatNgram: body.no_repeat_ngram_size,
    dry: readDry(model, body),
    logitBias: logitBias?.bias,
    badWords: badWords.length > 0 ? badWords : undefined,
    allowedIds: readTokenIds(model, "allowed_token_ids", body.allowed_token_ids),
    minTokens: body.min_tokens,
  });
  const neutral = NEUTRAL as Record<string, unknown>;
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => value !== neutral[name]));
}

/** 0 looks at nothing, so there is no DRY; -1 at everything, which is the step's 0. */
function readDry(model: Vocabulary, body: SamplingBody): PresetOptions["dry"] {
  const { dry_multiplier: multiplier, dry_penalty_last_n: lastN } = body;
  if (!multiplier || lastN === 0) return undefined;
  return given({
    multiplier,
    base: body.dry_base,
    allowedLength: body.dry_allowed_length,
    lastN: lastN && Math.max(lastN, 0),
    breakers: spellings(model.tokenizer, body.dry_sequence_breakers ?? BREAKERS),
  });
}

function confidenceLimit(limit: NonNullable<SamplingBody["confidence_limit"]>) {
  return given({ maxProbability: limit.max_probability, minEntropy: limit.min_entropy });
}

/** The value of a field with two names. */
export function onlyOne<T>(name: string, value: T, otherName: string, other: T): T {
  const absent = (x: T) => x === undefined || x === null;
  if (!absent(value) && !absent(other) && value !== other) {
    throw apiError(400, `"${name}" and "${otherName}" must not differ; give one of them`, {
      param: name,
      code: "invalid_value",
    });
  }
  return absent(value) ? other : value;
}
