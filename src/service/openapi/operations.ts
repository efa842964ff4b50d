/** What the service offers, for its description. Nothing here is part of the service itself. */
import type * as z from "zod/mini";
import { ROWS_MEDIA_TYPE } from "../../format/wire/index.ts";
import { DRAFT_MEDIA_TYPE } from "../draft-messages.ts";
import { codebookBody } from "../schemas/codebooks.ts";
import { fuseBody } from "../schemas/fuse.ts";
import { rowsBody } from "../schemas/rows.ts";
import { sampleBody } from "../schemas/sample.ts";
import { scoreBody } from "../schemas/score.ts";
import { appendBody, drafterBody, sessionBody, truncateBody } from "../schemas/sessions.ts";
import { applyTemplateBody, detokenizeBody, tokenizeBody } from "../schemas/text.ts";
import { verifyBody, verifySessionBody } from "../schemas/verify.ts";
import { chatBody, completionBody } from "../schemas.ts";

export interface Operation {
  readonly method: "get" | "post" | "put" | "delete";
  /** As OpenAPI writes it. */
  readonly path: string;
  readonly id: string;
  readonly tag: "OpenAI" | "Decoding" | "Text" | "Operations";
  readonly summary: string;
  readonly body?: z.ZodMiniType;
  readonly example?: object;
  /** Media types that the body may have beside JSON. */
  readonly takes?: readonly string[];
  /** Media types of the answer. Default: JSON. */
  readonly answers?: readonly string[];
  /** Whether it answers without a key. */
  readonly isOpen?: boolean;
}

const TEXT_STREAM = "text/event-stream";

export const OPERATIONS: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/chat/completions",
    id: "createChatCompletion",
    tag: "OpenAI",
    summary: "A conversation in, the assistant's next message out",
    body: chatBody,
    example: { messages: [{ role: "user", content: "Tell me a story" }], max_tokens: 60 },
    answers: ["application/json", TEXT_STREAM],
  },
  {
    method: "post",
    path: "/v1/completions",
    id: "createCompletion",
    tag: "OpenAI",
    summary: "Text or token ids in, their continuation out",
    body: completionBody,
    example: { prompt: "Once upon a time", max_tokens: 60 },
    answers: ["application/json", TEXT_STREAM],
  },
  {
    method: "get",
    path: "/v1/models",
    id: "listModels",
    tag: "OpenAI",
    summary: "The models that are served, plans among them",
  },
  {
    method: "get",
    path: "/v1/models/{id}",
    id: "retrieveModel",
    tag: "OpenAI",
    summary: "One of the models",
  },
  {
    method: "post",
    path: "/v1/fuse",
    id: "fuse",
    tag: "Decoding",
    summary: "Rows of several models and a plan in, a token out",
    body: fuseBody,
    takes: [ROWS_MEDIA_TYPE],
    example: {
      plan: { preset: "proxy-tuning" },
      rows: { base: [2, 1, 0], expert: [0, 1, 0], anti: [0, 0, 0] },
    },
    answers: ["application/json", ROWS_MEDIA_TYPE],
  },
  {
    method: "post",
    path: "/v1/score",
    id: "score",
    tag: "Decoding",
    summary: "One or two rows in, numbers about them out",
    body: scoreBody,
    takes: [ROWS_MEDIA_TYPE],
    example: { scores: ["nll"], rows: { row: [1, 3, 2] }, target: 2 },
  },
  {
    method: "post",
    path: "/v1/rows",
    id: "rows",
    tag: "Decoding",
    summary: "Token ids in, the model's rows after the last of them out",
    body: rowsBody,
    example: { tokens: [1, 2, 3], rows: 1, encoding: "top-k" },
    answers: ["application/json", ROWS_MEDIA_TYPE],
  },
  {
    method: "get",
    path: "/v1/codebooks",
    id: "listCodebooks",
    tag: "Decoding",
    summary: "Codebooks that rows may name without sending them",
  },
  {
    method: "get",
    path: "/v1/codebooks/{id}",
    id: "retrieveCodebook",
    tag: "Decoding",
    summary: "One of them, as a message of rows",
    answers: [ROWS_MEDIA_TYPE],
  },
  {
    method: "put",
    path: "/v1/codebooks/{id}",
    id: "putCodebook",
    tag: "Decoding",
    summary: "A codebook, sent once; the id is that of its content",
    body: codebookBody,
    takes: [ROWS_MEDIA_TYPE],
  },
  {
    method: "delete",
    path: "/v1/codebooks/{id}",
    id: "deleteCodebook",
    tag: "Decoding",
    summary: "Forgets a codebook",
  },
  {
    method: "post",
    path: "/v1/sample",
    id: "sample",
    tag: "Decoding",
    summary: "A row and a pipeline in, a token out",
    body: sampleBody,
    takes: [ROWS_MEDIA_TYPE],
    example: { rows: { row: [1, 3, 2] }, sampling: { temperature: 0.8, top_k: 2 }, seed: 1, position: 7 },
    answers: ["application/json", ROWS_MEDIA_TYPE],
  },
  {
    method: "post",
    path: "/v1/verify",
    id: "verify",
    tag: "Decoding",
    summary: "How much of a draft survives, and which token follows; over rows, or in a session",
    body: verifyBody,
    takes: [ROWS_MEDIA_TYPE],
    example: {
      rows: {
        target: [
          [0, 2, 1],
          [3, 1, 0],
        ],
      },
      draft: [1],
      sampling: { temperature: 0 },
    },
    answers: ["application/json", ROWS_MEDIA_TYPE],
  },
  {
    method: "post",
    path: "/v1/sessions",
    id: "createSession",
    tag: "Decoding",
    summary: "A text that is kept where its keys and values are",
    body: sessionBody,
    example: { prompt: "Once upon a time", temperature: 0.8, seed: 1 },
  },
  {
    method: "get",
    path: "/v1/sessions/{id}",
    id: "retrieveSession",
    tag: "Decoding",
    summary: "A session, with its tokens",
  },
  {
    method: "delete",
    path: "/v1/sessions/{id}",
    id: "deleteSession",
    tag: "Decoding",
    summary: "Forgets a session",
  },
  {
    method: "post",
    path: "/v1/sessions/{id}/append",
    id: "appendToSession",
    tag: "Decoding",
    summary: "Appends tokens, and tells the rows after the last of them",
    body: appendBody,
    answers: ["application/json", ROWS_MEDIA_TYPE],
  },
  {
    method: "post",
    path: "/v1/sessions/{id}/truncate",
    id: "truncateSession",
    tag: "Decoding",
    summary: "Forgets all tokens from a position on",
    body: truncateBody,
  },
  {
    method: "post",
    path: "/v1/sessions/{id}/verify",
    id: "verifyInSession",
    tag: "Decoding",
    summary: "How much of a draft survives, and which token follows; also as a message of ids only",
    body: verifySessionBody,
    takes: [ROWS_MEDIA_TYPE, DRAFT_MEDIA_TYPE],
    answers: ["application/json", ROWS_MEDIA_TYPE, DRAFT_MEDIA_TYPE],
  },
  {
    method: "put",
    path: "/v1/sessions/{id}/drafter",
    id: "setSessionDrafter",
    tag: "Decoding",
    summary: "What the session's own drafter copies from, sent once",
    body: drafterBody,
  },
  {
    method: "put",
    path: "/v1/drafter",
    id: "setDrafter",
    tag: "Decoding",
    summary: "The same, with the session in the body",
    body: drafterBody,
  },
  {
    method: "post",
    path: "/tokenize",
    id: "tokenize",
    tag: "Text",
    summary: "A text, or a conversation, as token ids",
    body: tokenizeBody,
    example: { content: "Once upon a time", with_pieces: true },
  },
  {
    method: "post",
    path: "/detokenize",
    id: "detokenize",
    tag: "Text",
    summary: "The text of token ids",
    body: detokenizeBody,
    example: { tokens: [1, 2, 3] },
  },
  {
    method: "post",
    path: "/apply-template",
    id: "applyTemplate",
    tag: "Text",
    summary: "A conversation as the text that the model reads",
    body: applyTemplateBody,
    example: { messages: [{ role: "user", content: "Hi" }] },
  },
  {
    method: "get",
    path: "/health",
    id: "health",
    tag: "Operations",
    summary: "Whether the service is up, and what it does; needs no key",
    isOpen: true,
  },
  {
    method: "get",
    path: "/metrics",
    id: "metrics",
    tag: "Operations",
    summary: "Counters and times for Prometheus, of this process or isolate",
    answers: ["text/plain"],
  },
  {
    method: "get",
    path: "/openapi.json",
    id: "openapi",
    tag: "Operations",
    summary: "This description",
  },
  {
    method: "get",
    path: "/docs",
    id: "docs",
    tag: "Operations",
    summary: "This description, to be read",
    answers: ["text/html"],
  },
];
