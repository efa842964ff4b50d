/** JSON under a schema, and a regular expression, in workerd. */
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dryRun, runWorker } from "./miniflare.ts";

let worker: Miniflare;
let url: URL;
beforeAll(async () => {
  worker = runWorker(await dryRun());
  url = await worker.ready;
});
afterAll(() => worker?.dispose());

it("a schema and an expression are kept in the worker", async () => {
  const ask = async (body: object) => {
    const response = await fetch(new URL("/v1/completions", url), {
      method: "POST",
      body: JSON.stringify({ prompt: "Once", max_tokens: 120, seed: 2, ...body }),
    });
    const { choices } = (await response.json()) as { choices: { text: string; finish_reason: string }[] };
    return choices[0];
  };
  const schema = {
    type: "object",
    properties: { name: { type: "string", maxLength: 9 }, age: { type: "integer", minimum: 0, maximum: 9 } },
    required: ["name", "age"],
  };
  const response_format = { type: "json_schema", json_schema: { name: "pet", schema } };
  const { text, finish_reason } = await ask({ response_format });
  expect(finish_reason).toBe("stop");
  expect(Object.keys(JSON.parse(text))).toEqual(["name", "age"]);
  expect((await ask({ guided_regex: "(Tom|Lily) ran\\." })).text).toMatch(/^(Tom|Lily) ran\.$/);
});
