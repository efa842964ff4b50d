import { type Context, Hono } from "hono";
import type { Model } from "../../engine/model.ts";
import { MAX_TEXT } from "../../model/tokenizer.ts";
import { apiError } from "../errors.ts";
import { readIds, wrong } from "../rows.ts";
import { checkDrafter, type DrafterBody } from "../schemas/sessions.ts";
import { readJson, type Service, type ServiceEnv } from "../service.ts";
import { keepBody, type OpenSession, withSession } from "../sessions/requests.ts";

/** Of what is copied from: some 100 bytes each, where the session lives. */
const MAX_TOKENS = 1 << 15;

/**
 * `PUT /v1/drafter`, `PUT /v1/sessions/:id/drafter`: what a session's own drafter copies from, sent once. Rounds that it drafts
 * cost no upload, and like every draft it changes no text.
 */
export function drafterRoutes(service: Service) {
  return new Hono<ServiceEnv>()
    .put("/drafter", async (c) => {
      keepBody(c);
      const body = checkDrafter(await readJson(c));
      if (body.session == null) {
        throw apiError(400, '"session" must be the id of a session, got nothing', {
          param: "session",
          code: "missing_required_parameter",
        });
      }
      return withSession(c, service, body.session, "/drafter", async (open) => upload(c, open, body));
    })
    .put("/sessions/:id/drafter", (c) =>
      withSession(c, service, c.req.param("id"), "/drafter", async (open) =>
        upload(c, open, checkDrafter(await readJson(c))),
      ),
    );
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
