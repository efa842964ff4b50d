/** Codebooks that are sent once: rows name them from then on, in JSON and in messages, and nobody else's. */
import { describe, expect, it } from "vitest";
import {
  type Codebook,
  createCodebook,
  decodeRow,
  decodeRows,
  encodeRow,
  encodeRows,
  ROWS_MEDIA_TYPE,
  rowToJson,
  trainCodebook,
} from "../../src/format/wire/index.ts";
import { Codebooks } from "../../src/service/codebooks.ts";
import { createRandom, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

const random = createRandom(8);
const rows = Array.from({ length: 3 }, () => Float32Array.from(randomRow(random, 90)));
const codebook = trainCodebook(rows, { stages: 2, count: 16, dim: 4, rounds: 3 });
const encoded = encodeRow(rows[0], { encoding: "vq", codebook });
/** What is sampled from it at temperature 0. */
const decoded = decodeRow(encoded);
const best = decoded.indexOf(Math.max(...decoded));
const sampling = { temperature: 0 };

const KEYS = ["one:key-of-one", "two:key-of-two"];

function jsonOf({ stages, count, dim, values }: Codebook) {
  return { stages, count, dim, data: Buffer.from(values.buffer).toString("base64") };
}

function open(options: Parameters<typeof fakeService>[1] = {}, key?: string) {
  const { app, errors } = fakeService(undefined, options);
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const call = async (method: string, path: string, body?: object | Uint8Array, of = headers) => {
    const isBytes = body instanceof Uint8Array;
    const response = await app.request(path, {
      method,
      headers: { ...of, ...(isBytes && { "content-type": ROWS_MEDIA_TYPE }) },
      body: isBytes ? (body as Uint8Array<ArrayBuffer>) : body && JSON.stringify(body),
    });
    expect(errors).toEqual([]);
    const isJson = response.headers.get("content-type")?.includes("json");
    return { status: response.status, answer: isJson ? await response.json() : await response.arrayBuffer() };
  };
  return call;
}

const path = (id = codebook.id) => `/v1/codebooks/${id}`;

describe("a codebook that was put", () => {
  it.each<[string, object | Uint8Array]>([
    ["as JSON", jsonOf(codebook)],
    ["as a message", encodeRows([], "f32", { codebooks: [codebook] })],
  ])("is named by rows %s", async (_, body) => {
    const call = open();
    const described = { id: codebook.id, stages: 2, count: 16, dim: 4, bytes: 512 };
    expect(await call("PUT", path(), body)).toEqual({
      status: 200,
      answer: { object: "codebook", ...described },
    });
    expect((await call("PUT", path(), body)).status).toBe(200);
    expect((await call("GET", "/v1/codebooks")).answer).toMatchObject({ data: [described] });

    const row = rowToJson(encoded);
    expect((await call("POST", "/v1/sample", { rows: { row }, sampling })).answer).toMatchObject({
      token: best,
    });
    const target = [row, rowToJson(encodeRow(rows[1], { encoding: "vq", codebook }))];
    const verified = await call("POST", "/v1/verify", { rows: { target }, draft: [best], sampling });
    expect(verified.answer).toMatchObject({ accepted: 1 });
    const scored = await call("POST", "/v1/score", { rows: { row }, scores: ["nll"], target: best });
    expect(scored.status).toBe(200);
    const plan = { preset: "mixture" };
    const fused = await call("POST", "/v1/fuse", { plan, rows: { a: row, b: row }, sampling });
    expect(fused.answer).toMatchObject({ token: best });

    const note = JSON.stringify({ rows: { row: { row: 0 } }, sampling });
    const message = encodeRows([encoded], "f32", { withCodebooks: false, note });
    expect((await call("POST", "/v1/sample", message)).answer).toMatchObject({ token: best });

    const { answer } = await call("GET", path());
    expect(decodeRows(new Uint8Array(answer)).codebooks).toEqual([codebook]);
    expect((await call("DELETE", path())).status).toBe(200);
    for (const again of [await call("DELETE", path()), await call("GET", path())]) {
      expect(again).toMatchObject({ status: 404, answer: { error: { code: "codebook_not_found" } } });
    }
    const unknown = await call("POST", "/v1/sample", { rows: { row } });
    expect(unknown.answer.error).toEqual({
      message: `"rows.row.codebook" must be the id of a codebook that is known here, got "${codebook.id}"`,
      type: "invalid_request_error",
      param: "rows.row.codebook",
      code: "codebook_not_found",
    });
    const unsent = await call("POST", "/v1/sample", message);
    expect(unsent.answer.error).toMatchObject({ code: "codebook_not_found" });
  });

  it("is nobody else's", async () => {
    const call = open({ keys: KEYS }, "key-of-one");
    const theirs = { authorization: "Bearer key-of-two" };
    await call("PUT", path(), jsonOf(codebook));
    expect((await call("GET", "/v1/codebooks", undefined, theirs)).answer.data).toEqual([]);
    expect((await call("GET", path(), undefined, theirs)).status).toBe(404);
    expect((await call("DELETE", path(), undefined, theirs)).status).toBe(404);
    const row = rowToJson(encoded);
    expect((await call("POST", "/v1/sample", { rows: { row } }, theirs)).status).toBe(400);
    expect((await call("POST", "/v1/sample", { rows: { row } })).status).toBe(200);
    expect((await call("PUT", path(), jsonOf(codebook), { authorization: "Bearer nobody" })).status).toBe(
      401,
    );
  });

  it("need not be put where it is configured, and stays", async () => {
    const call = open({ codebooks: [codebook] });
    const row = rowToJson(encoded);
    expect((await call("POST", "/v1/sample", { rows: { row }, sampling })).answer).toMatchObject({
      token: best,
    });
    expect((await call("DELETE", path())).status).toBe(404);
    expect(() => open({ codebooks: [codebook, codebook] })).toThrow(
      `"codebooks[1]" must have an id of its own, got "${codebook.id}" again`,
    );
  });
});

describe("a codebook is refused", () => {
  const json = jsonOf(codebook);
  it.each<[string, object | Uint8Array, string, string]>([
    ["under another id", json, "0123456789abcdef", `"id" must be the id of this codebook, "${codebook.id}"`],
    [
      "with fewer values",
      { ...json, count: 17 },
      codebook.id,
      '"data.length" must be an integer from 136 to 136',
    ],
    ["of half a value", { ...json, data: "AAAA" }, codebook.id, '"data" must be f32 values, got 3 bytes'],
    ["that is no base64", { ...json, data: "%" }, codebook.id, '"data" must be base64'],
    ["of another width", { ...json, dim: 6 }, codebook.id, '"dim" must be a multiple of 4, got 6'],
    [
      "of too many",
      { ...json, stages: 8, count: 65536, dim: 64 },
      codebook.id,
      "must have at most 4194304 values",
    ],
    ["with a field more", { ...json, more: 1 }, codebook.id, '"more" is not a field that is known'],
    [
      "that is not finite",
      jsonOf({ ...codebook, values: codebook.values.map(() => NaN) }),
      codebook.id,
      '"data[0]"',
    ],
    ["in a message of none", encodeRows([rows[0]]), codebook.id, "The message must have one codebook, got 0"],
    ["in bytes that are no message", new Uint8Array(100), codebook.id, "Cannot read rows"],
  ])("%s", async (_, body, id, message) => {
    const { status, answer } = await open()("PUT", path(id), body);
    expect(status).toBe(400);
    expect(answer.error.message).toContain(message);
  });

  it("that takes more than all may", async () => {
    const call = open({ maxCodebookBytes: 511 });
    expect(await call("PUT", path(), jsonOf(codebook))).toMatchObject({
      status: 413,
      answer: { error: { message: "A codebook must have at most 511 bytes here, got 512" } },
    });
  });
});

describe("of many codebooks", () => {
  const books = Array.from({ length: 4 }, (_, i) =>
    createCodebook(
      { stages: 1, count: 4, dim: 4 },
      Float32Array.from({ length: 16 }, () => i),
    ),
  );
  const ids = (of: readonly Codebook[]) => of.map(({ id }) => id);

  it("those that were used last stay, whosever they are", () => {
    const all = new Codebooks([], 3 * 64);
    for (const book of books.slice(0, 3)) all.put("one", book);
    all.used("one", new Set([books[0].id]));
    all.put("two", books[0]);
    expect(ids(all.of("one"))).toEqual(ids([books[2], books[0]]));
    all.put("one", books[2]);
    all.put("one", books[3]);
    expect([ids(all.of("one")), ids(all.of("two"))]).toEqual([ids([books[2], books[3]]), ids([books[0]])]);
    expect(all.drop("two", books[3].id)).toBe(false);
    expect(all.drop("one", books[3].id)).toBe(true);
    expect(ids(all.of())).toEqual([]);
  });

  it("a forged one does not take the place of another", () => {
    const all = new Codebooks();
    all.put("one", books[0]);
    const forged = { ...books[1], id: books[0].id };
    expect(() => all.put("one", forged)).toThrow("Another codebook has the id");
    all.put("two", forged);
    expect(all.of("one")).toEqual([books[0]]);
  });
});
