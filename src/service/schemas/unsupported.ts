/**
 * Fields that would change the answer if we had them, each with the values that ask for nothing. Of other servers too: to
 * ignore a constraint would give text that breaks it.
 */
export type Unsupported = Readonly<Record<string, (value: unknown) => boolean>>;

const COMMON: Unsupported = {
  adaptive_target: (value) => (value as number) < 0,
  add_generation_prompt: isTrue,
  audio: never,
  chat_template: never,
  chat_template_kwargs: isEmpty,
  continue_final_message: isFalse,
  detokenize: isTrue,
  documents: isEmpty,
  function_call: isChoiceOfNothing,
  functions: isEmpty,
  grammar: (value) => value === "",
  guided_grammar: never,
  include_stop_str_in_output: isFalse,
  length_penalty: (value) => value === 1,
  logits_processors: isEmpty,
  lora: isEmpty,
  min_keep: isZero,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  n_predict: (value) => value === -1,
  n_probs: isZero,
  penalize_nl: isFalse,
  prompt_logprobs: never,
  reasoning_effort: (value) => value === "none",
  response_fields: isEmpty,
  samplers: never,
  skip_special_tokens: isTrue,
  smoothing_factor: isZero,
  spaces_between_special_tokens: isTrue,
  structured_outputs: never,
  suffix: (value) => value === "",
  t_max_predict_ms: (value) => (value as number) <= 0,
  tfs_z: (value) => value === 1,
  top_a: isZero,
  truncate_prompt_tokens: never,
  use_beam_search: isFalse,
  verbosity: (value) => value === "medium",
  web_search_options: never,
};

export const UNSUPPORTED_IN_COMPLETIONS: Unsupported = {
  ...COMMON,
  tool_choice: isChoiceOfNothing,
  tools: isEmpty,
  top_logprobs: isZero,
};

export const UNSUPPORTED_IN_CHAT: Unsupported = {
  ...COMMON,
  best_of: (value) => value === 1,
  echo: isFalse,
};

function never(): boolean {
  return false;
}
function isTrue(value: unknown): boolean {
  return value === true;
}
function isFalse(value: unknown): boolean {
  return value === false;
}
function isZero(value: unknown): boolean {
  return value === 0;
}
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
function isChoiceOfNothing(value: unknown): boolean {
  return value === "none" || value === "auto";
}
