/** What a stranger may try. Each attempt gets the right status and OpenAI's error object, and nothing is left behind. */
import { describe, expect, it } from "vitest";
import { fakeModel, fakeService, framesOf, untilBusy } from "./fake-model.ts";

const KEY = "sk-right-and-long";
const OTHER = "sk-other-and-long";

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** A request with the right key; a body that is text or a stream goes as it is. */
function secured(options: Parameters<typeof fakeService>[1] = {}, model = fakeModel()) {
  const service = fakeService(model, { keys: [`mine:${KEY}`, `yours:${OTHER}`], ...options });
  const send = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    service.app.request(path, {
      method: "POST",
      headers: { ...bearer(KEY), ...headers },
      body: typeof body === "string" || body instanceof ReadableStream ? body : JSON.stringify(body),
      duplex: "half",
    } as RequestInit);
  return { ...service, send };
}

async function expectError(response: Response, status: number, error: object) {
  const body = (await response.json()) as { error: object };
  expect([response.status, Object.keys(body), Object.keys(body.error).sort()]).toEqual([
    status,
    ["error"],
    ["code", "message", "param", "type"],
  ]);
  expect(body.error).toMatchObject(error);
}

const refused = { type: "invalid_request_error", param: null, code: "invalid_api_key" };

describe("keys", () => {
  const { app, errors, lines } = secured();
  const paths: [string, string][] = [
    ["POST", "/v1/completions"],
    ["POST", "/v1/chat/completions"],
    ["GET", "/v1/models"],
    ["GET", "/v1/models/fake"],
    ["POST", "/v1/fuse"],
    ["POST", "/v1/score"],
    ["POST", "/v1/rows"],
    ["POST", "/v1/sample"],
    ["POST", "/v1/verify"],
    ["POST", "/v1/sessions"],
    ["GET", "/v1/sessions/:id"],
    ["DELETE", "/v1/sessions/:id"],
    ["POST", "/v1/sessions/:id/append"],
    ["POST", "/v1/sessions/:id/truncate"],
    ["POST", "/v1/sessions/:id/verify"],
    ["PUT", "/v1/sessions/:id/drafter"],
    ["PUT", "/v1/drafter"],
    ["GET", "/v1/codebooks"],
    ["GET", "/v1/codebooks/:id"],
    ["PUT", "/v1/codebooks/:id"],
    ["DELETE", "/v1/codebooks/:id"],
    ["POST", "/tokenize"],
    ["POST", "/detokenize"],
    ["POST", "/apply-template"],
    ["GET", "/metrics"],
    ["GET", "/openapi.json"],
    ["GET", "/docs"],
    ["GET", "/nothing"],
    ["GET", "/health/"],
    ["GET", "//health"],
    ["GET", "/health%2f..%2fmetrics"],
    ["DELETE", "/v1/models"],
  ];

  it.each(paths)("%s %s is closed without one, and with a wrong one", async (method, path) => {
    for (const headers of [{}, bearer("sk-wrong-and-long"), bearer(""), { authorization: `Basic ${KEY}` }]) {
      const response = await app.request(path, { method, headers });
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      await expectError(response, 401, refused);
    }
  });

  it("has every route of the app in that list, but /health", () => {
    const routes = app.routes.filter(({ method }) => method !== "ALL");
    const known = [...paths.map(([, path]) => path), "/v1/models/:id{.+}", "/health"];
    expect(routes.map(({ path }) => path).filter((path) => !known.includes(path))).toEqual([]);
    expect(routes.length).toBeGreaterThan(10);
  });

  it("/health is open, and says nothing of keys", async () => {
    const response = await app.request("/health");
    expect(response.status).toBe(200);
    expect(Object.keys((await response.json()) as object)).toEqual([
      "status",
      "running",
      "waiting",
      "decoded_tokens",
    ]);
  });

  it.each([
    ["a part of it", KEY.slice(0, -1)],
    ["more than it", `${KEY}x`],
    ["another case", KEY.toUpperCase()],
    ["its hash", "sha256:0000000000000000000000000000000000000000000000000000000000000000"],
    ["its name", "mine"],
    ["name and key", `mine:${KEY}`],
    ["two", `${KEY},${OTHER}`],
    ["a very long one", "k".repeat(7000)],
    ["other letters", "sk-right-and-lońg".replace("ń", "%C5%84")],
  ])("%s is no key", async (_, key) => {
    await expectError(await app.request("/v1/models", { headers: bearer(key) }), 401, refused);
  });

  it("each of several opens, whichever way its header is written", async () => {
    for (const authorization of [`Bearer ${KEY}`, `bearer  ${OTHER}`, `BEARER ${KEY} `]) {
      expect((await app.request("/v1/models", { headers: { authorization } })).status).toBe(200);
    }
  });

  it("a key in the address is none", async () => {
    const response = await app.request(`/v1/models?api_key=${KEY}&authorization=Bearer ${KEY}`);
    await expectError(response, 401, refused);
  });

  it("no key, header or address is in any log line", async () => {
    await app.request(`/v1/models/${KEY}?key=${KEY}`, { headers: bearer(KEY) });
    await app.request(`/v1/${KEY}`, { headers: bearer("sk-wrong-and-long") });
    const text = JSON.stringify(lines);
    expect(lines.length).toBeGreaterThan(20);
    expect(text).toContain('"key":"mine"');
    for (const secret of [KEY, OTHER, "sk-wrong", "Bearer"]) expect(text).not.toContain(secret);
    expect(errors).toEqual([]);
  });

  it("without any the service is open, and says so once", async () => {
    const { app, lines } = fakeService();
    expect((await app.request("/v1/models")).status).toBe(200);
    expect((await app.request("/v1/models")).status).toBe(200);
    expect(lines.filter(({ event }) => event === "open")).toEqual([
      { level: "warn", event: "open", message: "No API key is configured: anyone may use the service" },
    ]);
    expect(secured().lines).toEqual([]);
  });
});

describe("bodies", () => {
  const { send, errors, model } = secured({ maxBodyBytes: 2000, maxDepth: 20 });
  const invalid = { type: "invalid_request_error", param: null };

  it.each([
    ["that say they are too large", "{}", { "content-length": "2001" }],
    ["that are too large", JSON.stringify({ prompt: "x".repeat(3000) }), {}],
    ["that grow too large", new Blob(["x".repeat(3000)]).stream(), {}],
    ["whose length is a lie", new Blob(["x".repeat(3000)]).stream(), { "content-length": "5" }],
    ["that never end", endless(), {}],
  ])("413 for those %s", async (_, body, headers) => {
    const response = await send("/v1/completions", body, headers as unknown as Record<string, string>);
    await expectError(response, 413, { ...invalid, code: "request_too_large" });
  });

  it.each([
    ["arrays", "[".repeat(900) + "]".repeat(900)],
    ["objects", `${'{"a":'.repeat(300)}1${"}".repeat(300)}`],
    ["a field that is read by hand", `{"logit_bias":${"[".repeat(21)}${"]".repeat(21)}}`],
    ["a field that nobody knows", `{"prompt":"a","x":${"[".repeat(20)}${"]".repeat(20)}}`],
    ["brackets that never close", "[".repeat(1999)],
  ])("400 for depth: %s", async (_, body) => {
    await expectError(await send("/v1/completions", body), 400, { ...invalid, code: "json_too_deep" });
  });

  it("brackets in texts are no depth", async () => {
    const body = { prompt: `a${"[{".repeat(20)}\\"`, max_tokens: 1 };
    expect((await send("/v1/completions", body)).status).toBe(200);
  });

  it.each([
    ["a byte that begins nothing", [0xff]],
    ["half a character", [0x22, 0xe2, 0x82]],
    ["an overlong slash", [0x22, 0xc0, 0xaf, 0x22]],
    ["a lone surrogate", [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ["UTF-16", [0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]],
  ])("400 for what is no UTF-8: %s", async (_, bytes) => {
    const response = await send("/v1/completions", new Blob([Uint8Array.from(bytes)]).stream());
    await expectError(response, 400, { ...invalid, code: "invalid_encoding" });
  });

  it("415 for a body that is packed, before it is looked at", async () => {
    const response = await send("/v1/completions", "{}", { "content-encoding": "gzip" });
    await expectError(response, 415, { ...invalid, code: "unsupported_content_encoding" });
  });

  it("408 for a body that comes too slowly, however it trickles, and its sender is let go", async () => {
    const { send } = secured({ bodyMs: 40 });
    for (const every of [5, 1e6]) {
      let cancelled = false;
      let timer: ReturnType<typeof setInterval> | undefined;
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          timer = setInterval(() => controller.enqueue(Uint8Array.of(0x20)), every);
        },
        cancel() {
          cancelled = true;
          clearInterval(timer);
        },
      });
      const answer = await send("/v1/completions", body);
      clearInterval(timer);
      // It would be as slow again.
      expect(answer.headers.get("x-should-retry")).toBe("false");
      await expectError(answer, 408, { ...invalid, code: "request_timeout" });
      expect(cancelled).toBe(true);
    }
  });

  it("503 for a body that does not fit beside those of others, until they are gone", async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const limits = { maxBodyBytes: 1000, maxHeldBytes: 1500 };
    const { send, app } = secured(limits, fakeModel({ before: () => gate }));
    const body = JSON.stringify({ prompt: "a", max_tokens: 1, user: "u".repeat(900) });
    const first = send("/v1/completions", body);
    await untilBusy({ app }, 1);
    const second = await send("/v1/completions", body);
    expect(second.headers.get("retry-after")).toBe("1");
    await expectError(second, 503, { type: "server_error", code: "out_of_memory" });
    open();
    expect((await first).status).toBe(200);
    expect((await send("/v1/completions", body)).status).toBe(200);
    // Bodies that were refused are not held either.
    for (let i = 0; i < 5; i++) expect((await send("/v1/completions", "x".repeat(1001))).status).toBe(413);
    expect((await send("/v1/completions", body)).status).toBe(200);
  });

  it.each([
    ["temperature", "1e400"],
    ["temperature", "-1e400"],
    ["max_tokens", "1e308"],
    ["max_tokens", "9007199254740993"],
    ["seed", "1e30"],
    ["seed", "-9007199254740992"],
    ["top_k", "1e400"],
    ["n", "4294967297"],
    ["logprobs", "1e400"],
    ["prompt", "[1e400]"],
    ["prompt", `[${"9".repeat(400)}]`],
    ["logit_bias", '{"72":1e400}'],
    ["logit_bias", '{"99999999999999999999":1}'],
    ["stop_token_ids", "[1e400]"],
    ["speculation", '{"gamma":1e400}'],
  ])("400 for a huge number: %s %s", async (field, json) => {
    const response = await send("/v1/completions", `{"${field}":${json}}`);
    const answer = (await response.clone().json()) as { error: { param: string } };
    await expectError(response, 400, { type: "invalid_request_error" });
    expect(answer.error.param).toMatch(new RegExp(`^${field}`));
  });

  it("leave nothing running", () => {
    expect(errors).toEqual([]);
    expect(model.live).toBe(0);
  });
});

describe("headers", () => {
  const { app, send, lines } = secured();

  it.each(["a b", "a\tb", "ä", "x".repeat(300), "<script>", "%0d%0aset-cookie:x", '","level":"x'])(
    "an x-request-id of strange letters is not told again: %s",
    async (id) => {
      const response = await app.request("/v1/models", { headers: { ...bearer(KEY), "x-request-id": id } });
      const told = response.headers.get("x-request-id")!;
      expect(told).toMatch(/^[\w-]{36}$/);
      expect(lines.at(-1)).toMatchObject({ request_id: told });
    },
  );

  it("nothing of a request can begin a header or a line of its own", async () => {
    const evil = 'x\r\nset-cookie: a=b\r\n\r\n{"level":"info"}';
    for (const body of [{ model: evil }, { prompt: "a", user: evil, stop: evil }, { [evil]: 1, n: evil }]) {
      const response = await send("/v1/completions", body);
      expect(response.headers.get("set-cookie")).toBe(null);
      expect([...response.headers].flat().join("")).not.toContain("\n");
      await response.text();
    }
    await app.request(`/v1/models/${encodeURIComponent(evil)}`, { headers: bearer(KEY) });
    for (const line of lines) expect(JSON.stringify(line)).not.toMatch(/[\r\n]|set-cookie/);
    expect(JSON.stringify(lines)).toContain("model_not_found");
  });

  it("of every answer forbid to guess its type, to frame it and to load anything", async () => {
    for (const response of [
      await app.request("/health"),
      await app.request("/v1/models"),
      await app.request("/docs", { headers: bearer(KEY) }),
      await send("/v1/completions", { prompt: "a" }),
      await send("/v1/completions", { prompt: "a", stream: true }),
    ]) {
      const header = (name: string) => response.headers.get(name);
      expect(header("x-content-type-options")).toBe("nosniff");
      expect(header("x-frame-options")).toBe("DENY");
      expect(header("referrer-policy")).toBe("no-referrer");
      expect(header("content-security-policy")).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
      expect(header("access-control-allow-origin")).toBe(null);
      expect(header("x-powered-by")).toBe(null);
      await response.text();
    }
  });
});

describe("errors", () => {
  const secret = 'ENOENT: no such file "/home/me/secret/model.gguf"';

  it("of the inside are told to nobody; the log has them without paths and stacks", async () => {
    const lines: object[] = [];
    const failure = new Error(secret);
    const { send } = secured(
      { log: (line) => lines.push(line), onError: undefined },
      fakeModel({ failure, failAt: 1 }),
    );
    const error = { message: "The server had an error", type: "server_error", param: null, code: null };
    await expectError(await send("/v1/completions", { prompt: "a" }), 500, error);
    const stream = await (await send("/v1/completions", { prompt: "a", stream: true })).text();
    expect(framesOf(stream).at(-1)).toEqual({ error });
    const text = JSON.stringify(lines);
    expect(text).toContain('no such file \\"…/model.gguf\\"');
    for (const inside of ["/home", "secret", "security.test", "at "]) expect(text).not.toContain(inside);
  });

  it("of a loader are told where they are ours, without paths", async () => {
    const failing = (failure: Error) => ({ names: ["fake"], get: () => Promise.reject(failure) });
    const ours = secured({ models: failing(new RangeError("Cannot load model: /srv/a/b.gguf is no GGUF")) });
    await expectError(await ours.send("/v1/completions", {}), 500, {
      message: "Cannot load model: …/b.gguf is no GGUF",
      code: "model_load_failed",
    });
    const system = secured({ models: failing(new Error(secret)) });
    await expectError(await system.send("/v1/completions", {}), 500, {
      message: "The model cannot be loaded",
      code: "model_load_failed",
    });
  });
});

describe("time and steps", () => {
  it("504 for a request that takes too long, in one piece and as the end of a stream", async () => {
    const slow = () => fakeModel({ before: () => new Promise((resolve) => setTimeout(resolve, 20)) });
    const model = slow();
    const { send } = secured({ requestMs: 50 }, model);
    const late = { type: "server_error", param: null, code: "request_timeout" };
    const whole = await send("/v1/completions", { prompt: "a" });
    expect(whole.headers.get("x-should-retry")).toBe("false");
    await expectError(whole, 504, late);
    const frames = framesOf(await (await send("/v1/completions", { prompt: "a", stream: true })).text());
    expect(frames.at(-1)).toEqual({ error: { ...late, message: expect.stringContaining("50 ms") } });
    expect(frames.length).toBeGreaterThan(1);
    expect(model.live).toBe(0);
  });

  it("504 for one that waits too long for its turn", async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { send, app } = secured({ requestMs: 60, maxRunning: 1 }, fakeModel({ before: () => gate }));
    const first = send("/v1/completions", { prompt: "a" });
    await untilBusy({ app }, 1);
    await expectError(await send("/v1/completions", { prompt: "a" }), 504, { code: "request_timeout" });
    open();
    await expectError(await first, 504, { code: "request_timeout" });
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("400 for more tokens than the server decodes for one request", async () => {
    const { send, model } = secured({ maxTokens: 10 });
    const long = { type: "invalid_request_error", code: "invalid_value" };
    await expectError(await send("/v1/completions", { prompt: "a", max_tokens: 11 }), 400, {
      ...long,
      param: "max_tokens",
      message: '"max_tokens" must ask for at most 10 tokens in all on this server, got 11',
    });
    const messages = [{ role: "user", content: "a" }];
    const chat = { messages, max_completion_tokens: 4, n: 3 };
    await expectError(await send("/v1/chat/completions", chat), 400, {
      ...long,
      param: "max_completion_tokens",
      message:
        '"max_completion_tokens" must ask for at most 10 tokens in all on this server, got 3 texts x 4',
    });
    expect(model.asked).toEqual([]);
    // What nobody asked for is what there is.
    await send("/v1/chat/completions", { messages, n: 3 });
    expect(model.asked[0].options.maxTokens).toBe(3);
    expect((await send("/v1/completions", { prompt: "a", max_tokens: 10 })).status).toBe(200);
  });
});

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(500).fill(0x20));
    },
  });
}
