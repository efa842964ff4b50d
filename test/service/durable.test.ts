/** Sessions in Durable Objects, in workerd: they outlast the worker, and nobody but their key gets at them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { dryRun, ROOT, runWorker, type Upload } from "../worker/miniflare.ts";

const PROMPT = "Once upon a time there was a little dog";
/** Mirostat, so that a session has more to remember than its tokens. */
const SAMPLING = { temperature: 0.8, mirostat: 2, mirostat_tau: 4, seed: 7, ignore_eos: true };
const ALICE = { authorization: "Bearer alice-secret" };
const BOB = { authorization: "Bearer bob-secret" };
const CAROL = { authorization: "Bearer carol-secret" };
const DAVE = { authorization: "Bearer dave-secret" };
const API_KEYS = "alice:alice-secret,bob:bob-secret,carol:carol-secret,dave:dave-secret";

interface Answer {
  id: string;
  position: number;
  tokens: number[];
  accepted: number;
  seed: number;
  drafter: { kind: string } | null;
  stats: { drafted: number };
  error?: { code: string; message: string };
}

let uploads: Upload[];
let folder: string;
let text: number[];
const running: Miniflare[] = [];

beforeAll(async () => {
  uploads = await dryRun();
  folder = await mkdtemp(join(tmpdir(), "edgewise-sessions-"));
  text = [];
  const model = await loadModel(join(ROOT, "models/edgewise-stories-q8_0.gguf"));
  const mirostat = { version: 2, tau: 4 } as const;
  const options = { temperature: 0.8, mirostat, seed: 7, ignoreEos: true, maxTokens: 24 };
  for await (const { token } of model.generate(PROMPT, options)) text.push(token);
  model.close();
});
afterAll(async () => {
  await Promise.all(running.map((worker) => worker.dispose()));
  await rm(folder, { recursive: true });
});

async function start(bindings: Record<string, string | number> = {}) {
  const worker = runWorker(uploads, {
    durableObjects: {
      SESSIONS: { className: "SessionObject", useSQLite: true },
      SESSION_COUNTS: { className: "SessionCounter", useSQLite: true },
    },
    durableObjectsPersist: folder,
    bindings: { LOG: "none", API_KEYS, ...bindings },
  } as Parameters<typeof runWorker>[1]);
  running.push(worker);
  const url = await worker.ready;
  async function send(method: string, path: string, body?: object, headers: Record<string, string> = ALICE) {
    const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
    const response = await fetch(new URL(path, url), init);
    const retryAfter = response.headers.get("retry-after");
    return { status: response.status, retryAfter, answer: (await response.json()) as Answer };
  }
  const stop = async () => {
    running.splice(running.indexOf(worker), 1);
    await worker.dispose();
  };
  return { send, stop };
}

describe("a session in a Durable Object", () => {
  it("goes on with the same text after the worker was killed and started again", async () => {
    const first = await start();
    const { answer: session } = await first.send("POST", "/v1/sessions", { prompt: PROMPT, ...SAMPLING });
    expect(session.id).toMatch(/^[0-9a-f]{32}$/);
    const path = `/v1/sessions/${session.id}`;
    const one = await first.send("POST", `${path}/verify`, { draft: text.slice(0, 5) });
    expect(one.answer).toMatchObject({ accepted: 5, tokens: text.slice(0, 6) });
    const uploaded = await first.send("PUT", "/v1/drafter", { session: session.id, tokens: text });
    expect(uploaded.status).toBe(200);
    // Its answer was lost: whoever asks again does not know.
    const lost = await first.send("POST", `${path}/verify`, { draft: [1, 2], position: one.answer.position });
    await first.stop();

    const second = await start();
    const again = await second.send("POST", `${path}/verify`, {
      draft: [1, 2],
      position: one.answer.position,
    });
    expect(again).toEqual(lost);
    const { answer: info } = await second.send("GET", path);
    expect(info).toMatchObject({ seed: 7, drafter: { kind: "prediction" } });
    // By a name that the worker knows, where the session does not live.
    await second.send("PUT", "/v1/drafter", { name: "story", tokens: text, kind: "prediction" });
    const named = await second.send("PUT", `${path}/drafter`, { name: "story" });
    expect(named.answer).toMatchObject({ session: session.id, kind: "prediction", tokens: text.length });
    const rest = await second.send("POST", "/v1/verify", { session: session.id, max_tokens: 24 });
    const output = [...one.answer.tokens, ...again.answer.tokens, ...rest.answer.tokens];
    expect(output.slice(0, 24)).toEqual(text);
    expect(rest.answer.stats.drafted).toBeGreaterThan(0);

    expect((await second.send("DELETE", path)).status).toBe(200);
    expect((await second.send("GET", path)).answer.error!.code).toBe("session_not_found");
    await second.stop();
    const third = await start();
    expect((await third.send("GET", path)).status).toBe(404);
    await third.stop();
  });

  it("is the key's that made it, and pays by it", async () => {
    const { send, stop } = await start({ TOKENS_PER_MINUTE: 200 });
    const { answer } = await send("POST", "/v1/sessions", { prompt: PROMPT, ...SAMPLING });
    const path = `/v1/sessions/${answer.id}`;
    for (const [method, where, body] of [
      ["GET", path],
      ["DELETE", path],
      ["POST", `${path}/verify`, {}],
      ["POST", "/v1/verify", { session: answer.id }],
      ["PUT", `${path}/drafter`, { text: "a" }],
    ] as const) {
      expect((await send(method, where, body, BOB)).answer.error!.code).toBe("session_not_found");
      // Nobody says who they are to the object but the worker.
      const forged = { ...BOB, "x-edgewise-owner": "alice" };
      expect((await send(method, where, body, forged)).answer.error!.code).toBe("session_not_found");
      expect((await send(method, where, body, {})).status).toBe(401);
    }
    expect((await send("POST", `${path}/verify`, { max_tokens: 210 })).answer.tokens.length).toBe(210);
    expect((await send("GET", path)).status).toBe(429);
    expect((await send("GET", path, undefined, BOB)).status).toBe(404);
    await stop();
  });

  it("is one of many at the same time, none mixed with another", async () => {
    const { send, stop } = await start();
    const made = await Promise.all(
      Array.from({ length: 6 }, () => send("POST", "/v1/sessions", { prompt: PROMPT, ...SAMPLING })),
    );
    const outputs = await Promise.all(
      made.map(async ({ answer }, i) => {
        const output: number[] = [];
        while (output.length < 24) {
          const draft = text.slice(output.length, output.length + i);
          const { answer: verdict } = await send("POST", `/v1/sessions/${answer.id}/verify`, { draft });
          output.push(...verdict.tokens);
        }
        return output.slice(0, 24);
      }),
    );
    for (const output of outputs) expect(output).toEqual(text);
    await stop();
  });

  it("is one of so many of its key, wherever they live", async () => {
    const { send, stop } = await start({ MAX_SESSIONS_PER_KEY: 3, SESSION_IDLE_MS: 60_000 });
    const create = (headers = CAROL) => send("POST", "/v1/sessions", { prompt: PROMPT }, headers);
    // All at once: who is late is refused, and nobody else.
    const made = await Promise.all(Array.from({ length: 5 }, () => create()));
    const ids = made.flatMap(({ answer }) => answer.id ?? []);
    expect(ids.length).toBe(3);
    const refused = made.filter(({ status }) => status === 429);
    expect(refused.map(({ answer }) => answer.error!.code)).toEqual(Array(2).fill("too_many_sessions"));
    for (const { retryAfter } of refused) {
      expect(Number(retryAfter)).toBeGreaterThan(1);
      expect(Number(retryAfter)).toBeLessThanOrEqual(120);
    }
    expect((await create(BOB)).status).toBe(200);
    // What was not made does not count, nor what is deleted, and by nobody but its key.
    expect((await send("POST", "/v1/sessions", { prompt: 5 }, BOB)).status).toBe(400);
    expect((await create(BOB)).status).toBe(200);
    expect((await create(BOB)).status).toBe(200);
    expect((await send("DELETE", `/v1/sessions/${ids[0]}`, undefined, BOB)).status).toBe(404);
    expect((await create()).status).toBe(429);
    expect((await send("DELETE", `/v1/sessions/${ids[0]}`, undefined, CAROL)).status).toBe(200);
    await expect.poll(async () => (await create()).status, { timeout: 10_000 }).toBe(200);
    expect((await create()).status).toBe(429);
    await stop();
  });

  it("does not count any more when it was forgotten", async () => {
    const { send, stop } = await start({ MAX_SESSIONS_PER_KEY: 1, SESSION_IDLE_MS: 1500 });
    const create = async () => (await send("POST", "/v1/sessions", { prompt: PROMPT }, DAVE)).status;
    expect(await create()).toBe(200);
    expect(await create()).toBe(429);
    await expect.poll(create, { timeout: 10_000 }).toBe(200);
    await stop();
  });

  it("is forgotten when nobody asks for it", async () => {
    const { send, stop } = await start({ SESSION_IDLE_MS: 300 });
    const { answer } = await send("POST", "/v1/sessions", { prompt: PROMPT });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    const { answer: gone } = await send("GET", `/v1/sessions/${answer.id}`);
    expect(gone.error).toMatchObject({ code: "session_not_found" });
    expect((await send("GET", `/v1/sessions/${"f".repeat(32)}`)).answer).toEqual(gone);
    await stop();
  });
});
