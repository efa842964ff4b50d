/** What the schemas cannot say of a field: what it means, and the forms that are checked by hand. */

/** By name, wherever a request has it. */
export const FIELDS: Readonly<Record<string, string>> = {
  model: "Name of a model; default: the first",
  messages: "The conversation, oldest message first",
  prompt: "A text, an array of texts, an array of token ids, or an array of those",
  max_tokens: "Most tokens to decode for each text",
  max_completion_tokens: "The same as max_tokens",
  n: "Texts to decode of each prompt",
  best_of: "Texts to decode, of which the n most likely ones are returned",
  echo: "Begins the answer with the prompt; with logprobs, and max_tokens 0 or 1, its likelihood",
  logprobs: "Tells how likely each token was; in completions with this many alternatives",
  top_logprobs: "Alternatives to tell of each token, where logprobs is true",
  stream: "Answers token by token, as server-sent events",
  stream_options: "include_usage: a last chunk with the counts of tokens",
  stop: "Texts that end the answer and are not part of it",
  stop_token_ids: "Token ids that end the answer and are not part of it",
  ignore_eos: "Goes on after an end of text",
  seed: "The same seed gives the same text",
  tools: "Functions that the model may call, where its chat template has a place for them",
  tool_choice: '"none" keeps the model from calling',
  guided_choice: "The answer is one of these texts",
  sampler_preset: "Whose order of sampling steps, and whose defaults",
  pipeline: "The sampling steps themselves, instead of a preset and its options",
  temperature: "0: the most likely token, always",
  top_k: "Only this many most likely tokens; 0 or -1: all",
  top_p: "Only the most likely tokens that together have this probability",
  min_p: "Only tokens at least this likely, relative to the most likely one",
  logit_bias: 'What is added to logits: {"50256": -100}, or [[50256, -100], ["Once", 2.5], [13, false]]',
  allowed_token_ids: "Only these token ids",
  bad_words: "Texts that must not come",
  min_tokens: "No end before this many tokens",
  repetition_penalty: "Divides the logits of tokens that were there; 1: not at all",
  confidence_limit: "Makes a model less sure of itself",
  draft: "Who guesses tokens ahead; never changes the text with the default verifier",
  prediction: "What the answer will probably be: copied for as long as it holds",
  verifier: "Who decides what survives of a draft: a name, or an object with options",
  speculation: "How much to guess ahead",
  plan: 'A plan, or a preset: {"preset": "mixture", "options": {}}',
  rows: "Rows of logits by name of source: numbers, or an encoded row",
  state: "What the answer before gave",
  scores: "Names of scores",
  options: "Options of scores, by name",
  target: "The token that was right",
  content: "The text",
  tokens: "Token ids",
  with_pieces: "Tells each token with its text",
  return_token_strs: "Tells the texts of the tokens",
  add_special: "Adds the tokens that begin and end a text; default false",
  add_special_tokens: "The same; default true",
  parse_special: "Reads control tokens that are spelled out",
};

const ids = { type: "array", items: { type: "integer", minimum: 0 } };

/** Schemas of fields that are read by hand. */
export const FORMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  prompt: {
    anyOf: [
      { type: "string" },
      { type: "array", items: { type: "string" } },
      ids,
      { type: "array", items: ids },
    ],
  },
  stop_token_ids: ids,
  allowed_token_ids: ids,
  tokens: ids,
  logit_bias: {
    anyOf: [
      { type: "object", additionalProperties: { type: "number", minimum: -100, maximum: 100 } },
      { type: "array", items: { type: "array" } },
    ],
  },
  verifier: { anyOf: [{ type: "string" }, { type: "object" }] },
  pipeline: { type: "array", items: { type: "object" } },
};

/** Fields that may be a text where the schema, which reads one as a list of one, has an array. */
export const ALSO_TEXT: ReadonlySet<string> = new Set([
  "stop",
  "content",
  "guided_choice",
  "bad_words",
  "dry_sequence_breakers",
]);
