/** `/v1/sessions` over a real model: whatever is drafted, lost, repeated or taken back, the text is that of plain decoding. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Model } from "../../src/engine/model.ts";
import { BitReader, BitWriter } from "../../src/format/wire/bits.ts";
import { decodeRow, decodeRows, ROWS_MEDIA_TYPE, rowFromJson } from "../../src/format/wire/index.ts";
import { loadModel } from "../../src/node.ts";
import { type AppOptions, createApp } from "../../src/service/app.ts";
import { Corpora } from "../../src/service/corpora.ts";
import { DRAFT_MEDIA_TYPE } from "../../src/service/draft-messages.ts";

const FILE = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));
const PROMPT = "Once upon a time there was a little dog";
const SAMPLING = { temperature: 0.8, top_p: 0.95, repetition_penalty: 1.1, seed: 7 };

interface SessionInfo {
  id: string;
  position: number;
  prompt_length: number;
  capacity: number;
  seed: number;
  tokens: number[];
  drafter: object | null;
  expires_at: number;
  rows?: unknown[];
  error?: { code: string; param: string | null; message: string };
}

interface Verdict {
  accepted: number;
  path: number[];
  tokens: number[];
  logprobs: number[];
  finish_reason: string | null;
  end_token: number | null;
  position: number;
  stats: { drafted: number; tested: number; accepted: number };
  pending: number | null;
  error?: { code: string; param: string | null; message: string };
}

let model: Model;
const errors: unknown[] = [];
beforeAll(async () => {
  model = await loadModel(FILE);
});
afterAll(() => model?.close());

function open(options: Partial<AppOptions> = {}) {
  const app = createApp({
    models: { names: ["stories"], get: async () => model },
    onError: (error) => errors.push(error),
    log: () => {},
    ...options,
  });
  async function send<T>(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
    const response = await app.request(path, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    expect(errors).toEqual([]);
    return { status: response.status, answer: (await response.json()) as T };
  }
  const create = async (body: object = {}) =>
    (await send<SessionInfo>("POST", "/v1/sessions", { prompt: PROMPT, ...SAMPLING, ...body })).answer;
  const verify = async (id: string, body: object = {}) =>
    (await send<Verdict>("POST", `/v1/sessions/${id}/verify`, body)).answer;
  return { app, send, create, verify };
}

/** A row that is sure of a token. */
function rowOf(token: number) {
  return {
    encoding: "ids",
    vocab: model.vocab,
    data: Buffer.from([1, (token & 127) | 128, token >> 7]).toString("base64"),
  };
}

/** Plain decoding, without a service. */
async function plain(count: number, seed = SAMPLING.seed): Promise<number[]> {
  const options = {
    temperature: 0.8,
    topP: 0.95,
    repetitionPenalty: 1.1,
    seed,
    maxTokens: count,
    ignoreEos: true,
  };
  const tokens: number[] = [];
  for await (const { token } of model.generate(PROMPT, options)) tokens.push(token);
  return tokens;
}

describe("a session", () => {
  it("goes on as plain decoding does, whatever the drafts are", async () => {
    const { create, verify } = open();
    const text = await plain(40);
    const { id, position, prompt_length, tokens: prompt } = await create({ ignore_eos: true });
    expect(prompt).toEqual(model.tokenizer.encode(PROMPT));
    expect([position, prompt_length]).toEqual([prompt.length, prompt.length]);
    const output: number[] = [];
    for (let round = 0; output.length < 40; round++) {
      const right = text.slice(output.length, output.length + (round % 5));
      const draft = round % 3 === 0 ? [...right, 17] : right;
      const verdict = await verify(id, { draft });
      expect(verdict.accepted).toBeGreaterThanOrEqual(Math.min(right.length, text.length - output.length));
      expect(verdict.tokens.length).toBe(verdict.accepted + 1);
      output.push(...verdict.tokens);
      expect(verdict.position).toBe(position + output.length);
    }
    expect(output.slice(0, 40)).toEqual(text);
  });

  it("takes trees, and keeps the path that is right", async () => {
    const { create, verify } = open();
    const text = await plain(8);
    const { id } = await create({ ignore_eos: true });
    const draft = [5, text[0], 6, text[1], 7, text[2]];
    const first = await verify(id, { draft, parents: [-1, -1, 1, 1, 3, 3] });
    expect(first).toMatchObject({ path: [1, 3, 5], tokens: text.slice(0, 4) });
    expect((await verify(id, { draft: text.slice(4, 7) })).tokens).toEqual(text.slice(4));
  });

  it("answers the same when it is asked again", async () => {
    const { create, verify } = open();
    const { id, position } = await create();
    const text = await plain(6);
    const draft = text.slice(0, 3);
    const first = await verify(id, { draft, position });
    await verify(id, { draft: [1, 2] });
    expect(await verify(id, { draft, position })).toEqual(first);
    const ahead = await verify(id, { draft, position: first.position + 1 });
    expect(ahead.error).toMatchObject({ code: "session_behind", param: "position" });
    expect((await verify(id, { draft, position: position - 1 })).error).toMatchObject({ param: "position" });
  });

  it("is the same without its cache", async () => {
    const { create, verify } = open({ maxSessionCaches: 1 });
    const text = await plain(12);
    const a = await create({ ignore_eos: true });
    const b = await create({ ignore_eos: true, seed: 99 });
    const other = await plain(12, 99);
    const outputs: [number[], number[]] = [[], []];
    // Each takes the memory of the other.
    for (let round = 0; round < 4; round++) {
      for (const [i, { id }] of [a, b].entries()) {
        const draft = (i === 0 ? text : other).slice(outputs[i].length, outputs[i].length + 2);
        outputs[i].push(...(await verify(id, { draft })).tokens);
      }
    }
    expect(outputs).toEqual([text, other]);
  });

  it("serves requests at the same time one after the other", async () => {
    const { create, verify } = open();
    const { id, position } = await create({ ignore_eos: true });
    const verdicts = await Promise.all(Array.from({ length: 4 }, () => verify(id)));
    expect(verdicts.map((verdict) => verdict.position - position).sort()).toEqual([1, 2, 3, 4]);
    const tokens = verdicts.sort((x, y) => x.position - y.position).flatMap((verdict) => verdict.tokens);
    expect(tokens).toEqual(await plain(4));
  });

  it("ends where the text does, and where it is full", async () => {
    const { create, verify, send } = open();
    const prompt = "The end.";
    const whole = await send<{ choices: { finish_reason: string; text: string }[] }>(
      "POST",
      "/v1/completions",
      {
        prompt,
        temperature: 0,
        max_tokens: 230,
      },
    );
    expect(whole.answer.choices[0].finish_reason).toBe("stop");
    const { id } = await create({ prompt, temperature: 0, top_p: 1, repetition_penalty: 1 });
    const verdict = await verify(id, { max_tokens: 230 });
    expect(verdict.finish_reason).toBe("stop");
    expect(model.tokenizer.endTokens.has(verdict.end_token!)).toBe(true);
    expect(model.tokenizer.decode(verdict.tokens)).toBe(whole.answer.choices[0].text);
    expect(await verify(id)).toMatchObject({ tokens: [], finish_reason: "stop" });

    const full = await create({ capacity: model.tokenizer.encode(PROMPT).length + 3, ignore_eos: true });
    const text = await plain(3);
    expect(await verify(full.id, { draft: [...text, 1, 2, 3] })).toMatchObject({
      tokens: text,
      finish_reason: "length",
    });
    expect(await verify(full.id, { draft: [1] })).toMatchObject({ tokens: [], finish_reason: "length" });
  });

  it("holds the law where a verifier compares laws", async () => {
    const { create, verify } = open();
    const { id, position } = await create({ temperature: 0, top_p: 1, repetition_penalty: 1 });
    const greedy = await verify(id, { max_tokens: 5 });
    // A law of one token each is greedy decoding, for every lossless verifier.
    for (const verifier of ["token", "block", "target-only", "relaxed", "typical"]) {
      const body = { draft: greedy.tokens.slice(0, 4), position, verifier };
      expect([verifier, (await verify(id, body)).tokens]).toEqual([verifier, greedy.tokens]);
    }
  });

  it("leaves a correction to whoever has the draft's rows, and takes it as an appended token", async () => {
    const { create, verify, send } = open();
    const { id, position } = await create({ temperature: 0, top_p: 1, repetition_penalty: 1 });
    const [right] = (await verify(id)).tokens;
    const wrong = (right + 1) % model.vocab;
    const body = { draft: [wrong], scalars: [0.5], verifier: "token", position };
    const { answer } = await send<Verdict & { probs: number[] }>("POST", `/v1/sessions/${id}/verify`, body);
    expect(answer).toMatchObject({ accepted: 0, tokens: [], pending: 0, position });
    expect(answer.probs.indexOf(1)).toBe(right);
    const appended = await send<SessionInfo>("POST", `/v1/sessions/${id}/append`, {
      tokens: [right],
      position,
    });
    expect(appended.answer.position).toBe(position + 1);
    const whole = { ...body, scalars: null, rows: { draft: [rowOf(wrong)] } };
    expect(await verify(id, whole)).toMatchObject({ accepted: 0, tokens: [right], pending: null });
  });

  it("appends, tells rows, and goes back", async () => {
    const { create, send, verify } = open();
    const { id, position, tokens } = await create({ capacity: 60 });
    const more = model.tokenizer.encode(" and a big cat", { special: false });
    const session = model.open();
    const expected = await session.forward([...tokens, ...more], 2);
    const path = `/v1/sessions/${id}/append`;
    const { answer } = await send<SessionInfo>("POST", path, { tokens: more, rows: 2, encoding: "f32" });
    expect(answer.position).toBe(position + more.length);
    for (const [i, row] of answer.rows!.entries()) {
      const { shape: _, ...json } = row as { shape: number[] };
      expect(decodeRow(rowFromJson(json))).toEqual(expected.row(i));
    }
    session.close();
    const before = await verify(id);
    const back = await send<SessionInfo>("POST", `/v1/sessions/${id}/truncate`, { length: answer.position });
    expect(back.answer.position).toBe(answer.position);
    expect((await verify(id)).tokens).toEqual(before.tokens);
    // Again from the prompt's end, as if nothing had been appended.
    await send("POST", `/v1/sessions/${id}/truncate`, { length: position });
    expect((await verify(id)).tokens).toEqual(await plain(1));
    const { answer: info } = await send<SessionInfo>("GET", `/v1/sessions/${id}`);
    expect(info.tokens).toEqual([...tokens, ...(await plain(1))]);
    for (const body of [{ tokens: new Array(99).fill(1) }, { tokens: [-1] }, { rows: 500 }, { rows: 99 }]) {
      expect((await send("POST", path, body)).status).toBe(400);
    }
    expect((await send("POST", `/v1/sessions/${id}/truncate`, { length: 99 })).status).toBe(400);
    expect((await send("POST", `/v1/sessions/${id}/truncate`, { length: 0 })).status).toBe(400);
  });

  it("answers with rows as a message", async () => {
    const { app, create } = open();
    const { id } = await create();
    const response = await app.request(`/v1/sessions/${id}/append`, {
      method: "POST",
      headers: { accept: ROWS_MEDIA_TYPE },
      body: JSON.stringify({ tokens: [9], rows: 3, encoding: "int8" }),
    });
    const message = decodeRows(new Uint8Array(await response.arrayBuffer()));
    expect([message.count, JSON.parse(message.note!).rows]).toEqual([
      3,
      [{ row: 0 }, { row: 1 }, { row: 2 }],
    ]);
  });

  it("may be continued from tokens that another server gave", async () => {
    const { create, verify } = open();
    const text = await plain(10);
    const prompt = model.tokenizer.encode(PROMPT);
    const body = { prompt: null, tokens: [...prompt, ...text.slice(0, 6)], prompt_length: prompt.length };
    const { id } = await create({ ...body, ignore_eos: true });
    expect((await verify(id, { max_tokens: 4 })).tokens).toEqual(text.slice(6));
  });

  it("is gone when it is deleted", async () => {
    const { create, send, verify } = open();
    const { id } = await create();
    await verify(id);
    expect((await send("DELETE", `/v1/sessions/${id}`)).answer).toMatchObject({ deleted: true });
    expect((await send<Verdict>("GET", `/v1/sessions/${id}`)).answer.error).toMatchObject({
      code: "session_not_found",
    });
  });
});

describe("a message of ids", () => {
  const write = (...numbers: number[]) => {
    const writer = new BitWriter();
    for (const number of numbers) writer.varint(number);
    return writer.bytes as Uint8Array<ArrayBuffer>;
  };

  it("takes about two bytes per token, both ways", async () => {
    const { app, create } = open();
    const { id, position } = await create({ ignore_eos: true });
    const text = await plain(12);
    const ask = async (at: number, draft: readonly number[]) => {
      const body = write(at, ...draft);
      const headers = { "content-type": DRAFT_MEDIA_TYPE };
      const response = await app.request(`/v1/sessions/${id}/verify`, { method: "POST", headers, body });
      expect(response.status).toBe(200);
      const bytes = new Uint8Array(await response.arrayBuffer());
      const reader = new BitReader(bytes, "answer");
      const head = reader.varint("accepted", 0, 399);
      const ids: number[] = [];
      while (reader.left > 0) ids.push(reader.varint("id", 0, 4095));
      return { finish: head & 3, accepted: head >> 2, ids, up: body.length, down: bytes.length };
    };
    const first = await ask(position, [...text.slice(0, 5), 7]);
    expect(first).toMatchObject({ finish: 0, accepted: 5, ids: [text[5]] });
    expect(first.up).toBeLessThanOrEqual(1 + 2 * 6);
    expect(first.down).toBeLessThanOrEqual(1 + 2);
    expect(await ask(position, [...text.slice(0, 5), 7])).toEqual(first);
    const second = await ask(position + 6, text.slice(6, 11));
    expect(second).toMatchObject({ accepted: 5, ids: [text[11]] });
  });

  it.each([
    [Uint8Array.of(), 'draft" must go on'],
    [Uint8Array.of(20, 200), 'draft" must go on'],
    [Uint8Array.of(20, 128, 0), 'draft" must have id 0 as a LEB128 number'],
    [write(20, ...new Array<number>(257).fill(1)), 'draft" must have a draft from 1 to 256'],
    [write(20, 5000), "draft[0]"],
    [write(4000), '"position" is 4000'],
    [write(0), 'draft" must have a position from 1'],
  ])("is refused where it is wrong, case %#", async (body, message) => {
    const { app, create } = open();
    const { id } = await create();
    const headers = { "content-type": DRAFT_MEDIA_TYPE };
    const response = await app.request(`/v1/sessions/${id}/verify`, { method: "POST", headers, body });
    expect([400, 409]).toContain(response.status);
    expect(((await response.json()) as Verdict).error!.message).toContain(message);
  });
});

describe("a session's own drafter", () => {
  it("drafts from what was uploaded once, and changes no text", async () => {
    const { create, verify, send } = open();
    const text = await plain(30);
    const rounds = { plain: 0, prediction: 0, corpus: 0 };
    for (const kind of ["plain", "prediction", "corpus"] as const) {
      const { id } = await create({ ignore_eos: true });
      if (kind !== "plain") {
        const tokens = kind === "corpus" ? [...model.tokenizer.encode(PROMPT), ...text] : text;
        const uploaded = await send("PUT", "/v1/drafter", { session: id, kind, tokens });
        expect(uploaded.answer).toEqual({ object: "drafter", session: id, kind, tokens: tokens.length });
      }
      const output: number[] = [];
      while (output.length < 30) {
        const { tokens, stats } = await verify(id);
        output.push(...tokens);
        rounds[kind]++;
        if (kind === "plain") expect(stats.drafted).toBe(0);
      }
      expect(output.slice(0, 30)).toEqual(text);
    }
    expect(rounds.plain).toBe(30);
    expect(rounds.prediction).toBeLessThan(8);
    expect(rounds.corpus).toBeLessThan(10);
  });

  it("goes on for several rounds in one request, after a client's draft", async () => {
    const { create, verify, send } = open();
    const text = await plain(30);
    const { id } = await create({ ignore_eos: true });
    await send("PUT", `/v1/sessions/${id}/drafter`, { text: model.tokenizer.decode(text) });
    const verdict = await verify(id, { draft: text.slice(0, 3), max_tokens: 30 });
    expect(verdict).toMatchObject({ accepted: 3, tokens: text });
    expect(verdict.logprobs.length).toBe(30);
    // Rounds back, with a drafter that was further.
    const position = verdict.position - 20;
    expect((await verify(id, { position, max_tokens: 20 })).tokens).toEqual(text.slice(10));
    await send("PUT", "/v1/drafter", { session: id, tokens: [] });
    expect((await send<SessionInfo>("GET", `/v1/sessions/${id}`)).answer.drafter).toBe(null);
  });

  it.each<[object, string]>([
    [{ tokens: [1] }, "session"],
    [{ session: "SESSION" }, "text"],
    [{ session: "SESSION", text: "a", tokens: [1] }, "text"],
    [{ session: "SESSION", tokens: [99_999] }, "tokens[0]"],
    [{ session: "SESSION", text: "a", kind: "none" }, "kind"],
  ])("is refused where it is wrong, case %#", async (body, param) => {
    const { create, send } = open();
    const { id } = await create();
    const given = JSON.parse(JSON.stringify(body).replace("SESSION", id));
    const { status, answer } = await send<Verdict>("PUT", "/v1/drafter", given);
    expect([status, answer.error!.param]).toEqual([400, param]);
  });
});

describe("access", () => {
  const keys = [
    { name: "alice", key: "alice-secret" },
    { name: "bob", key: "bob-secret" },
  ];
  const as = (name: string) => ({ authorization: `Bearer ${name}-secret` });

  it("is the key's that made it: for others there is no such session", async () => {
    const { send } = open({ keys });
    const { answer } = await send<SessionInfo>("POST", "/v1/sessions", { prompt: PROMPT }, as("alice"));
    expect(answer.id).toMatch(/^[0-9a-f]{32}$/);
    const requests: [string, string, object?][] = [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/verify", {}],
      ["POST", "/append", { tokens: [1] }],
      ["POST", "/truncate", { length: 1 }],
      ["PUT", "/drafter", { text: "a" }],
    ];
    for (const [method, path, body] of requests) {
      const url = `/v1/sessions/${answer.id}${path}`;
      const missing = `/v1/sessions/${"0".repeat(32)}${path}`;
      const others = await send<SessionInfo>(method, url, body, as("bob"));
      expect([path, others.status]).toEqual([path, 404]);
      expect(others.answer).toEqual((await send<SessionInfo>(method, missing, body, as("bob"))).answer);
      expect((await send(method, url, body)).status).toBe(401);
    }
    expect((await send("GET", `/v1/sessions/${answer.id}`, undefined, as("alice"))).status).toBe(200);
  });

  it("is bounded: in number, of a key, in tokens, in time", async () => {
    const { send } = open({ keys, maxSessions: 3, maxSessionsPerKey: 2 });
    const body = { prompt: PROMPT };
    const post = async (name: string) =>
      (await send<SessionInfo>("POST", "/v1/sessions", body, as(name))).answer;
    const first = await post("alice");
    await post("alice");
    expect((await post("alice")).error).toMatchObject({ code: "too_many_sessions" });
    await post("bob");
    expect((await post("bob")).error!.message).toContain("The server has 3 sessions");
    await send("DELETE", `/v1/sessions/${first.id}`, undefined, as("alice"));
    expect((await post("bob")).error).toBeUndefined();

    const brief = open({ sessionIdleMs: 30 });
    const { id } = await brief.create();
    await brief.verify(id);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect((await brief.verify(id)).error).toMatchObject({ code: "session_not_found" });
  });

  it("pays for tokens by its key", async () => {
    const { send } = open({ keys: [{ ...keys[0], tokensPerMinute: 10 }] });
    const { answer } = await send<SessionInfo>("POST", "/v1/sessions", { prompt: PROMPT }, as("alice"));
    const path = `/v1/sessions/${answer.id}/verify`;
    await send("POST", path, { max_tokens: 20 }, as("alice"));
    expect((await send("POST", path, {}, as("alice"))).status).toBe(429);
  });
});

describe("drafters that a key has by name", () => {
  const keys = ["alice:key-of-alice", "bob:key-of-bob"];
  const as = (name: string) => ({ authorization: `Bearer key-of-${name}` });

  it("are sent once, and draft for each session that names them", async () => {
    const { send } = open({ keys });
    const text = await plain(24);
    const put = (body: object, key = "alice") =>
      send<{ tokens: number } & SessionInfo>("PUT", "/v1/drafter", body, as(key));
    const kept = await put({ name: "story", tokens: text });
    expect(kept.answer).toEqual({ object: "drafter", name: "story", kind: "corpus", tokens: 24 });
    for (const path of ["/v1/drafter", "/v1/sessions/ID/drafter"]) {
      const made = await send<SessionInfo>(
        "POST",
        "/v1/sessions",
        { prompt: PROMPT, ...SAMPLING, ignore_eos: true },
        as("alice"),
      );
      const { id } = made.answer;
      const given = { name: "story", ...(path === "/v1/drafter" && { session: id }) };
      const { answer } = await send("PUT", path.replace("ID", id), given, as("alice"));
      expect(answer).toEqual({ object: "drafter", session: id, kind: "corpus", tokens: 24 });
      const verifyPath = `/v1/sessions/${id}/verify`;
      const verdict = await send<Verdict>("POST", verifyPath, { max_tokens: 24 }, as("alice"));
      expect(verdict.answer.tokens).toEqual(text);
      expect(verdict.answer.stats.accepted).toBeGreaterThan(8);
      const wrong = await put({ session: id, name: "story", text: "a" });
      expect(wrong.answer.error).toMatchObject({ param: "text" });
      const bobs = await put({ session: id, name: "story" }, "bob");
      expect([bobs.status, bobs.answer.error!.code]).toEqual([404, "drafter_not_found"]);
      // Gone, where nothing is put in its place.
      if (path !== "/v1/drafter") await put({ name: "story", tokens: [] });
      const again = await put({ session: id, name: "story" });
      expect(again.status).toBe(path === "/v1/drafter" ? 200 : 404);
    }
  });

  it("are bounded: what was not used for longest makes room", () => {
    const corpora = new Corpora();
    const corpus = (tokens: number) => ({
      kind: "corpus" as const,
      tokens: new Array<number>(tokens).fill(1),
    });
    const known = (owner: string) =>
      Array.from({ length: 20 }, (_, i) => `n${i}`).filter((name) => corpora.find(owner, name));
    for (let i = 0; i < 18; i++) {
      corpora.put("alice", `n${i}`, corpus(2));
      corpora.find("alice", "n0");
    }
    expect(known("alice")).toEqual(["n0", ...Array.from({ length: 15 }, (_, i) => `n${i + 3}`)]);
    for (let i = 0; i < 9; i++) corpora.put("bob", `n${i}`, corpus(1 << 15));
    expect(known("bob")).toEqual(["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"]);
    expect(known("alice")).toEqual([]);
  });

  it.each<[object, string]>([
    [{ name: "", text: "a" }, "name"],
    [{ name: "a/b", text: "a" }, "name"],
    [{ name: "a" }, "text"],
    [{ name: "a", tokens: [1e6] }, "tokens[0]"],
    [{ name: "a", text: "a", model: "none" }, "model"],
    [{ text: "a" }, "session"],
  ])("refuses what is wrong: %j", async (body, param) => {
    const { send } = open();
    const { answer } = await send<SessionInfo>("PUT", "/v1/drafter", body);
    expect(answer.error!.param).toBe(param);
  });
});

describe("making a session", () => {
  it.each<[object, string]>([
    [{ model: "none" }, "model"],
    [{ tokens: [1] }, "tokens"],
    [{ prompt: null, tokens: [] }, "tokens"],
    [{ prompt: null, tokens: [-1] }, "tokens[0]"],
    [{ prompt: ["a", "b"] }, "prompt"],
    [{ prompt_length: 500 }, "prompt_length"],
    [{ capacity: 1 }, "capacity"],
    [{ capacity: 1e6 }, "capacity"],
    [{ top_p: 2 }, "top_p"],
    [{ mirostat: 3 }, "mirostat"],
    [{ stream: true }, "stream"],
  ])("refuses what is wrong, case %#", async (body, param) => {
    const { create } = open();
    const { error } = await create(body);
    expect(error!.param).toBe(param);
  });
});
