import { MemoryError } from "../errors.ts";
import { apiError } from "./errors.ts";

/** What the engine, or a step of a pipeline, calls a field in its errors. Others have the same name here. */
const FIELDS: Readonly<Record<string, string>> = {
  preset: "sampler_preset",
  pipeline: "pipeline",
  seed: "seed",
  temperature: "temperature",
  dynamicTemperature: "dynatemp_range",
  "dynamic-temperature": "dynatemp_range",
  "dynamic-temperature.temperature": "temperature",
  "dynamic-temperature.exponent": "dynatemp_exponent",
  topK: "top_k",
  "top-k": "top_k",
  topP: "top_p",
  "top-p": "top_p",
  minP: "min_p",
  "min-p": "min_p",
  typicalP: "typical_p",
  typical: "typical_p",
  topNSigma: "top_n_sigma",
  "top-n-sigma": "top_n_sigma",
  topH: "top_h",
  "top-h": "top_h",
  epsilonCutoff: "epsilon_cutoff",
  "epsilon-cutoff": "epsilon_cutoff",
  etaCutoff: "eta_cutoff",
  "eta-cutoff": "eta_cutoff",
  xtc: "xtc_probability",
  "xtc.threshold": "xtc_threshold",
  mirostat: "mirostat",
  "mirostat.tau": "mirostat_tau",
  "mirostat.eta": "mirostat_eta",
  "mirostat-2": "mirostat",
  "mirostat-2.tau": "mirostat_tau",
  "mirostat-2.eta": "mirostat_eta",
  confidenceLimit: "confidence_limit",
  "confidenceLimit.maxProbability": "confidence_limit.max_probability",
  "confidenceLimit.minEntropy": "confidence_limit.min_entropy",
  "confidence-limit": "confidence_limit",
  "confidence-limit.maxProbability": "confidence_limit.max_probability",
  "confidence-limit.minEntropy": "confidence_limit.min_entropy",
  repetitionPenalty: "repetition_penalty",
  "repetition-penalty": "repetition_penalty",
  "repetition-penalty.lastN": "repeat_last_n",
  penaltyLastN: "repeat_last_n",
  presencePenalty: "presence_penalty",
  "presence-penalty": "presence_penalty",
  frequencyPenalty: "frequency_penalty",
  "frequency-penalty": "frequency_penalty",
  noRepeatNgram: "no_repeat_ngram_size",
  "no-repeat-ngram": "no_repeat_ngram_size",
  dry: "dry_multiplier",
  "dry.base": "dry_base",
  "dry.allowedLength": "dry_allowed_length",
  "dry.lastN": "dry_penalty_last_n",
  "dry.breakers": "dry_sequence_breakers",
  logitBias: "logit_bias",
  "logit-bias": "logit_bias",
  badWords: "bad_words",
  "bad-words": "bad_words",
  allowedIds: "allowed_token_ids",
  "allowed-ids": "allowed_token_ids",
  minTokens: "min_tokens",
  "min-tokens": "min_tokens",
  maxTokens: "max_tokens",
  stop: "stop",
  logProbabilities: "logprobs",
  n: "n",
  bestOf: "best_of",
  draft: "draft",
  prediction: "prediction",
  speculation: "speculation",
  verifier: "verifier",
  policy: "verifier",
};

/** Come as the engine's own JSON, so their parts keep their names. */
const AS_GIVEN: ReadonlySet<string> = new Set(["pipeline", "policy", "verifier", "speculation"]);

/**
 * What a client gets for an error of the engine: a 400 that names the field in the words of the request, if the request is
 * to blame, or the error as it is.
 */
export function clientError(error: unknown): unknown {
  if (error instanceof MemoryError) return error;
  if (!(error instanceof RangeError || error instanceof TypeError)) return error;
  const { message } = error;
  if (message.startsWith("Cannot sample the token at position")) {
    return apiError(400, message, { code: "no_token_left" });
  }
  if (message.startsWith("Cannot constrain the text")) {
    return apiError(400, message, { code: "constraint_too_large" });
  }
  if (message.startsWith('Verifier "')) {
    return apiError(400, message, { param: "verifier", code: "invalid_value" });
  }
  const [quoted, name] = /^"([^"]{1,100})"/.exec(message) ?? [];
  const param = name === undefined ? undefined : paramOf(name);
  if (quoted === undefined || param === undefined) return error;
  return apiError(400, `"${param}"${message.slice(quoted.length)}`, {
    param,
    code: error instanceof TypeError ? "invalid_type" : "invalid_value",
  });
}

/** What `call` returns. @throws {HTTPException} 400, if it finds an option wrong. */
export function checkedByEngine<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw clientError(error);
  }
}

function paramOf(name: string): string | undefined {
  const root = /^[^.[]*/.exec(name)![0];
  if (AS_GIVEN.has(root)) return FIELDS[root] + name.slice(root.length);
  const path = name.replace(/\[\d+\]/g, "");
  return lookUp(path) ?? lookUp(root);
}

function lookUp(name: string): string | undefined {
  return Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
}
