/** Whatever comes, `/v1/sample`, `/v1/verify`, `/v1/sessions` and `/v1/drafter` answer, or say what is wrong with the request. */
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Model } from "../../src/engine/model.ts";
import { loadModel } from "../../src/node.ts";
import { createApp } from "../../src/service/app.ts";
import { DRAFT_MEDIA_TYPE } from "../../src/service/draft-messages.ts";

const FILE = fileURLToPath(new URL("../../models/edgewise-draft-q8_0.gguf", import.meta.url));
const RUNS = 400;

let model: Model;
beforeAll(async () => {
  model = await loadModel(FILE);
});
afterAll(() => model?.close());

const ROWS = [
  [1, 2, 3],
  [0, null, -1],
  [null, null, null],
  { encoding: "f32", data: "AACAPwAAAEAAAEBA", shape: [3] },
  { ids: [2], logprobs: [-0.5], tail_mass: 0.3, vocab: 3 },
];
const row = fc.constantFrom(...ROWS);
const verifiers = [
  "match",
  "token",
  "block",
  "gumbel",
  "greedy",
  "typical",
  "traversal",
  "specinfer",
  "reverse",
];

const hostile = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.double(),
  fc.integer({ min: -2, max: 300 }),
  row,
  fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 4 }),
  fc.record({ target: fc.array(row, { maxLength: 4 }), draft: fc.array(row, { maxLength: 3 }) }),
  fc.record({ draft: fc.array(row, { maxLength: 3 }) }),
  fc.record({ row }),
  fc.constantFrom(...verifiers),
  fc.constantFrom(
    ...["__proto__", "prediction", "corpus", "logits", "a".repeat(2000), "\ud800", "0".repeat(32)],
    ...[1e308, 2 ** 53, -0, 1e-320, 2 ** 32, 2 ** 20],
    ["logits", "probs"],
    { verifier: "threshold", threshold: 0.5 },
    { temperature: 0 },
    { pipeline: [{ step: "mirostat", version: 2 }] },
  ),
);

const FIELDS =
  "rows draft parents scalars verifier return encoding position max_tokens gamma seed history prompt_length sampling " +
  "state bitmask top_logprobs model prompt tokens capacity ignore_eos temperature top_k min_tokens length kind text name mirostat response_format guided_choice guided_regex other";
const bodies = fc.dictionary(fc.constantFrom(...FIELDS.split(" ")), hostile, { maxKeys: 6 });
/** What is nearly right gets further. */
const likely = fc.record(
  {
    rows: fc.record(
      { target: fc.array(row, { maxLength: 4 }), draft: fc.array(row, { maxLength: 3 }) },
      { requiredKeys: [] },
    ),
    draft: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
    parents: fc.array(fc.integer({ min: -1, max: 2 }), { maxLength: 3 }),
    scalars: fc.array(fc.constantFrom(0, 0.5, 1), { maxLength: 3 }),
    verifier: fc.constantFrom(...verifiers),
    position: fc.integer({ min: 0, max: 12 }),
    max_tokens: fc.integer({ min: 0, max: 9 }),
    return: fc.constant(["logits", "probs"]),
    tokens: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
    length: fc.integer({ min: 0, max: 12 }),
    text: fc.string(),
  },
  { requiredKeys: [] },
);

/** So that nearly right bodies are not refused for a field of another path. */
const KNOWN: Readonly<Record<string, string>> = {
  "/v1/sample": "rows position",
  "/v1/verify": "rows draft parents scalars verifier position return",
  "/v1/sessions": "tokens",
  "ID/verify": "draft parents scalars verifier position max_tokens return",
  "ID/append": "tokens position",
  "ID/truncate": "length",
  "ID/drafter": "text",
  "/v1/drafter": "text",
};

function fitting(path: string, body: Record<string, unknown>): object {
  const known = KNOWN[path]?.split(" ") ?? [];
  const { rows, ...rest } = Object.fromEntries(
    Object.entries(body).filter(([name]) => known.includes(name)),
  ) as { rows?: { target?: object[] } };
  if (rows === undefined) return rest;
  return { ...rest, rows: path === "/v1/sample" ? { row: rows.target?.[0] } : rows };
}

const open = () => {
  const errors: unknown[] = [];
  const app = createApp({
    models: { names: ["draft"], get: async () => model },
    onError: (error) => errors.push(error),
    log: () => {},
    maxBodyBytes: 20_000,
    maxTokens: 500,
    maxSessions: 1e6,
    maxSessionsPerKey: 1e6,
  });
  return { app, errors };
};

async function expectAnswerOrError(response: Response) {
  const text = await response.text();
  expect(response.status, text).toBeLessThan(500);
  if (response.headers.get("content-type")?.includes("json") !== true) return;
  const answer = JSON.parse(text);
  if (response.status === 200) return;
  expect(Object.keys(answer.error).sort()).toEqual(["code", "message", "param", "type"]);
  expect(answer.error.message.length).toBeLessThan(1000);
}

it("any body", async () => {
  const { app, errors } = open();
  const create = async () => {
    const body = JSON.stringify({ prompt: "Once upon", capacity: 12, seed: 1 });
    return ((await (await app.request("/v1/sessions", { method: "POST", body })).json()) as { id: string })
      .id;
  };
  let id = await create();
  const paths = fc.constantFrom(
    ...[
      "/v1/sample",
      "/v1/verify",
      "/v1/sessions",
      "ID/verify",
      "ID/append",
      "ID/truncate",
      "ID/drafter",
      "ID",
    ],
    "/v1/drafter",
  );
  const property = fc.asyncProperty(paths, bodies, likely, fc.nat(2), async (path, wild, near, kind) => {
    if (path === "/v1/sessions") id = await create();
    const method = path === "ID" ? "GET" : path.endsWith("drafter") ? "PUT" : "POST";
    const body = kind === 0 ? wild : fitting(path, near);
    const given = { ...body, ...(path === "/v1/drafter" && { session: id }) };
    const response = await app.request(path.replace("ID", `/v1/sessions/${id}`), {
      method,
      ...(method !== "GET" && { body: JSON.stringify(given) }),
    });
    if (response.status !== 429) await expectAnswerOrError(response);
    expect(errors).toEqual([]);
  });
  await fc.assert(property, { numRuns: RUNS });
});

it("any bytes", async () => {
  const { app, errors } = open();
  const body = JSON.stringify({ prompt: "Once upon", seed: 1 });
  const made = await (await app.request("/v1/sessions", { method: "POST", body })).json();
  const path = `/v1/sessions/${(made as { id: string }).id}/verify`;
  const headers = { "content-type": DRAFT_MEDIA_TYPE };
  const property = fc.asyncProperty(fc.uint8Array({ maxLength: 12 }), async (bytes) => {
    await expectAnswerOrError(
      await app.request(path, { method: "POST", headers, body: bytes as Uint8Array<ArrayBuffer> }),
    );
    expect(errors).toEqual([]);
  });
  await fc.assert(property, { numRuns: RUNS });
});
