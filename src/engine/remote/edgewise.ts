/**
 * Another Edgewise: `POST /v1/rows`, which answers with a message of rows (format/wire). In "f32" they are those of its model
 * bit for bit, so a text is the same as if the model were here.
 */
import { RemoteError, UnsupportedError } from "../../errors.ts";
import { type DecodedRows, decodeRows, ROWS_MEDIA_TYPE } from "../../format/wire/index.ts";
import { Field } from "./fields.ts";
import type { RemoteClient } from "./http.ts";
import { pathsOf, type RowServer } from "./server.ts";

/** Encodings that need nothing but the message; those that keep some tokens alone say how many. */
export const REMOTE_ENCODINGS = ["f32", "f16", "int8", "int4", "top-k"] as const;
export type RemoteEncoding = (typeof REMOTE_ENCODINGS)[number];

/** Tokens of a row in "top-k". */
export const TOP_K = 64;

/** Logits of one answer. */
export const MAX_LOGITS = 1 << 21;
/** Beside the rows: the header of the message, and its note. */
const MESSAGE_BYTES = 65_536;

export interface EdgewiseFacts extends Pick<RowServer, "model" | "fingerprint" | "contextLength"> {
  readonly encoding: RemoteEncoding;
  readonly vocab: number;
  /** Of the peer's own rows; absent: all. */
  readonly known?: number;
}

/** What the rows of a peer's model are. */
export interface PeerModel {
  readonly vocab: number;
  /** Tokens that they know, where that is not all: the peer has them from elsewhere. */
  readonly known?: number;
  readonly fingerprint: string;
}

/** Asks for one row, so that a peer that has none, or others, is known before it matters. */
export async function readPeer(client: RemoteClient, model: string, token: number): Promise<PeerModel> {
  const body = { model, tokens: [token], encoding: "ids" };
  const answer = await client.json("/v1/rows", body, { maxBytes: MESSAGE_BYTES });
  const field = new Field(client.name, answer);
  const known = field.at("known");
  return {
    vocab: field.at("vocab").integer(1, 1 << 20),
    ...(!known.isAbsent && { known: known.integer(1, 1 << 20) }),
    fingerprint: field.at("system_fingerprint").text(),
  };
}

export function edgewiseServer(client: RemoteClient, facts: EdgewiseFacts): RowServer {
  const { model, encoding, vocab } = facts;
  const most = Math.max(1, Math.floor(MAX_LOGITS / vocab));

  async function ask(body: object, rows: number, signal: AbortSignal): Promise<Float32Array[]> {
    const bounds = { maxBytes: rows * vocab * 4 + MESSAGE_BYTES, signal };
    const { bytes } = await client.bytes(
      "/v1/rows",
      { model, encoding, rows, ...body },
      bounds,
      ROWS_MEDIA_TYPE,
    );
    return read(bytes, rows);
  }

  function read(bytes: Uint8Array, rows: number): Float32Array[] {
    let message: DecodedRows;
    try {
      message = decodeRows(bytes, { maxVocab: vocab, maxRows: rows });
      if (message.count === rows && message.vocab === vocab) {
        return Array.from({ length: rows }, (_, index) => message.row(index));
      }
    } catch (error) {
      const isTheirs =
        error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
      if (isTheirs) throw new RemoteError(`Cannot read rows of ${client.name}: ${error.message}`);
      throw error;
    }
    throw new RemoteError(
      `Cannot read rows of ${client.name}: its answer must have ${rows} rows of ${vocab} tokens, got ${message.count} of ${message.vocab}`,
    );
  }

  return {
    ...facts,
    ...(encoding === "top-k" && { known: Math.min(TOP_K, facts.known ?? TOP_K) }),
    async rows(call, signal) {
      const { text, tokens, rows, parents } = call;
      const all = [...text, ...tokens];
      const found: Float32Array[] = [];
      if (parents !== undefined && rows <= most) return await ask({ tokens: all, parents }, rows, signal);
      if (parents !== undefined) {
        for (const path of pathsOf(call)) found.push(...(await ask({ tokens: path }, 1, signal)));
        return found;
      }
      // Of a chain, the rows of a beginning are those of a shorter text.
      for (let left = rows; left > 0; left -= most) {
        const end = all.length - Math.max(0, left - most);
        found.push(...(await ask({ tokens: all.slice(0, end) }, Math.min(left, most), signal)));
      }
      return found;
    },
  };
}
