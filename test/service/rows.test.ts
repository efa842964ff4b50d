/** Encoded rows over HTTP: in JSON and as messages, in and out, are what the library makes of them. */
import { describe, expect, it } from "vitest";
import { score } from "../../src/decoding/score.ts";
import {
  decodeRow,
  decodeRows,
  encodeRow,
  encodeRows,
  ROWS_MEDIA_TYPE,
  rowFromJson,
  rowToJson,
} from "../../src/format/wire/index.ts";
import { lawOf, modelRow, narrowBook, SPECS } from "../format/wire/support.ts";
import { createRandom } from "../support/random.ts";
import { fakeService } from "./fake-model.ts";

const { post, app, errors } = fakeService();
const random = createRandom(6);
const [a, b] = [modelRow(random, 90), modelRow(random, 90)];
const WITHOUT_BOOK = SPECS.filter((spec) => spec.encoding !== "vq");
const plan = { sources: ["a"], source: "a" };

async function fuse(body: object) {
  const response = await post("/v1/fuse", body);
  expect(errors).toEqual([]);
  return { status: response.status, answer: await response.json() };
}

function send(path: string, bytes: Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return Promise.resolve(
    app.request(path, {
      method: "POST",
      headers: { "content-type": ROWS_MEDIA_TYPE, ...headers },
      body: bytes as Uint8Array<ArrayBuffer>,
    }),
  );
}

const numbers = (row: Float32Array) => Array.from(row, (z) => (z === -Infinity ? null : z));

describe("rows in JSON", () => {
  it.each(WITHOUT_BOOK)("are decoded: %j", async (spec) => {
    const encoded = encodeRow(a, spec);
    const { status, answer } = await fuse({ plan, rows: { a: rowToJson(encoded) }, return: ["logits"] });
    expect(status).toBe(200);
    expect(answer.logits).toEqual(numbers(decodeRow(encoded)));
    const scored = await post("/v1/score", {
      scores: ["kl"],
      rows: { row: rowToJson(encodeRow(a, "int8")), reference: rowToJson(encodeRow(b, "f16")) },
    });
    const expected = score("kl", { row: encodeRow(a, "int8"), reference: encodeRow(b, "f16") }).value;
    expect((await scored.json()).scores.kl).toBe(expected);
  });

  it("go out in every encoding that needs no codebook", async () => {
    const rows = { a: rowToJson(encodeRow(a, "f32")) };
    for (const encoding of ["f32", "f16", "int8", "int4", "top-k", "lattice", "ids"] as const) {
      const { answer } = await fuse({ plan, rows, encoding, return: ["logits", "probs"] });
      const { shape: _, ...json } = answer.logits;
      expect(rowFromJson(json)).toEqual(encodeRow(a, encoding));
      const { shape: __, ...probs } = answer.probs;
      const row = decodeRow(rowFromJson(probs));
      const law = lawOf(a);
      if (encoding === "f32" || encoding === "f16") {
        for (const [token, p] of law.entries()) expect(Math.abs(row[token] - p)).toBeLessThan(1e-3);
      } else expect(row.indexOf(Math.max(...row))).toBe(law.indexOf(Math.max(...law)));
    }
  });

  it("that cannot go out as asked are refused", async () => {
    const { status, answer } = await fuse({
      plan,
      rows: { a: [70_000, 1] },
      encoding: "int8",
      return: ["logits"],
    });
    expect([status, answer.error.param]).toEqual([400, "encoding"]);
    expect(answer.error.message).toBe(
      '"encoding" must be another: "logits" must have its largest logit within ±60000 for "int8", got 70000',
    );
  });

  it.each([
    [{ ...rowToJson(encodeRow(a, "int8")), vocab: 91 }, "rows.a.data"],
    [{ ...rowToJson(encodeRow(a, "int8")), vocab: 2 ** 19 }, "rows.a.vocab"],
    [{ ...rowToJson(encodeRow(a, "lattice")), data: "AAAA" }, "rows.a.data"],
    [rowToJson(encodeRow(a, { encoding: "vq", codebook: narrowBook })), "rows.a.codebook"],
    [{ encoding: "ids", vocab: 9 }, "rows.a.data"],
    [{ ...rowToJson(encodeRow(a, "ids")), more: 1 }, "rows.a.more"],
  ])("that are wrong are told by path, case %#", async (row, param) => {
    const { status, answer } = await fuse({ plan, rows: { a: row } });
    expect([status, answer.error.type, answer.error.param]).toEqual([400, "invalid_request_error", param]);
  });
});

describe("a message of rows", () => {
  const plans = { preset: "product", options: { sources: ["a", "b"] } };

  it("is a request whose JSON is its note", async () => {
    const note = JSON.stringify({ plan: plans, rows: { a: { row: 0 }, b: { row: 1 } }, seed: 4 });
    const response = await send("/v1/fuse", encodeRows([a, b], ["int8", "top-k"], { note }));
    const answer = await response.json();
    expect([response.status, errors]).toEqual([200, []]);
    const json = { a: rowToJson(encodeRow(a, "int8")), b: rowToJson(encodeRow(b, "top-k")) };
    expect(answer).toEqual((await fuse({ plan: plans, rows: json, seed: 4 })).answer);
  });

  it("may bring its codebook", async () => {
    const note = JSON.stringify({ plan, rows: { a: { row: 0 } }, return: ["logits"] });
    const spec = { encoding: "vq", codebook: narrowBook } as const;
    const answer = await (await send("/v1/fuse", encodeRows([a], spec, { note }))).json();
    expect(answer.logits).toEqual(Array.from(decodeRow(encodeRow(a, spec))));
    const without = await send("/v1/fuse", encodeRows([a], spec, { note, withCodebooks: false }));
    expect(without.status).toBe(400);
    expect((await without.json()).error.message).toContain("is neither among them nor given");
  });

  it("is scored, position by position too", async () => {
    const note = JSON.stringify({
      scores: ["graph-on-logits"],
      rows: { row: [{ row: 0 }, { row: 1 }], reference: [{ row: 2 }, { row: 3 }] },
    });
    const response = await send("/v1/score", encodeRows([a, b, b, a], "f16", { note }));
    const rows = [a, b].map((row) => decodeRow(encodeRow(row, "f16")));
    const expected = score("graph-on-logits", { row: rows, reference: [...rows].reverse() }).value;
    expect((await response.json()).scores["graph-on-logits"]).toBe(expected);
  });

  it("is the answer, for who accepts it and asks for rows", async () => {
    const body = { plan, rows: { a: numbers(a) }, return: ["logits", "probs"], encoding: "lattice" };
    const ask = (accept: string, more: object = {}) =>
      app.request("/v1/fuse", {
        method: "POST",
        headers: { accept },
        body: JSON.stringify({ ...body, ...more }),
      });
    const response = await ask(`application/json;q=0.5, ${ROWS_MEDIA_TYPE}`);
    expect(response.headers.get("content-type")).toBe(ROWS_MEDIA_TYPE);
    const message = decodeRows(new Uint8Array(await response.arrayBuffer()));
    const { answer } = await fuse({ ...body, return: [] });
    expect(JSON.parse(message.note!)).toEqual({
      ...answer,
      logits: { row: 0 },
      probs: { row: 1 },
      seed: expect.any(Number),
      token: expect.any(Number),
      logprob: expect.any(Number),
    });
    expect(message.row(0)).toEqual(decodeRow(encodeRow(a, "lattice")));
    expect(message.row(1)).toEqual(message.row(0));
    for (const response of [
      await ask("*/*"),
      await ask(`${ROWS_MEDIA_TYPE};q=0`),
      await ask(ROWS_MEDIA_TYPE, { return: [] }),
    ]) {
      expect(response.headers.get("content-type")).toContain("application/json");
    }
  });

  it.each<[string, Uint8Array, string]>([
    ["no message", Uint8Array.of(1, 2), "Cannot read rows: it must begin with 8 bytes of length, has 2"],
    ["no note", encodeRows([a]), "The note of a message of rows must be the request in JSON"],
    [
      "no such row",
      encodeRows([a], "f32", { note: '{"plan":{},"rows":{"a":{"row":1}}}' }),
      '"rows.a.row" must be a row of the message, which has 1, got 1',
    ],
    [
      "a row that is wrong",
      encodeRows([a], "f32", { note: JSON.stringify({ plan, rows: { a: { row: 0 } } }) }).fill(255, -4),
      '"rows.a.data" must have logits below ∞, got NaN at token 89',
    ],
  ])("with %s is refused", async (_, bytes, message) => {
    const response = await send("/v1/fuse", bytes);
    expect(response.status).toBe(400);
    expect((await response.json()).error.message).toBe(message);
  });
});
