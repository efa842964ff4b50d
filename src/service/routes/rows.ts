import { type Context, Hono } from "hono";
import { nextTask } from "../../decoding/next-task.ts";
import { Lease } from "../../engine/lease.ts";
import type { Model } from "../../engine/model.ts";
import { openPrompt } from "../../engine/model-prompts.ts";
import { MAX_LOGITS } from "../../engine/remote/edgewise.ts";
import type { SessionOptions } from "../../engine/source.ts";
import { MAX_BRANCHING } from "../../engine/tree.ts";
import { MemoryError } from "../../errors.ts";
import { type EncodedRow, encodeRows, ROWS_MEDIA_TYPE } from "../../format/wire/index.ts";
import { clientError } from "../engine-errors.ts";
import { apiError, show } from "../errors.ts";
import { readTokenIds } from "../options/tokens.ts";
import { keepAlive } from "../respond.ts";
import { acceptsRows } from "../row-messages.ts";
import { encodeAnswer, isIntegerIn, type RowEncoding, writeRow, wrong } from "../rows.ts";
import { checkRows, type RowsBody } from "../schemas/rows.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

interface RowsRequest {
  readonly tokens: readonly number[];
  readonly rows: number;
  /** Of the last tokens; none: a chain. */
  readonly parents: readonly number[];
}

/**
 * `POST /v1/rows`: token ids in, the model's rows after the last of them out. With these another Edgewise samples, verifies
 * its drafts, or fuses, as if the model were there. Nothing is kept but what prompts share: a text that goes on costs its new
 * tokens.
 */
export function rowRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/rows", async (c) => {
    const body = checkRows(await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const request = readRequest(model, body);
    c.get("trace").model(name);
    const answer = await inTurn(c, service, async () => {
      const caller = c.get("caller");
      if (caller !== undefined) service.rates.spend(caller, request.tokens.length);
      return await computeRows(model, request, {
        signal: c.get("signal"),
        lease: new Lease(service.slots.leaseMs),
      });
    });
    const facts = {
      object: "rows",
      model: name,
      system_fingerprint: model.fingerprint,
      vocab: model.vocab,
      ...(model.known !== undefined && { known: model.known }),
      usage: {
        prompt_tokens: request.tokens.length,
        completion_tokens: 0,
        total_tokens: request.tokens.length,
        prompt_tokens_details: { cached_tokens: answer.cachedTokens, audio_tokens: 0 },
      },
    };
    return write(c, service, facts, answer.rows, body.encoding ?? undefined);
  });
}

function readRequest(model: Model, body: RowsBody): RowsRequest {
  const tokens = readTokenIds(model, "tokens", body.tokens ?? []) ?? [];
  if (tokens.length === 0) throw wrong("tokens", "must have a token, got none");
  if (tokens.length > model.contextLength) {
    throw apiError(
      400,
      `This model's maximum context length is ${model.contextLength} tokens. However, you sent ${tokens.length} tokens.`,
      { param: "tokens", code: "context_length_exceeded" },
    );
  }
  const parents = readParents(body.parents, tokens.length);
  const rows = body.rows ?? 1;
  const within = parents.length > 0 ? parents.length : tokens.length;
  const most = Math.min(within, Math.max(1, Math.floor(MAX_LOGITS / model.vocab)));
  if (rows > most) throw wrong("rows", `must be at most ${most} here, got ${rows}`);
  return { tokens, rows, parents };
}

function readParents(value: unknown, most: number): readonly number[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length === 0 || value.length > Math.min(most - 1, MAX_BRANCHING)) {
    const got = Array.isArray(value) ? `${value.length} of them` : show(value);
    throw wrong(
      "parents",
      `must be an array with one for each of the last tokens, at most ${MAX_BRANCHING} and not of the first, got ${got}`,
    );
  }
  const bad = value.findIndex((parent, node) => !isIntegerIn(parent, -1, node - 1));
  if (bad < 0) return value;
  throw wrong(`parents[${bad}]`, `must be an integer from -1 to ${bad - 1}, got ${show(value[bad])}`);
}

/** Copies. */
async function computeRows(
  model: Model,
  { tokens, rows: count, parents }: RowsRequest,
  options: Pick<SessionOptions, "signal" | "lease">,
): Promise<{ rows: Float32Array[]; cachedTokens: number }> {
  const isTree = parents.length > 0;
  const before = tokens.length - (isTree ? parents.length : count);
  // One more than what must be there, as a session never holds all of its prompt.
  const text = await openPrompt(model, tokens.slice(0, before + 1), tokens.length, options);
  let held: readonly number[] | undefined;
  try {
    const { session, cachedTokens } = text;
    if (isTree && session.length < before) await session.forward(tokens.slice(session.length, before), 0);
    const rows = await session.forward(tokens.slice(session.length), count, isTree ? parents : undefined);
    const copies = Array.from({ length: count }, (_, index) => rows.row(index).slice());
    if (!isTree) held = tokens;
    await nextTask();
    return { rows: copies, cachedTokens };
  } catch (error) {
    throw error instanceof MemoryError ? error : clientError(error);
  } finally {
    text.close(held);
  }
}

function write(
  c: Context<ServiceEnv>,
  service: Service,
  facts: object,
  rows: readonly Float32Array[],
  encoding: RowEncoding | undefined,
): Response {
  return service.rowBackend.use((backend) => {
    const kernels = backend.wireKernels();
    if (!acceptsRows(c.req.header("accept"))) {
      const writing = { encoding: encoding ?? "numbers", kernels };
      return c.json({ ...facts, rows: rows.map((row) => writeRow(row, writing)) });
    }
    const spec = encoding === undefined || encoding === "numbers" ? "f32" : encoding;
    const encoded: EncodedRow[] = rows.map((row) => encodeAnswer(row, spec, kernels));
    const bytes = encodeRows(encoded, spec, { note: JSON.stringify(facts), kernels });
    return c.body(bytes as Uint8Array<ArrayBuffer>, 200, { "content-type": ROWS_MEDIA_TYPE });
  });
}
