/**
 * Requests and answers whose rows are bytes: a message of rows (format/wire) whose note is the JSON that would else be the
 * body. In that JSON, `{ "row": 2 }` stands for row 2 of the message.
 *
 *     content-type: application/vnd.edgewise.rows       the request is one
 *     accept: application/vnd.edgewise.rows             the answer shall be one, if there are rows in it
 *
 * Rows in the encoding "vq", in JSON or in a message, may name codebooks that are known here: codebooks.ts.
 */
import type { Context } from "hono";
import { UnsupportedError } from "../errors.ts";
import {
  type Codebook,
  type DecodedRows,
  decodeRows,
  type EncodedRow,
  encodeRows,
  ROWS_MEDIA_TYPE,
  rowFromJson,
} from "../format/wire/index.ts";
import { log } from "../math.ts";
import { apiError, show } from "./errors.ts";
import { checkedPaths } from "./path-errors.ts";
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
import { readJson, type Service, type ServiceEnv } from "./service.ts";

/** Of one message. */
const MAX_MESSAGE_ROWS = 512;

/**
 * The body as JSON, whose rows may be encoded ones where a message had them.
 *
 * @throws {HTTPException} 400 if it is neither JSON nor a message of rows.
 */
export async function readRowsBody(c: Context<ServiceEnv>, { codebooks }: Service): Promise<unknown> {
  const owner = c.get("caller")?.name;
  const known = codebooks.of(owner);
  const named = new Set<string>();
  const told = (row: EncodedRow) => {
    if (row.codebook !== undefined) named.add(row.codebook.id);
    return row;
  };
  const body = isRowMessage(c)
    ? await readNote(c, known, told)
    : withRows(await readJson(c), (param, row) =>
        row.encoding === "vq" ? told(readCodedRow(param, row, known)) : row,
      );
  codebooks.used(owner, named);
  return body;
}

/** Whether the request's body says that it is a message of rows. */
export function isRowMessage(c: Context): boolean {
  const [type] = (c.req.header("content-type") ?? "").split(";");
  return type.trim().toLowerCase() === ROWS_MEDIA_TYPE;
}

async function readNote(
  c: Context<ServiceEnv>,
  known: readonly Codebook[],
  told: (row: EncodedRow) => EncodedRow,
): Promise<unknown> {
  const message = readMessage(await c.get("body").bytes(), known);
  let body: unknown;
  try {
    body = c.get("body").parse(message.note ?? "");
  } catch {
    throw apiError(400, "The note of a message of rows must be the request in JSON", {
      code: "invalid_json",
    });
  }
  return withRows(body, (param, row) => {
    if (row.encoding === "vq") return told(readCodedRow(param, row, known));
    if (!Object.hasOwn(row, "row")) return row;
    if (isIntegerIn(row.row, 0, message.count - 1)) return told(message.encoded[row.row]);
    throw wrong(
      `${param}.row`,
      `must be a row of the message, which has ${message.count}, got ${show(row.row)}`,
    );
  });
}

/** @param codebooks Known beside those in the message. @throws {HTTPException} 400 if it is none. */
export function readMessage(bytes: Uint8Array, codebooks: readonly Codebook[] = []): DecodedRows {
  try {
    return decodeRows(bytes, { maxVocab: MAX_VOCAB, maxRows: MAX_MESSAGE_ROWS, codebooks });
  } catch (error) {
    const isTheirs =
      error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
    if (!isTheirs) throw error;
    const isUnknown = error.message.startsWith("Cannot read rows: codebook ");
    throw apiError(400, error.message, { code: isUnknown ? "codebook_not_found" : "invalid_rows" });
  }
}

/** A row in JSON whose codes are those of a codebook. */
function readCodedRow(param: string, row: RowFields, codebooks: readonly Codebook[]): EncodedRow {
  const { codebook } = row;
  if (typeof codebook === "string" && !codebooks.some(({ id }) => id === codebook)) {
    const why = `must be the id of a codebook that is known here, got ${show(codebook)}`;
    throw apiError(400, `"${param}.codebook" ${why}`, {
      param: `${param}.codebook`,
      code: "codebook_not_found",
    });
  }
  return checkedPaths(
    (path) => path,
    () => rowFromJson(row, param, { maxVocab: MAX_VOCAB, codebooks }),
  );
}

type RowFields = Readonly<Record<string, unknown>>;

/** The body with other rows in place of those that are objects. */
function withRows(body: unknown, other: (param: string, row: RowFields) => unknown): unknown {
  if (!isObject(body) || !isObject(body.rows)) return body;
  const rows = Object.entries(body.rows).map(([name, value]) => [
    name,
    withOther(`rows.${name}`, value, other),
  ]);
  return { ...body, rows: Object.fromEntries(rows) };
}

/** A row, or a list of them. */
function withOther(
  param: string,
  value: unknown,
  other: (param: string, row: RowFields) => unknown,
): unknown {
  if (Array.isArray(value)) {
    // A row of numbers is not looked through.
    if (!isObject(value[0])) return value;
    return value.map((one, index) => withOther(`${param}[${index}]`, one, other));
  }
  return isObject(value) ? other(param, value) : value;
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

function isObject(value: unknown): value is RowFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
