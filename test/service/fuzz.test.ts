import fc from "fast-check";
import { expect, it } from "vitest";
import { fakeService, framesOf } from "./fake-model.ts";

const RUNS = 1500;
const { post, errors, model } = fakeService(undefined, { maxBodyBytes: 20_000 });

/** A value that a field might hold by mistake or malice: any JSON, often close to what is right. */
const hostile = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer(),
  fc.double(),
  fc.constantFrom(
    1e308,
    -1e308,
    2 ** 53,
    -0,
    1e-320,
    "NaN",
    "__proto__",
    "suffix",
    "block",
    { verifier: "typical", epsilon: 0.5 },
    { type: "content", content: "Hell" },
    { gamma: 3 },
    [{ step: "top-k", k: 3 }],
    [[72, false]],
    { 72: 1, constructor: 1 },
    "a".repeat(2000),
    "\ud800",
    "\u0000",
  ),
  fc.array(fc.oneof(fc.integer({ min: -3, max: 300 }), fc.string(), fc.array(fc.nat(300)))),
  fc.array(
    fc.record({ role: fc.constantFrom("user", "system", "root", 1), content: fc.jsonValue({ maxDepth: 1 }) }),
  ),
);
const FIELDS =
  "model prompt messages stream stream_options max_tokens max_completion_tokens temperature top_k top_p min_p " +
  "repetition_penalty seed stop ignore_eos n echo logprobs tools response_format logit_bias best_of suffix audio " +
  "top_logprobs prediction draft verifier speculation guided_choice guided_json guided_regex json_schema response_format pipeline sampler_preset bad_words " +
  "allowed_token_ids dry_multiplier dry_sequence_breakers xtc_probability mirostat confidence_limit typical_p top_h " +
  "stop_token_ids tool_choice parallel_tool_calls " +
  "dynatemp_range repeat_penalty repeat_last_n presence_penalty min_tokens no_repeat_ngram_size top_n_sigma";
const bodies = fc.dictionary(fc.constantFrom(...FIELDS.split(" "), "other", "__proto__"), hostile);
const paths = fc.constantFrom("/v1/completions", "/v1/chat/completions");

/** An answer, or an error object of the right shape below 500; nothing else. */
async function expectAnswerOrError(path: string, body: string) {
  const response = await post(path, body);
  const text = await response.text();
  expect(response.status).toBeLessThan(500);
  if (response.status === 200) {
    if (response.headers.get("content-type")?.includes("event-stream")) framesOf(text);
    else expect(JSON.parse(text).choices.length).toBeGreaterThan(0);
  } else {
    const { error } = JSON.parse(text);
    expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
    expect(typeof error.message).toBe("string");
    expect(error.message.length).toBeLessThan(1000);
    expect(error.type).toBe("invalid_request_error");
    expect(error.param === null || typeof error.param === "string").toBe(true);
    expect(error.code === null || typeof error.code === "string").toBe(true);
  }
  expect(errors).toEqual([]);
  expect(model.live).toBe(0);
  return response.status;
}

it("any text as body", async () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom("{".repeat(9999), "[".repeat(9999), "\ud800"),
  );
  await fc.assert(
    fc.asyncProperty(paths, texts, async (path, text) => {
      await expectAnswerOrError(path, text);
    }),
    { numRuns: RUNS },
  );
});

it("any value in any field", async () => {
  await fc.assert(
    fc.asyncProperty(paths, bodies, async (path, body) => {
      await expectAnswerOrError(path, JSON.stringify(body));
    }),
    { numRuns: RUNS },
  );
});

it("one wrong field in a good request", async () => {
  const good = { prompt: "a", messages: [{ role: "user", content: "a" }], max_tokens: 3 };
  const seen = new Set<number>();
  await fc.assert(
    fc.asyncProperty(paths, fc.constantFrom(...FIELDS.split(" ")), hostile, async (path, field, value) => {
      seen.add(await expectAnswerOrError(path, JSON.stringify({ ...good, [field]: value })));
    }),
    { numRuns: RUNS },
  );
  expect(seen).toContain(200);
  expect(seen).toContain(400);
});

it("a body cut or changed anywhere", async () => {
  const good = JSON.stringify({ prompt: "Once", max_tokens: 3, stop: ["a"], temperature: 0.5, stream: true });
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length), fc.nat(9), fc.string({ maxLength: 3 }), async (at, cut, put) => {
      await expectAnswerOrError("/v1/completions", good.slice(0, at) + put + good.slice(at + cut));
    }),
    { numRuns: RUNS },
  );
});

it("any value in any field of what turns text into tokens and back", async () => {
  const fields =
    "model content prompt messages tokens tools tool_choice add_special parse_special with_pieces";
  const names = fc.constantFrom(...fields.split(" "), "return_token_strs", "add_special_tokens", "__proto__");
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("/tokenize", "/detokenize", "/apply-template"),
      fc.dictionary(names, hostile),
      async (path, body) => {
        const response = await post(path, JSON.stringify(body));
        expect(response.status).toBeLessThan(500);
        expect(errors).toEqual([]);
        await response.json();
      },
    ),
    { numRuns: RUNS },
  );
});
