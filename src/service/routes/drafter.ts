import { type Context, Hono } from "hono";
import type { Model } from "../../engine/model.ts";
import { MAX_TEXT } from "../../model/tokenizer.ts";
import { apiError, show } from "../errors.ts";
import { keepAlive } from "../respond.ts";
import { readIds, wrong } from "../rows.ts";
import { checkDrafter, type DrafterBody } from "../schemas/sessions.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";
import { keepBody, type OpenSession, withSession } from "../sessions/requests.ts";

/** Of what is copied from: some 100 bytes each, where the session lives. */
const MAX_TOKENS = 1 << 15;

/**
 * `PUT /v1/drafter`, `PUT /v1/sessions/:id/drafter`: what a session's own drafter copies from, sent once. Rounds that it drafts
 * cost no upload, and like every draft it changes no text.
 *
 * Without a session it is kept under a name, for all sessions of the key: each is given it by that name. Whoever is told
 * `drafter_not_found` sends it again.
 */
export function drafterRoutes(service: Service) {
  return new Hono<ServiceEnv>()
    .put("/drafter", async (c) => {
      const body = await readBody(c, service);
      if (body.session != null) {
        return withSession(c, service, body.session, "/drafter", async (open) => upload(c, open, body));
      }
      if (body.name != null) return keep(c, service, body.name, body);
      throw apiError(400, '"session" must be the id of a session, or "name" be given, got neither', {
        param: "session",
        code: "missing_required_parameter",
      });
    })
    .put("/sessions/:id/drafter", async (c) => {
      const body = await readBody(c, service, c.req.param("id"));
      return withSession(c, service, c.req.param("id"), "/drafter", async (open) => upload(c, open, body));
    });
}

/** The body; one that names what was sent before has that in place of the name, wherever it is read again. */
async function readBody(c: Context<ServiceEnv>, service: Service, session?: string): Promise<DrafterBody> {
  keepBody(c);
  const body = checkDrafter(await readJson(c));
  if (body.name == null || (session ?? body.session) == null) return body;
  for (const param of ["text", "tokens", "kind"] as const) {
    if (body[param] != null) throw wrong(param, 'must be left out beside "name", which tells it');
  }
  const corpus = service.corpora.find(ownerOf(c), body.name);
  if (corpus === undefined) {
    throw apiError(404, `No drafter ${show(body.name)} is known here`, {
      param: "name",
      code: "drafter_not_found",
    });
  }
  const { kind, tokens } = corpus;
  const full = { session: body.session, kind, tokens };
  const bytes = new TextEncoder().encode(JSON.stringify(full));
  c.set("body", { ...c.get("body"), bytes: async () => bytes, json: async () => full });
  return full;
}

async function keep(
  c: Context<ServiceEnv>,
  service: Service,
  name: string,
  body: DrafterBody,
): Promise<Response> {
  const { model } = await findModel(service, body.model, keepAlive(c));
  const kind = body.kind ?? "corpus";
  const tokens = readTokens(model, body);
  service.corpora.put(ownerOf(c), name, tokens.length === 0 ? null : { kind, tokens });
  return c.json({ object: "drafter", name, kind, tokens: tokens.length });
}

function ownerOf(c: Context<ServiceEnv>): string {
  return c.get("caller")?.name ?? "";
}

function upload(
  c: Context<ServiceEnv>,
  { record, sessions, model }: OpenSession,
  body: DrafterBody,
): Response {
  const kind = body.kind ?? "prediction";
  const tokens = readTokens(model, body);
  sessions.setDrafter(record, tokens.length === 0 ? null : { kind, tokens });
  return c.json({ object: "drafter", session: record.id, kind, tokens: tokens.length });
}

/** None: there is no drafter any more. */
function readTokens(model: Model, { text, tokens }: DrafterBody): readonly number[] {
  if ((text == null) === (tokens == null)) {
    throw wrong("text", 'must be given, or "tokens" instead, and not both');
  }
  if (tokens != null) return readIds("tokens", tokens, MAX_TOKENS, model.vocab);
  if (text!.length > MAX_TEXT) {
    throw wrong("text", `must have at most ${MAX_TEXT} UTF-16 units, got ${text!.length}`);
  }
  // It stands in the middle of a text.
  const encoded = model.tokenizer.encode(text!, { special: false });
  if (encoded.length <= MAX_TOKENS) return encoded;
  throw wrong("text", `must have at most ${MAX_TOKENS} tokens, got ${encoded.length}`);
}
