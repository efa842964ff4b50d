import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { OpenApi, Schema } from "../../src/service/openapi/document.ts";
import { openApi } from "../../src/service/openapi/document.ts";
import { OPERATIONS } from "../../src/service/openapi/operations.ts";
import { page } from "../../src/service/openapi/page.ts";
import { fakeService } from "./fake-model.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
const { app, post } = fakeService();
const document = openApi(version);

const fieldsOf = (path: string) =>
  document.paths[path].post.requestBody!.content["application/json"].schema.properties!;

describe("the description", () => {
  it("that is served is that of these schemas: npm run build", async () => {
    const response = await app.request("/openapi.json");
    expect(response.headers.get("content-type")).toContain("application/json");
    expect(await response.json()).toEqual(document);
  });

  it("has every route of the app, and no other", () => {
    const routes = app.routes.filter(({ method }) => method !== "ALL");
    const written = routes.map(
      ({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`,
    );
    const described = OPERATIONS.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect([...new Set(written)].sort()).toEqual(described.sort());
  });

  it("says of fields what they are", () => {
    const chat = fieldsOf("/v1/chat/completions");
    expect(chat.temperature).toMatchObject({ type: "number", minimum: 0, maximum: 2 });
    expect(chat.max_tokens).toMatchObject({ type: "integer", minimum: 1 });
    expect(chat.stop.anyOf).toMatchObject([{ type: "string" }, { type: "array", maxItems: 4 }]);
    expect(chat.messages).toMatchObject({ type: "array", items: { required: ["role"] } });
    expect(fieldsOf("/v1/completions").prompt.anyOf).toHaveLength(4);
    expect(fieldsOf("/v1/completions")).toHaveProperty("echo.description");
    for (const path of Object.keys(document.paths)) {
      const body = document.paths[path].post?.requestBody;
      for (const [name, field] of Object.entries(body?.content["application/json"].schema.properties ?? {})) {
        expect(typeof (field.type ?? "absent"), `${path} ${name}`).toBe("string");
      }
    }
  });

  it("is well formed: ids are unique, references lead somewhere, all but /health wants a key", () => {
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.values(methods).map((operation) => ({ path, operation })),
    );
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const open = operations.filter(({ operation }) => operation.security?.length === 0);
    expect(open.map(({ path }) => path)).toEqual(["/health"]);
    for (const [, pointer] of JSON.stringify(document).matchAll(/"\$ref":"#([^"]*)"/g)) {
      const value = pointer
        .split("/")
        .slice(1)
        .reduce<unknown>((at, name) => (at as Record<string, unknown>)?.[name], document);
      expect(value, pointer).toBeDefined();
    }
    expect(document).toMatchObject({ openapi: "3.1.0", security: [{ key: [] }] });
  });

  it("has examples that the service takes", async () => {
    const examples = OPERATIONS.filter(({ example }) => example !== undefined);
    expect(examples.length).toBeGreaterThan(5);
    for (const { path, example } of examples) {
      const response = await post(path, example);
      expect([path, response.status]).toEqual([path, 200]);
    }
  });
});

describe("the page", () => {
  it("shows every operation and field, and needs nothing from elsewhere", async () => {
    const html = await (await app.request("/docs")).text();
    expect(html).toBe(page(document));
    for (const { path } of OPERATIONS) expect(html).toContain(`<code>${path}</code>`);
    for (const name of Object.keys(fieldsOf("/v1/chat/completions"))) {
      expect(html).toContain(`<code>${name}</code>`);
    }
    expect(html).not.toMatch(/<script|<link|<img|src=|@import|url\(|https?:/);
    expect(html.length).toBeLessThan(50_000);
  });

  it("takes no text of a schema for HTML", () => {
    const field: Schema = { type: "string", description: "<b>&" };
    const schema = { properties: { "<i>": field } };
    const operation = {
      operationId: "x",
      summary: "<script>",
      tags: ["<t>"],
      requestBody: { required: true as const, content: { "application/json": { schema } } },
      responses: {},
    };
    const made: OpenApi = { ...document, tags: [{ name: "<t>" }], paths: { "/<p>": { post: operation } } };
    expect(page(made)).not.toMatch(/<script|<b>&|<i>|<t>|<p>"/);
    expect(page(made)).toContain("&lt;b&gt;&amp;");
  });
});
