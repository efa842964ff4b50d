/** Whatever a body holds, `/v1/fuse` and `/v1/score` answer with numbers or with an error object that is the client's. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { FUSE_PRESETS } from "../../src/decoding/fuse.ts";
import { SCORE_NAMES } from "../../src/decoding/score.ts";
import { fakeService } from "./fake-model.ts";

const RUNS = 1000;
const { post, errors, app } = fakeService(undefined, { maxBodyBytes: 20_000 });

const ROWS = [
  [1, 2, 3],
  [0, null, -1],
  { encoding: "f32", data: "AACAPwAAAEAAAEBA", shape: [3] },
  { ids: [2], logprobs: [-0.5], tail_mass: 0.3, vocab: 3 },
];
const row = fc.constantFrom(...ROWS);

const hostile = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.double(),
  row,
  fc.constantFrom(
    ...["__proto__", "constructor", "a".repeat(2000), "\ud800", "-Infinity", "base", "a"],
    ...[1e308, 2 ** 53, -0, 1e-320, 2 ** 32, 2 ** 20],
    { source: "a" },
    { source: "base", support: [{ topK: 1 }] },
    { stat: "entropy", of: "a" },
    [{ source: "a" }, { source: "b", weight: { stat: "max", of: "a" } }],
    { kind: "projection", vocab: 1 << 20, offsets: [0, 0, 0, 0], ids: [], values: [] },
    { preset: "dlf", options: { solver: "continuous" } },
    { memory: [1] },
    { k: 3 },
  ),
);

const FUSE_FIELDS =
  "plan rows state seed step position history prompt_length last inputs tables bitmask sampling return encoding other";
const SCORE_FIELDS = "scores rows target options projection common other";

const plan = fc.oneof(
  fc.record({
    preset: fc.constantFrom(...Object.keys(FUSE_PRESETS)),
    options: fc.dictionary(
      fc.constantFrom(..."base sources alpha gates exits experts counts bias graph k".split(" ")),
      hostile,
    ),
  }),
  fc
    .dictionary(
      fc.constantFrom(
        ..."lin mix route by map through table support norm temperature let rows tables inputs mode".split(
          " ",
        ),
      ),
      hostile,
    )
    .map((node) => ({ sources: ["a", "b"], ...node })),
  hostile,
);

async function expectAnswerOrError(path: string, body: string): Promise<number> {
  const response = await post(path, body);
  const text = await response.text();
  expect(errors.splice(0)).toEqual([]);
  expect([200, 400, 413]).toContain(response.status);
  if (response.status === 200) {
    const answer = JSON.parse(text);
    if (path === "/v1/fuse") expect(Number.isInteger(answer.token)).toBe(true);
    else expect(Object.keys(answer.scores).length).toBeGreaterThan(0);
  } else {
    const { error } = JSON.parse(text);
    expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
    expect(error.message.length).toBeLessThan(2000);
    expect(error.type).toBe("invalid_request_error");
    expect(error.param === null || typeof error.param === "string").toBe(true);
  }
  return response.status;
}

it("any value in any field", async () => {
  const bodies = fc.oneof(
    fc.tuple(fc.constant("/v1/fuse"), fc.dictionary(fc.constantFrom(...FUSE_FIELDS.split(" ")), hostile)),
    fc.tuple(fc.constant("/v1/score"), fc.dictionary(fc.constantFrom(...SCORE_FIELDS.split(" ")), hostile)),
  );
  await fc.assert(
    fc.asyncProperty(bodies, async ([path, body]) => {
      await expectAnswerOrError(path, JSON.stringify(body));
    }),
    { numRuns: RUNS },
  );
});

it("any plan over good rows", async () => {
  const rows = fc.dictionary(fc.constantFrom("a", "b", "base", "expert", "anti"), fc.oneof(row, hostile));
  await fc.assert(
    fc.asyncProperty(plan, rows, async (plan, rows) => {
      await expectAnswerOrError("/v1/fuse", JSON.stringify({ plan, rows }));
    }),
    { numRuns: RUNS },
  );
});

it("one wrong field in a good request", async () => {
  const goodFuse = {
    plan: { preset: "proxy-tuning" },
    rows: { base: ROWS[0], expert: ROWS[0], anti: ROWS[0] },
  };
  const goodScore = { scores: ["kl", "nll"], rows: { row: ROWS[0], reference: ROWS[0] }, target: 1 };
  const change = fc.oneof(
    fc.tuple(
      fc.constant("/v1/fuse"),
      fc.constant<object>(goodFuse),
      fc.constantFrom(...FUSE_FIELDS.split(" ")),
    ),
    fc.tuple(
      fc.constant("/v1/score"),
      fc.constant<object>(goodScore),
      fc.constantFrom(...SCORE_FIELDS.split(" ")),
    ),
  );
  const seen = new Set<number>();
  await fc.assert(
    fc.asyncProperty(change, hostile, async ([path, good, field], value) => {
      seen.add(await expectAnswerOrError(path, JSON.stringify({ ...good, [field]: value })));
    }),
    { numRuns: RUNS },
  );
  expect(seen).toContain(200);
  expect(seen).toContain(400);
});

it("any scores with any options", async () => {
  const names = fc.uniqueArray(fc.constantFrom(...SCORE_NAMES), { minLength: 1, maxLength: 4 });
  const options = fc.dictionary(
    fc.constantFrom("temperature", "k", "alpha", "order", "gamma", "score"),
    hostile,
  );
  await fc.assert(
    fc.asyncProperty(
      names,
      options,
      fc.array(row, { minLength: 2, maxLength: 2 }),
      async (scores, one, [a, b]) => {
        const body = { scores, rows: { row: a, reference: b }, target: 1, options: { [scores[0]]: one } };
        await expectAnswerOrError("/v1/score", JSON.stringify(body));
      },
    ),
    { numRuns: RUNS },
  );
});

it("leaves nothing running", async () => {
  expect(await (await app.request("/health")).json()).toMatchObject({ running: 0, waiting: 0 });
});
