import { type Context, Hono } from "hono";
import { type Codebook, createCodebook, encodeRows, ROWS_MEDIA_TYPE } from "../../format/wire/index.ts";
import { apiError, show } from "../errors.ts";
import { checkedPaths } from "../path-errors.ts";
import { isRowMessage, readMessage } from "../row-messages.ts";
import { wrong } from "../rows.ts";
import { checkCodebook } from "../schemas/codebooks.ts";
import { readJson, type Service, type ServiceEnv } from "../service.ts";

/**
 * `PUT /v1/codebooks/:id`: a codebook, sent once, for rows that name it from then on. `GET`: all that may be named, or one as a
 * message of rows; `DELETE` forgets one. They are the caller's own, and live in this process or isolate: whoever is told
 * `codebook_not_found` sends it again, or along with the rows.
 */
export function codebookRoutes({ codebooks }: Service) {
  return new Hono<ServiceEnv>()
    .get("/codebooks", (c) => c.json({ object: "list", data: codebooks.of(ownerOf(c)).map(described) }))
    .get("/codebooks/:id", (c) => {
      const id = c.req.param("id");
      const codebook = codebooks.of(ownerOf(c)).find((one) => one.id === id);
      if (codebook === undefined) throw notFound(id);
      const bytes = encodeRows([], "f32", { codebooks: [codebook] }) as Uint8Array<ArrayBuffer>;
      return c.body(bytes, 200, { "content-type": ROWS_MEDIA_TYPE });
    })
    .put("/codebooks/:id", async (c) => {
      const id = c.req.param("id");
      const codebook = isRowMessage(c) ? await inMessage(c) : await inJson(c);
      if (codebook.id !== id) {
        throw wrong("id", `must be the id of this codebook, "${codebook.id}", got ${show(id)}`);
      }
      codebooks.put(ownerOf(c), codebook);
      return c.json(described(codebook));
    })
    .delete("/codebooks/:id", (c) => {
      const id = c.req.param("id");
      if (!codebooks.drop(ownerOf(c), id)) throw notFound(id);
      return c.json({ object: "codebook", id, deleted: true });
    });
}

function ownerOf(c: Context<ServiceEnv>): string | undefined {
  return c.get("caller")?.name;
}

async function inMessage(c: Context<ServiceEnv>): Promise<Codebook> {
  const { codebooks } = readMessage(await c.get("body").bytes());
  if (codebooks.length === 1) return codebooks[0];
  throw apiError(400, `The message must have one codebook, got ${codebooks.length}`, {
    code: "invalid_rows",
  });
}

async function inJson(c: Context<ServiceEnv>): Promise<Codebook> {
  const { data, ...shape } = checkCodebook(await readJson(c));
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  } catch {
    throw wrong("data", "must be base64");
  }
  if (bytes.length % 4 !== 0) throw wrong("data", `must be f32 values, got ${bytes.length} bytes`);
  const values = Float32Array.from({ length: bytes.length / 4 }, littleEndian(bytes));
  return checkedPaths(
    (path) => path.replace(/^codebook\.(values)?/, (_, name) => (name ? "data" : "")),
    () => createCodebook(shape, values),
  );
}

function littleEndian({ buffer }: Uint8Array): (value: unknown, index: number) => number {
  const view = new DataView(buffer);
  return (_, index) => view.getFloat32(4 * index, true);
}

function described({ id, stages, count, dim, values }: Codebook): object {
  return { object: "codebook", id, stages, count, dim, bytes: values.byteLength };
}

function notFound(id: string) {
  return apiError(404, `No codebook ${show(id)} is known here`, { param: "id", code: "codebook_not_found" });
}
