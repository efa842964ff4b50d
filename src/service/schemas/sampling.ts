/**
 * What decides the tokens: OpenAI's fields, and those of vLLM and of llama.cpp's server under the names they have there.
 *
 * A range stands here only where OpenAI has one; all others are the engine's, whose errors are told in these names.
 * Fields with token ids or texts are read against the model's vocabulary, in `options/tokens.ts`.
 */
import * as z from "zod/mini";
import { PRESET_NAMES } from "../../decoding/pipeline.ts";
import { ANY, expects, integer, LONGEST_WORD, number, oneOf, texts } from "./values.ts";

/** Words that may be forbidden, and texts that end a repetition. */
const words = () => texts(1000, LONGEST_WORD);

export const samplingFields = {
  /** Ours: whose order of steps, and whose defaults. */
  sampler_preset: oneOf(PRESET_NAMES),
  /** Ours: the steps themselves, as the library has them. */
  pipeline: z.optional(z.unknown()),
  /** -1: drawn by the server, as if it were absent. */
  seed: integer(-1, ANY),

  temperature: number(0, 2),
  dynatemp_range: number(),
  dynatemp_exponent: number(),

  top_k: integer(-1, ANY),
  top_p: number(0, 1),
  min_p: number(0, 1),
  typical_p: number(),
  top_n_sigma: number(),
  top_h: number(),
  epsilon_cutoff: number(),
  eta_cutoff: number(),
  xtc_probability: number(),
  xtc_threshold: number(),
  mirostat: integer(0, 2),
  mirostat_tau: number(),
  mirostat_eta: number(),
  /** Ours: makes a model less sure of itself. */
  confidence_limit: z.nullish(
    z.strictObject(
      { max_probability: number(), min_entropy: number() },
      expects("an object with max_probability or min_entropy"),
    ),
  ),

  /** vLLM's name and llama.cpp's for one thing. */
  repetition_penalty: number(0.01, 100),
  repeat_penalty: number(0.01, 100),
  repeat_last_n: integer(-1, ANY),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  no_repeat_ngram_size: integer(0, ANY),
  dry_multiplier: number(),
  dry_base: number(),
  dry_allowed_length: integer(0, ANY),
  dry_penalty_last_n: integer(-1, ANY),
  dry_sequence_breakers: words(),

  logit_bias: z.optional(z.unknown()),
  bad_words: words(),
  allowed_token_ids: z.optional(z.unknown()),
  min_tokens: integer(0, ANY),
};

export type SamplingBody = z.infer<z.ZodMiniObject<typeof samplingFields>>;
