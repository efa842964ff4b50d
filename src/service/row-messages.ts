/**
 * Requests and answers whose rows are bytes: a message of rows (format/wire) whose note is the JSON that would else be the
 * body. In that JSON, `{ "row": 2 }` stands for row 2 of the message.
 *
 *     content-type: application/vnd.edgewise.rows       the request is one
 *     accept: application/vnd.edgewise.rows             the answer shall be one, if there are rows in it
 */
import type { Context } from "hono";
import { UnsupportedError } from "../errors.ts";
import {
  type DecodedRows,
  decodeRows,
  type EncodedRow,
  encodeRows,
  ROWS_MEDIA_TYPE,
} from "../format/wire/index.ts";
import { log } from "../math.ts";
import { apiError, show } from "./errors.ts";
import {
  encodeAnswer,
  isIntegerIn,
  isPlain,
  MAX_VOCAB,
  type RowWriting,
  writeProbabilities,
  writeRow,
  wrong,
} from "./rows.ts";
import { readJson, type ServiceEnv } from "./service.ts";

/** Of one message. */
const MAX_MESSAGE_ROWS = 512;

/**
 * The body as JSON, whose rows may be encoded ones where a message had them.
 *
 * @throws {HTTPException} 400 if it is neither JSON nor a message of rows.
 */
export async function readRowsBody(c: Context<ServiceEnv>): Promise<unknown> {
  const [type] = (c.req.header("content-type") ?? "").split(";");
  if (type.trim().toLowerCase() !== ROWS_MEDIA_TYPE) return readJson(c);
  const message = readMessage(await c.get("body").bytes());
  let body: unknown;
  try {
    body = c.get("body").parse(message.note ?? "");
  } catch {
    throw apiError(400, "The note of a message of rows must be the request in JSON", {
      code: "invalid_json",
    });
  }
  if (!isObject(body) || !isObject(body.rows)) return body;
  const rows = Object.entries(body.rows).map(([name, value]) => [
    name,
    resolve(`rows.${name}`, value, message),
  ]);
  return { ...body, rows: Object.fromEntries(rows) };
}

function readMessage(bytes: Uint8Array): DecodedRows {
  try {
    return decodeRows(bytes, { maxVocab: MAX_VOCAB, maxRows: MAX_MESSAGE_ROWS });
  } catch (error) {
    const isTheirs =
      error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
    if (!isTheirs) throw error;
    throw apiError(400, error.message, { code: "invalid_rows" });
  }
}

/** A row, or a list of them, with those of the message in their place. */
function resolve(param: string, value: unknown, message: DecodedRows): unknown {
  if (Array.isArray(value)) {
    // A row of numbers is not looked through.
    if (!isObject(value[0])) return value;
    return value.map((one, index) => resolve(`${param}[${index}]`, one, message));
  }
  if (!isObject(value) || !Object.hasOwn(value, "row")) return value;
  const { row } = value;
  if (isIntegerIn(row, 0, message.count - 1)) return message.encoded[row];
  throw wrong(`${param}.row`, `must be a row of the message, which has ${message.count}, got ${show(row)}`);
}

/** Rows of an answer, by field. */
export interface AnswerRows {
  readonly logits?: ArrayLike<number>;
  readonly probs?: Float64Array;
  /** Logits of several positions. */
  readonly rows?: readonly ArrayLike<number>[];
}

/** The answer as JSON or, if the client would rather have it and there are rows, as a message. */
export function answerWithRows(c: Context, answer: object, rows: AnswerRows, writing: RowWriting): Response {
  const { logits, probs, rows: list } = rows;
  const { encoding, kernels } = writing;
  const isMessage = (logits ?? probs ?? list?.[0]) !== undefined && acceptsRows(c.req.header("accept"));
  if (!isMessage) {
    return c.json({
      ...(logits && { logits: writeRow(logits, writing) }),
      ...(probs && { probs: writeProbabilities(probs, writing) }),
      ...(list && { rows: list.map((row) => writeRow(row, writing)) }),
      ...answer,
    });
  }
  const spec = encoding === "numbers" ? "f32" : encoding;
  const encoded: EncodedRow[] = [];
  const put = (row: ArrayLike<number>) => ({ row: encoded.push(encodeAnswer(row, spec, kernels)) - 1 });
  const note = JSON.stringify({
    ...(logits && { logits: put(logits) }),
    ...(probs && { probs: put(isPlain(spec) ? probs : probs.map(log)) }),
    ...(list && { rows: list.map(put) }),
    ...answer,
  });
  const bytes = encodeRows(encoded, spec, { note, kernels });
  return c.body(bytes as Uint8Array<ArrayBuffer>, 200, { "content-type": ROWS_MEDIA_TYPE });
}

/** Named, and not refused; JSON is for all who say nothing, or that they take anything. */
export function acceptsRows(header = ""): boolean {
  return header.split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((text) => text.trim().toLowerCase());
    return type === ROWS_MEDIA_TYPE && !parameters.some((text) => /^q=0(\.0*)?$/.test(text));
  });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
