/** Answers that no honest server gives: each ends in a clear error, soon, and without the key. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RemoteClient } from "../../../src/engine/remote/http.ts";
import { connectModel, type RemoteModelOptions } from "../../../src/engine/remote/model.ts";
import { RemoteError, UnsupportedError } from "../../../src/errors.ts";
import { loadModel, type Model } from "../../../src/node.ts";
import { createRandom } from "../../support/random.ts";
import { type FakeServer, llamaCppFake, vllmFake } from "../../support/remote-servers.ts";

const KEY = "sk-very-secret-0123456789";
const ADDRESS = "http://rows.test";

let model: Model;
beforeAll(async () => {
  model = await loadModel(new URL("../../../models/edgewise-stories-q4_0.gguf", import.meta.url));
});
afterAll(() => {
  model?.close();
});

const noWait = async () => {};
const connect = (server: Pick<FakeServer, "fetch">, options: Partial<RemoteModelOptions> = {}) =>
  connectModel(ADDRESS, {
    fetch: server.fetch,
    like: model,
    apiKey: KEY,
    wait: noWait,
    known: 8,
    ...options,
  });

async function rowOf(remote: Model, rows = 1) {
  return await remote.open().forward([1, 2, 3], rows);
}

/** A client of a server that gives these answers, one after the other; the last one stays. */
function client(answers: readonly (() => Response | Promise<Response>)[], options = {}) {
  let count = 0;
  const asked: RequestInit[] = [];
  const waits: number[] = [];
  const remote = new RemoteClient("the server", ADDRESS, {
    apiKey: KEY,
    fetch: async (_, init) => {
      asked.push(init);
      return await answers[Math.min(count++, answers.length - 1)]();
    },
    wait: async (ms) => {
      waits.push(ms);
    },
    ...options,
  });
  return { get: (bounds = {}) => remote.json("/x", {}, { maxBytes: 1000, ...bounds }), asked, waits };
}

const ok = () => Response.json({ fine: true });
const busy =
  (status: number, headers = {}) =>
  () =>
    new Response("busy", { status, headers });

describe("requests", () => {
  it("are tried again while a server is busy, later each time or when it says", async () => {
    const waiting = client([busy(429, { "retry-after": "2" }), busy(503), busy(502), ok]);
    expect(await waiting.get()).toEqual({ fine: true });
    expect(waiting.waits).toEqual([2000, 500, 1000]);
    const never = client([busy(503)], { retries: 2 });
    await expect(never.get()).rejects.toThrow(
      "Cannot get /x of the server: it answers with status 503; tried 3 times",
    );
    expect(never.asked).toHaveLength(3);
    const long = client([busy(429, { "retry-after": "3600" }), ok]);
    await expect(long.get()).rejects.toThrow("tried 1 times");
    const lost = client([() => Promise.reject(new TypeError(`failed ${KEY}`)), ok]);
    expect(await lost.get()).toEqual({ fine: true });
  });

  it("send the key in its header alone, follow nobody, and tell nobody", async () => {
    const told = client([
      () => Response.json({ error: { message: `Wrong key ${KEY}\u0007\n!` } }, { status: 401 }),
    ]);
    const error = await told.get().then(
      () => new Error("answered"),
      (thrown: Error) => thrown,
    );
    expect(error).toBeInstanceOf(RemoteError);
    expect(error.message).toContain("refuses with status 401: Wrong key *** !");
    expect(error.message).not.toContain(KEY);
    const [init] = told.asked;
    expect(new Headers(init.headers).get("authorization")).toBe(`Bearer ${KEY}`);
    expect(init.redirect).toBe("manual");
    const moved = client([
      () => new Response(null, { status: 302, headers: { location: "http://evil.test" } }),
    ]);
    await expect(moved.get()).rejects.toThrow("it refuses with status 302");
    expect(() => client([ok], { apiKey: "a\nb" })).toThrow('"apiKey" must be of visible ASCII characters');
  });

  it("end at the ceiling, at the timeout, and when they are given up", async () => {
    let pulled = 0;
    const endless = () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            pulled++;
            controller.enqueue(new Uint8Array(600));
          },
        }),
      );
    await expect(client([endless]).get()).rejects.toThrow("its answer is longer than 1,000 bytes");
    expect(pulled).toBeLessThan(6);
    const silent = (init: RequestInit) =>
      new Promise<Response>((_, reject) => {
        init.signal?.addEventListener("abort", () => reject(init.signal?.reason));
      });
    const fetch = (_: string, init: RequestInit) => silent(init);
    const slow = client([], { fetch, timeoutMs: 5, retries: 1 });
    await expect(slow.get()).rejects.toThrow("it gives no answer within 5 ms; tried 2 times");
    const controller = new AbortController();
    const left = client([], { fetch }).get({ signal: controller.signal });
    controller.abort();
    await expect(left).rejects.toMatchObject({ name: "AbortError" });
  });

  it.each([
    ["nothing", ""],
    ["no JSON", "<html>"],
    ["half of it", '{"a":'],
    ["bytes that are no text", new Uint8Array([0xff, 0xfe])],
    ["depth without end", "[".repeat(900)],
  ])("are not answered by %s", async (_, body) => {
    await expect(client([() => new Response(body)]).get()).rejects.toThrow("its answer is not JSON");
  });
});

describe("a server", () => {
  it.each([
    ["ftp://x", {}, '"url" must be an http'],
    ["nonsense", {}, '"url" must be an http'],
    [`http://user:${KEY}@x`, {}, '"url" must have no user, password or query'],
    ["http://x/?key=1", {}, '"url" must have no user'],
    [ADDRESS, { kind: "tgi" }, '"kind" must be one of'],
    [ADDRESS, { known: 0 }, '"known" must be an integer'],
    [ADDRESS, { encoding: "vq" }, '"encoding" must be one of'],
    [ADDRESS, { speech: "signs" }, '"speech" must be one of'],
    [ADDRESS, { contextLength: 4096 }, '"contextLength" must be an integer from 1 to 512'],
    [ADDRESS, { model: "other" }, '"model" must be one that'],
    [ADDRESS, { timeoutMs: 0 }, '"timeoutMs"'],
    [ADDRESS, { retries: 11 }, '"retries"'],
    [ADDRESS, { fetch: null }, '"fetch" must be a function'],
    [ADDRESS, { like: null }, '"like" must be a model'],
  ])("is refused: %s with %j", async (url, options, message) => {
    const server = llamaCppFake(model);
    const given = { fetch: server.fetch, like: model, ...options } as unknown as RemoteModelOptions;
    const error: Error = await connectModel(url, given).then(
      () => new Error("connected"),
      (thrown) => thrown,
    );
    expect(error.message).toContain(message);
    expect(error.message).not.toContain(KEY);
  });

  it("of other tokens is read by text, never by id", async () => {
    const fake = llamaCppFake(model);
    const other = async (url: string, init: RequestInit) =>
      url.endsWith("/tokenize") ? Response.json({ tokens: [1, 2, 3] }) : await fake.fetch(url, init);
    expect(await connect({ fetch: other })).toMatchObject({ speech: "text" });
    await expect(connect({ fetch: other }, { speech: "ids" })).rejects.toThrow(UnsupportedError);
    await expect(connect({ fetch: other }, { kind: "edgewise" })).rejects.toThrow("its tokens are not those");
  });
});

/** What has any shape, for tests to break. */
// biome-ignore lint/suspicious/noExplicitAny: an answer is broken in all ways.
type Anything = any;

const LLAMA: readonly (readonly [string, (row: Anything, answer: Anything) => void, string])[] = [
  ["a token that is none", (row) => (row.top_logprobs[0].id = 1e9), "top_logprobs[0].id"],
  ["a token twice", (row) => (row.top_logprobs[1].id = row.top_logprobs[0].id), "named once each"],
  ["a log-probability above 0", (row) => (row.top_logprobs[0].logprob = 1), "top_logprobs[0].logprob"],
  ["one that is no number", (row) => (row.top_logprobs[0].logprob = null), "top_logprobs[0].logprob"],
  [
    "more than all of the probability",
    (row) => {
      for (const one of row.top_logprobs) one.logprob = -0.1;
    },
    "1 together",
  ],
  [
    "no chance for any",
    (row) => {
      for (const one of row.top_logprobs) one.logprob = -1e30;
    },
    "has a chance",
  ],
  ["more tokens than asked", (row) => (row.top_logprobs = Array(99).fill(row.top_logprobs[0])), "at most 9"],
  ["no tokens", (_, answer) => (answer.completion_probabilities = []), "completion_probabilities"],
  ["a prompt cut short", (_, answer) => (answer.truncated = true), '"truncated" must be false'],
  ["another prompt", (_, answer) => (answer.tokens_evaluated = 2), "tokens_evaluated"],
];

describe("rows of llama.cpp's server", () => {
  it.each(LLAMA)("with %s are refused", async (_, change, message) => {
    const remote = await connect(llamaCppFake(model, change));
    const error: Error = await rowOf(remote).then(
      () => new Error("taken"),
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(RemoteError);
    expect(error.message).toContain(message);
  });
});

describe("rows of vLLM", () => {
  it.each([
    [
      "a name that is no id",
      (choice: Anything) => (choice.logprobs.top_logprobs = [{ "token_id:x": -1 }]),
      "token_id:0",
    ],
    [
      "an id that is no token",
      (choice: Anything) => (choice.logprobs.top_logprobs = [{ "token_id:99999999": -1 }]),
      "below",
    ],
    ["no log-probabilities", (choice: Anything) => (choice.logprobs = null), "logprobs"],
    ["an index twice", (choice: Anything) => (choice.index = 7), "choices"],
    ["choices that nobody asked for", (_: Anything, answer: Anything) => answer.choices.push({}), "choices"],
    ["a prompt's rows cut short", (choice: Anything) => choice.prompt_logprobs?.pop(), "prompt_logprobs"],
  ])("with %s are refused", async (_, change, message) => {
    const remote = await connect(vllmFake(model, { change }));
    const error: Error = await rowOf(remote, 3).then(
      () => new Error("taken"),
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(RemoteError);
    expect(error.message).toContain(message);
  });

  it("leave the session as it was, when a call fails", async () => {
    let isBroken = false;
    const change = (choice: Anything) => {
      if (isBroken) choice.logprobs = {};
    };
    const remote = await connect(vllmFake(model, { change }));
    const session = remote.open();
    await session.forward([1, 2]);
    isBroken = true;
    await expect(session.forward([3])).rejects.toThrow(RemoteError);
    expect(session.length).toBe(2);
    isBroken = false;
    const again = await session.forward([3]);
    expect(Array.from(again.row(0))).toEqual(Array.from((await rowOf(remote)).row(0)));
  });
});

/** Any JSON, of any kind that an answer might have in a place. */
function anything(random: () => number): unknown {
  const kinds: (() => unknown)[] = [
    () => null,
    () => (random() - 0.5) * 10 ** Math.floor(random() * 40),
    () => "token_id:1",
    () => [],
    () => ({}),
    () => true,
    () => [[1], { logprob: -1 }],
    () => Math.floor(random() * 5),
  ];
  return kinds[Math.floor(random() * kinds.length)]();
}

/** Changes one value, anywhere in a structure. */
function damage(value: Anything, random: () => number): void {
  const keys = Object.keys(value);
  if (keys.length === 0) return;
  const key = keys[Math.floor(random() * keys.length)];
  const inner = value[key];
  if (typeof inner === "object" && inner !== null && random() < 0.8) damage(inner, random);
  else if (random() < 0.2) delete value[key];
  else value[key] = anything(random);
}

describe("damaged answers", () => {
  it.each(["llama.cpp", "vLLM"])("of %s are rows that make sense, or refused", async (kind) => {
    const { uniform } = createRandom(7);
    const fake = kind === "vLLM" ? vllmFake(model) : llamaCppFake(model);
    const answers = new Map<string, string>();
    let refused = 0;
    let taken = 0;
    const fetch = async (url: string, init: RequestInit) => {
      const key = `${url} ${init.body}`;
      if (!answers.has(key)) answers.set(key, await (await fake.fetch(url, init)).text());
      const json = JSON.parse(answers.get(key)!);
      damage(json, uniform);
      return Response.json(json);
    };
    const whole = await connect(fake);
    for (let i = 0; i < 300; i++) {
      const rows = i % 3 === 0 ? 1 : 3;
      try {
        const remote = i % 4 === 0 ? await connect({ fetch }) : await connectDamaged(fetch);
        const answer = await rowOf(remote, rows);
        for (let index = 0; index < rows; index++) {
          const row = Array.from(answer.row(index));
          expect(row).toHaveLength(whole.vocab);
          const total = row.reduce((sum, z) => sum + Math.exp(z), 0);
          expect(total).toBeGreaterThan(0);
          expect(total).toBeLessThan(1.002);
        }
        taken++;
      } catch (error) {
        // A context of a few tokens is possible; one that is too short for the text is said so.
        const isClear =
          error instanceof RemoteError || error instanceof UnsupportedError || error instanceof RangeError;
        expect(isClear, String(error)).toBe(true);
        refused++;
      }
    }
    expect(Math.min(refused, taken)).toBeGreaterThan(50);

    /** Connected well, and damaged afterwards. */
    async function connectDamaged(damaged: FakeServer["fetch"]): Promise<Model> {
      let isConnected = false;
      const remote = await connect({
        fetch: async (url, init) => (isConnected ? await damaged(url, init) : await fake.fetch(url, init)),
      });
      isConnected = true;
      return remote;
    }
  });
});
