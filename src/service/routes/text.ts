import { Hono } from "hono";
import type { Model } from "../../engine/model.ts";
import { MAX_TEXT } from "../../model/tokenizer.ts";
import { readConversation } from "../conversation.ts";
import { apiError } from "../errors.ts";
import { readTokenIds } from "../options/tokens.ts";
import { underTemplate } from "../prompt.ts";
import { keepAlive } from "../respond.ts";
import { checkApplyTemplate, checkDetokenize, checkTokenize, type TokenizeBody } from "../schemas/text.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

/**
 * `POST /tokenize`, `/detokenize` and `/apply-template`: text to token ids and back, and a conversation as the text that the
 * model reads. Requests and answers have the fields of llama.cpp's server and of vLLM.
 */
export function textRoutes(service: Service) {
  return new Hono<ServiceEnv>()
    .post("/tokenize", async (c) => {
      const body = checkTokenize(await readJson(c));
      const { model } = await findModel(service, body.model, keepAlive(c));
      return c.json(await inTurn(c, service, async () => tokenize(model, body)));
    })
    .post("/detokenize", async (c) => {
      const body = checkDetokenize(await readJson(c));
      const { model } = await findModel(service, body.model, keepAlive(c));
      const isEmpty = Array.isArray(body.tokens) && body.tokens.length === 0;
      const tokens = isEmpty ? [] : readTokenIds(model, "tokens", body.tokens ?? []);
      // Rows that only pad the embedding have no token in the vocabulary, hence no text.
      const spelled = tokens!.filter((token) => token < model.tokenizer.vocab);
      const content = model.tokenizer.decode(spelled);
      return c.json({ content, prompt: content });
    })
    .post("/apply-template", async (c) => {
      const body = checkApplyTemplate(await readJson(c));
      const { model } = await findModel(service, body.model, keepAlive(c));
      const { messages, tools } = readConversation(body);
      const render = () => underTemplate(tools, () => model.chatText(messages, { tools }));
      return c.json({ prompt: await inTurn(c, service, async () => render()) });
    });
}

function tokenize(model: Model, body: TokenizeBody): object {
  const { tokenizer } = model;
  const tokens = tokensOf(model, body);
  return {
    tokens: body.with_pieces ? tokens.map((id) => ({ id, piece: pieceOf(tokenizer.bytes(id)) })) : tokens,
    count: tokens.length,
    max_model_len: model.contextLength,
    ...(body.return_token_strs && {
      token_strs: tokens.map((id) => new TextDecoder().decode(tokenizer.bytes(id))),
    }),
  };
}

function tokensOf(model: Model, body: TokenizeBody): number[] {
  const { content, prompt, messages } = body;
  const given = { content, prompt, messages };
  const names = Object.entries(given).flatMap(([name, value]) => (value == null ? [] : [name]));
  if (names.length !== 1) {
    const got = names.length === 0 ? "none" : names.join(" and ");
    throw apiError(400, `"content" must be given, or "prompt" or "messages" instead, got ${got}`, {
      param: "content",
      code: names.length === 0 ? "missing_required_parameter" : "invalid_value",
    });
  }
  if (messages != null) {
    const conversation = readConversation({ ...body, messages });
    return underTemplate(conversation.tools, () => model.chatPrompt(conversation.messages, conversation));
  }
  const text = content ?? prompt!;
  if (text.length > MAX_TEXT) {
    const param = names[0];
    const message = `"${param}" must have at most ${MAX_TEXT} UTF-16 units, got ${text.length}`;
    throw apiError(400, message, { param, code: "invalid_value" });
  }
  // Each of the two has its own habits.
  const isContent = content != null;
  return model.tokenizer.encode(text, {
    special: (isContent ? body.add_special : body.add_special_tokens) ?? !isContent,
    parseSpecial: body.parse_special ?? isContent,
  });
}

/** The text of a token, or its bytes where they are only a part of a character. */
function pieceOf(bytes: Uint8Array): string | number[] {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes);
  }
}
