import { type Context, Hono } from "hono";
import type { Constraint } from "../../decoding/constraint.ts";
import type { Model } from "../../engine/model.ts";
import { openPipeline, seedOf } from "../../engine/options.ts";
import { checkedByEngine } from "../engine-errors.ts";
import { type FormatFields, formatFieldsOf, openFormat } from "../options/format-fields.ts";
import { readSampling } from "../options/sampling.ts";
import { readPrompts } from "../prompt.ts";
import { keepAlive } from "../respond.ts";
import { answerWithRows } from "../row-messages.ts";
import { MAX_ROWS, MAX_VOCAB, readIds, wrong } from "../rows.ts";
import { checkAppend, checkSession, checkTruncate, type SessionBody } from "../schemas/sessions.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";
import { forwardToSession, placeOfSessions } from "../sessions/host.ts";
import { cutText, newSessionId, type SessionRecord, stateOf } from "../sessions/record.ts";
import { sessionsHere, spend, withSession } from "../sessions/requests.ts";
import { rewind } from "../sessions/rounds.ts";
import type { Sessions } from "../sessions.ts";

/** Tokens of output that a session has room for, unless it is told. */
const DEFAULT_OUTPUT = 1024;

/** Characters of what says what a session's output must be: it is kept with the session. */
const MAX_FORMAT = 1 << 16;

/**
 * `/v1/sessions`: a text that is kept where its keys and values are, so that a request about it brings nothing but what is new.
 *
 * How it goes on is a function of its tokens, its sampling fields and its seed, all said when it is made. A request that tells
 * its `position` can be sent again: the session goes back there, and the answer is the same.
 */
export function sessionRoutes(service: Service) {
  return new Hono<ServiceEnv>()
    .post("/sessions", async (c) => {
      const open = service.sessionHost;
      if (open !== undefined && placeOfSessions(c) === undefined) {
        return forwardToSession(c, service, open, newSessionId(), "/v1/sessions");
      }
      const body = checkSession(await readJson(c));
      const { name, model } = await findModel(service, body.model, keepAlive(c));
      const { sessions, owner, id } = sessionsHere(c, service);
      const record = sessions.create({ ...readRecord(model, body), owner, model: name }, id);
      return c.json(describe(record, sessions, body.tokens == null));
    })
    .get("/sessions/:id", (c) =>
      withSession(c, service, c.req.param("id"), "", async ({ record, sessions }) =>
        c.json(describe(record, sessions, true)),
      ),
    )
    .delete("/sessions/:id", (c) =>
      withSession(c, service, c.req.param("id"), "", async ({ record, sessions }) => {
        sessions.delete(record.id);
        service.sessionCaches.drop(record.id);
        return c.json({ id: record.id, object: "session", deleted: true });
      }),
    )
    .post("/sessions/:id/append", (c) => append(c, service, c.req.param("id")))
    .post("/sessions/:id/truncate", (c) =>
      withSession(c, service, c.req.param("id"), "/truncate", async ({ record, sessions }) => {
        const { length } = checkTruncate(await readJson(c));
        const most = record.tokens.length;
        if (length > most) throw wrong("length", `must be an integer from 1 to ${most}, got ${length}`);
        // Rows of a plan may depend on where the output begins.
        if (length < record.promptLength) service.sessionCaches.drop(record.id);
        cutText(record, length);
        return c.json(describe(record, sessions, false));
      }),
    );
}

function append(c: Context<ServiceEnv>, service: Service, id: string): Promise<Response> {
  return withSession(c, service, id, "/append", async ({ record, sessions, model, progress, cached }) => {
    const body = checkAppend(await readJson(c));
    const tokens = readIds("tokens", body.tokens ?? [], record.capacity, model.vocab);
    const count = body.rows ?? 0;
    const most = Math.min(body.position ?? record.tokens.length, record.tokens.length) + tokens.length;
    if (most > record.capacity) {
      throw wrong("tokens", `must leave the session at most ${record.capacity} tokens, got ${most}`);
    }
    if (count > most || count * model.vocab > MAX_ROWS * MAX_VOCAB) {
      const limit = Math.min(most, Math.floor((MAX_ROWS * MAX_VOCAB) / model.vocab));
      throw wrong("rows", `must be at most ${limit} here, got ${count}`);
    }
    if (record.format !== null && tokens.length > 0) {
      const before = record.tokens.slice(record.promptLength, body.position ?? undefined);
      expectAllowed(openFormat(model, record.format), [...before, ...tokens]);
    }
    rewind(record, body.position);
    const all = [...record.tokens, ...tokens];
    const rows = await cached(async (cache) => {
      // A token that was not drawn is not learned from.
      const { memory } = stateOf(record, cache.pipeline);
      if (memory.length > 0) for (const _ of tokens) record.memory.push(memory);
      // The last token waits for the draft behind it, unless its row is wanted now.
      const read = await cache.read(count > 0 ? all : all.slice(0, -1), count, progress);
      return Array.from({ length: count }, (_, i) => read!.row(i).slice());
    });
    record.tokens.push(...tokens);
    spend(c, service, tokens.length);
    const answer = describe(record, sessions, false);
    const kernels = service.rowBackend.use((backend) => backend.wireKernels());
    const writing = { encoding: body.encoding ?? "numbers", kernels } as const;
    return answerWithRows(c, answer, count > 0 ? { rows } : {}, writing);
  });
}

/** @throws {HTTPException} 400 that names the field. */
function readRecord(
  model: Model,
  body: SessionBody,
): Omit<SessionRecord, "id" | "created" | "owner" | "model"> {
  if (body.prompt != null && body.tokens != null) {
    throw wrong("tokens", 'must be left out beside "prompt", which is tokenized here');
  }
  const tokens = body.tokens == null ? readPrompt(model, body.prompt) : readTokens(model, body.tokens);
  const promptLength = body.prompt_length ?? tokens.length;
  if (promptLength > tokens.length) {
    throw wrong(
      "prompt_length",
      `must be at most ${tokens.length}, the tokens there are, got ${promptLength}`,
    );
  }
  const { contextLength } = model;
  const capacity = body.capacity ?? Math.min(contextLength, tokens.length + DEFAULT_OUTPUT);
  if (capacity < tokens.length || capacity > contextLength) {
    throw wrong("capacity", `must be an integer from ${tokens.length} to ${contextLength}, got ${capacity}`);
  }
  const { seed, ...sampling } = checkedByEngine(() => readSampling(model, body));
  const pipeline = checkedByEngine(() => openPipeline(sampling, model.tokenizer.endTokens));
  const output = tokens.slice(promptLength);
  const format = readFormat(model, body, output);
  const { memory } = pipeline.start();
  return {
    fingerprint: model.fingerprint,
    tokens,
    promptLength,
    capacity,
    seed: seedOf({ seed }),
    sampling,
    ignoreEos: body.ignore_eos ?? false,
    format,
    memory: memory.length > 0 ? output.map(() => memory) : [],
    drafter: null,
  };
}

function readFormat(model: Model, body: SessionBody, output: readonly number[]): FormatFields | null {
  const format = formatFieldsOf(body);
  if (format === undefined) return null;
  const length = JSON.stringify(format).length;
  if (length > MAX_FORMAT) {
    throw wrong(Object.keys(format)[0], `must have at most ${MAX_FORMAT} characters as JSON, got ${length}`);
  }
  const open = openFormat(model, format, body);
  // What asks for nothing, as "text" does.
  if (open === undefined) return null;
  expectAllowed(open, output);
  return format;
}

/** What a client says the output is must be what the session's format allows. */
function expectAllowed(open: (() => Constraint) | undefined, output: readonly number[]): void {
  const constraint = open?.();
  for (const token of output) {
    try {
      constraint?.accept(token);
    } catch {
      throw wrong("tokens", `must be what the session's format allows, token ${token} is not`);
    }
  }
}

function readPrompt(model: Model, prompt: unknown): number[] {
  const [first] = readPrompts(model, prompt, 1);
  return [...first.tokens];
}

function readTokens(model: Model, value: unknown): number[] {
  const tokens = readIds("tokens", value, model.contextLength, model.vocab);
  if (tokens.length === 0) throw wrong("tokens", "must have at least one token id, got none");
  return [...tokens];
}

function describe(record: SessionRecord, sessions: Sessions, withTokens: boolean): object {
  const { id, model, tokens, promptLength, capacity, seed, created, drafter } = record;
  return {
    id,
    object: "session",
    created: Math.floor(created / 1000),
    expires_at: Math.floor(sessions.expiry / 1000),
    model,
    position: tokens.length,
    prompt_length: promptLength,
    capacity,
    seed,
    drafter: drafter && { kind: drafter.kind, tokens: drafter.tokens.length },
    ...(withTokens && { tokens }),
  };
}
