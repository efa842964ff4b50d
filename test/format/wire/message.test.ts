/** Messages: what other tools find in them, that every field is checked, and that what is wrong is named. */
import { describe, expect, it } from "vitest";
import { UnsupportedError } from "../../../src/errors.ts";
import {
  createCodebook,
  decodeRow,
  decodeRows,
  encodeRow,
  encodeRows,
  rowFromJson,
  rowToJson,
  trainCodebook,
  WIRE_LIMITS,
} from "../../../src/format/wire/index.ts";
import { createRandom, modelRow, narrowBook, SPECS, wideBook } from "./support.ts";

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> & {
  __metadata__: Record<string, string>;
};

/** As any reader of safetensors takes a file apart. */
function apart(bytes: Uint8Array): { header: Header; data: Uint8Array } {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  return { header, data: bytes.slice(8 + length) };
}

function together(header: object, data: Uint8Array): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const VOCAB = 77;
const random = createRandom(4);
const rows = SPECS.map(() => modelRow(random, VOCAB));
const mixed = encodeRows(rows, SPECS, { note: "a note" });

describe("a message", () => {
  it("gives every row as its own bytes do, in order", () => {
    const decoded = decodeRows(mixed);
    expect([decoded.count, decoded.vocab, decoded.note]).toEqual([rows.length, VOCAB, "a note"]);
    expect(decoded.encoded.map(({ encoding }) => encoding)).toEqual(SPECS.map(({ encoding }) => encoding));
    for (const [i, spec] of SPECS.entries()) {
      const alone = encodeRow(rows[i], spec);
      expect(decoded.encoded[i].data).toEqual(alone.data);
      expect(decoded.row(i)).toEqual(decodeRow(alone));
    }
    expect(() => decoded.row(rows.length)).toThrow('"index" must be an integer from 0 to 12, got 13');
  });

  it("is a safetensors file: aligned, without gaps, rows of f32 and f16 as they are", () => {
    const { header, data } = apart(encodeRows(rows.slice(0, 4), ["f32", "f32", "f16", "int8"]));
    const { __metadata__: metadata, ...tensors } = header;
    expect(metadata).toEqual({
      format: "edgewise.rows",
      version: "1",
      vocab: "77",
      segments: '[{"encoding":"f32","rows":2},{"encoding":"f16","rows":1},{"encoding":"int8","rows":1}]',
    });
    expect(
      Object.fromEntries(
        Object.entries(tensors).map(([name, { dtype, shape }]) => [name, [dtype, ...shape]]),
      ),
    ).toEqual({
      "0.logits": ["F32", 2, 77],
      "1.logits": ["F16", 1, 77],
      "2.scale": ["F16", 1, 3],
      "2.minimum": ["F16", 1, 3],
      "2.codes": ["U8", 1, 77],
    });
    const inOrder = Object.values(tensors).sort((a, b) => a.data_offsets[0] - b.data_offsets[0]);
    let end = 0;
    for (const { dtype, shape, data_offsets: offsets } of inOrder) {
      const size = { F32: 4, F16: 2, U8: 1 }[dtype]!;
      expect(offsets).toEqual([end, end + size * shape.reduce((a, b) => a * b)]);
      expect(offsets[0] % size).toBe(0);
      end = offsets[1];
    }
    expect(end).toBe(data.length);
    const [from, to] = tensors["0.logits"].data_offsets;
    expect(new Float32Array(data.slice(from, to).buffer)).toEqual(
      Float32Array.from([...rows[0], ...rows[1]]),
    );
  });

  it("has the codebooks that rows need, or needs them", () => {
    const specs = [narrowBook, wideBook].map((codebook) => ({ encoding: "vq", codebook }) as const);
    const whole = decodeRows(encodeRows(rows.slice(0, 2), specs));
    expect(whole.codebooks.map(({ id }) => id)).toEqual([narrowBook.id, wideBook.id]);
    expect(whole.codebooks[0]).toEqual(narrowBook);
    const bare = encodeRows(rows.slice(0, 2), specs, { withCodebooks: false });
    expect(() => decodeRows(bare)).toThrow(UnsupportedError);
    expect(() => decodeRows(bare, { codebooks: [narrowBook] })).toThrow(
      `codebook "${wideBook.id}" is neither among them nor given`,
    );
    expect(decodeRows(bare, { codebooks: [narrowBook, wideBook] }).row(1)).toEqual(whole.row(1));
  });

  it("may have codebooks alone, or nothing", () => {
    const books = decodeRows(encodeRows([], "f32", { codebooks: [wideBook] }));
    expect([books.count, books.vocab, books.codebooks[0].id]).toEqual([0, 0, wideBook.id]);
    expect(decodeRows(encodeRows([])).count).toBe(0);
  });

  it("is read from a Buffer too, at any offset", () => {
    const padded = Buffer.concat([Buffer.alloc(3), mixed]).subarray(3);
    const [decoded, expected] = [decodeRows(padded), decodeRows(mixed)];
    for (let i = 0; i < expected.count; i++) expect(decoded.row(i)).toEqual(expected.row(i));
    expect(decoded.codebooks).toEqual(expected.codebooks);
  });

  it("takes rows that are encoded as they are", () => {
    const decoded = decodeRows(mixed);
    expect(encodeRows(decoded.encoded, "f32", { note: "a note" })).toEqual(mixed);
    const { encoded } = decodeRows(encodeRows([[0, 1]], "f32"));
    const wrong = { ...encoded[0], data: encoded[0].data.subarray(1) };
    expect(() => encodeRows([wrong])).toThrow(
      '"rows[0].data" must have 8 bytes for 2 tokens in "f32", got 7',
    );
  });

  it("is of one vocabulary, and its rows are rows", () => {
    expect(() => encodeRows([[1, 2], [3]])).toThrow('"rows[1].vocab" must be an integer from 2 to 2, got 1');
    expect(() => encodeRows([[1], [NaN]])).toThrow('"rows[1]" must have logits below ∞, got NaN at token 0');
    expect(() => encodeRows([[1]], ["f16", "f32"])).toThrow(
      '"encoding.length" must be an integer from 1 to 1, got 2',
    );
  });
});

describe("a header that is wrong", () => {
  const { header, data } = apart(encodeRows(rows.slice(0, 3), ["int8", "top-k", "top-k"]));
  const change = (edit: (header: Header) => void) => {
    const copy = structuredClone(header);
    edit(copy);
    return together(copy, data);
  };

  it("is what the tests change, else", () => {
    expect(decodeRows(change(() => {})).count).toBe(3);
  });

  it.each<[string, (header: Header) => void, string]>([
    [
      "format",
      (h) => (h.__metadata__.format = "pt"),
      'Cannot read rows: "format" must be "edgewise.rows", got "pt"',
    ],
    ["version", (h) => (h.__metadata__.version = "2"), 'Cannot read rows: "version" must be "1", got "2"'],
    [
      "vocab",
      (h) => (h.__metadata__.vocab = "1e3"),
      'Cannot read rows: "vocab" must be an integer from 0 to 1048576, got "1e3"',
    ],
    [
      "a huge vocab",
      (h) => (h.__metadata__.vocab = "9999999999"),
      'must be an integer from 0 to 1048576, got "9999999999"',
    ],
    [
      "another vocab",
      (h) => (h.__metadata__.vocab = "78"),
      'tensor "0.codes" must be U8 of 1 x 78, got "U8 of 1 x 77"',
    ],
    ["segments", (h) => (h.__metadata__.segments = "[{}"), '"segments" must be JSON'],
    [
      "no encoding",
      (h) => (h.__metadata__.segments = "[{}]"),
      '"segments[0].encoding" must be one that is known, got nothing',
    ],
    [
      "rows",
      (h) => (h.__metadata__.segments = '[{"encoding":"f32","rows":0}]'),
      '"segments[0].rows" must be an integer from 1 on, got "0"',
    ],
    [
      "huge rows",
      (h) => (h.__metadata__.segments = '[{"encoding":"f32","rows":1e15}]'),
      "it must have at most 65536 rows, has more",
    ],
    [
      "a codebook",
      (h) => (h.__metadata__.segments = '[{"encoding":"f32","rows":1,"codebook":"x"}]'),
      '"segments[0].codebook" must be the id of a codebook, for "vq" and nothing else',
    ],
    [
      "a missing tensor",
      (h) => (h.__metadata__.segments = '[{"encoding":"f32","rows":1}]'),
      'tensor "0.logits" is missing',
    ],
    [
      "a tensor too many",
      (h) => (h.__metadata__.segments = '[{"encoding":"int8","rows":1}]'),
      'tensor "1.ends" is of no segment',
    ],
    [
      "a type",
      (h) => (h["0.codes"].dtype = "I8"),
      'tensor "0.codes" must be U8 of 1 x 77, got "I8 of 1 x 77"',
    ],
    ["a gap", (h) => (h["0.codes"].data_offsets[0] += 1), "Cannot read rows: tensor"],
    ["an offset", (h) => (h["0.codes"].data_offsets[1] = 2 ** 40), "must lie in"],
    [
      "no offsets",
      (h) => (h["0.codes"].data_offsets = [] as never),
      'tensor "0.codes" must have two data_offsets',
    ],
    ["a shape", (h) => (h["0.codes"].shape = [-1]), 'tensor "0.codes" must have a shape'],
    [
      "no text",
      (h) => (h.__metadata__.note = 4 as never),
      '"__metadata__" must have texts only, "note" is none',
    ],
  ])("says so: %s", (_, edit, message) => {
    expect(() => decodeRows(change(edit))).toThrow(message);
  });

  it("has ceilings before anything is allocated", () => {
    const length = new Uint8Array(16);
    new DataView(length.buffer).setBigUint64(0, 2n ** 63n, true);
    expect(() => decodeRows(length)).toThrow(
      "its header must have at most 4,194,304 bytes, got 9,223,372,036,854,775,808",
    );
    new DataView(length.buffer).setBigUint64(0, 1000n, true);
    expect(() => decodeRows(length)).toThrow("its header needs 1,000 bytes at offset 8, input has 16");
    expect(() => decodeRows(mixed, { maxVocab: 50 })).toThrow('"vocab" must be an integer from 0 to 50');
    expect(() => decodeRows(mixed, { maxRows: 3 })).toThrow("at most 3 rows");
    const { encoding, data } = encodeRow([1, 2], "ids");
    expect(() => decodeRow({ encoding, data, vocab: 2 ** 30 })).toThrow(
      `"row.vocab" must be an integer from 1 to ${WIRE_LIMITS.vocab}`,
    );
  });

  it("is not the only place where a codebook must be itself", () => {
    const file = apart(encodeRows([], "f32", { codebooks: [narrowBook] }));
    file.data[0] ^= 1;
    expect(() => decodeRows(together(file.header, file.data))).toThrow("must be named by its content");
  });
});

describe("numbers of a row that are wrong", () => {
  const wrong = (spec: (typeof SPECS)[number], change: (data: Uint8Array) => void, vocab = 5) => {
    const encoded = encodeRow(modelRow(createRandom(1), vocab), spec);
    change(encoded.data);
    return () => decodeRow(encoded);
  };
  const topK = { encoding: "top-k", count: 2, precision: "f32" } as const;

  it("are named", () => {
    expect(wrong({ encoding: "f32" }, (data) => data.set([0, 0, 192, 127], 8))).toThrow(
      '"row.data" must have logits below ∞, got NaN at token 2',
    );
    expect(wrong({ encoding: "f16" }, (data) => data.set([0, 124], 0))).toThrow("got Infinity at token 0");
    expect(wrong({ encoding: "f16" }, (data) => data.set(data.map((_, i) => (i % 2 ? 0xfc : 0))))).toThrow(
      "above −∞",
    );
    expect(wrong({ encoding: "int8" }, (data) => data.set([0, 124], 0))).toThrow(
      "finite scales and minimums, got Infinity, the scale of block 0",
    );
    expect(wrong({ encoding: "int8" }, (data) => data.set([1, 252], 2))).toThrow(
      "got NaN, the minimum of block 0",
    );
    expect(wrong({ encoding: "int4" }, (data) => (data[data.length - 1] |= 16))).toThrow(
      "must end in four bits of 0",
    );
    expect(wrong({ encoding: "vq", codebook: narrowBook }, (data) => (data[4] = 40))).toThrow(
      "must have codes below 40, got 40 at byte 4",
    );
    expect(wrong({ encoding: "vq", codebook: narrowBook }, (data) => data.set([0, 0, 128, 127]))).toThrow(
      "finite shift, got Infinity",
    );
    expect(wrong(topK, (data) => (data[0] = 17))).toThrow("must begin with 16 or 32, got 17");
    expect(wrong(topK, (data) => data.set([0, 0, 0, 64], 1))).toThrow(
      "must have a tail mass from 0 to 1, got 2",
    );
    expect(wrong(topK, (data) => (data[5] = 9))).toThrow("must have a number of tokens from 1 to 5, got 9");
    expect(wrong(topK, (data) => (data[7] = 7))).toThrow("must have the gap before token 1 from 0 to");
    expect(wrong(topK, (data) => data.set([0, 0, 0, 63], 1))).toThrow(
      "must have probabilities that sum to 1, got",
    );
    expect(wrong(topK, (data) => data.set([0, 0, 192, 127], 8))).toThrow(
      "finite log-probabilities up to 0, got NaN",
    );
    expect(wrong({ encoding: "lattice", resolution: 9 }, (data) => (data[0] = 8))).toThrow(
      /must have (the count of token|counts that sum)/,
    );
    expect(wrong({ encoding: "lattice", resolution: 9 }, (data) => (data[2] = 30))).toThrow(
      "must have a Rice parameter from 0 to 20, got 30",
    );
    expect(wrong({ encoding: "ids", count: 2 }, (data) => (data[2] = data[1]))).toThrow(
      "must have each token once",
    );
    expect(wrong({ encoding: "ids" }, (data) => (data[1] = 5))).toThrow(
      "must have token 0 from 0 to 4, got 5",
    );
  });

  it("or bytes too few or too many", () => {
    for (const spec of SPECS) {
      const { data, ...rest } = encodeRow(modelRow(createRandom(1), 50), spec);
      expect(() => decodeRow({ ...rest, data: Uint8Array.of(...data, 0) })).toThrow('"row.data" must');
      expect(() => decodeRow({ ...rest, data: data.subarray(0, -1) })).toThrow('"row.data" must');
    }
  });

  it("take no memory that is not there: counts are checked against the bytes", () => {
    const vocab = WIRE_LIMITS.vocab;
    const many = [16, 0, 0, 0, 0, 0xff, 0xff, 0x3f];
    expect(() => decodeRow({ encoding: "top-k", vocab, data: Uint8Array.from(many) })).toThrow(
      "must have at least 1048575 bytes more",
    );
    expect(() => decodeRow({ encoding: "ids", vocab, data: Uint8Array.of(0xff, 0xff, 0x3f) })).toThrow(
      "bytes more for its tokens",
    );
    expect(() => decodeRow({ encoding: "ids", vocab, data: Uint8Array.of(0x81, 0x00, 0) })).toThrow(
      "without leading zeros",
    );
  });
});

describe("a row in JSON", () => {
  it("comes back as it was", () => {
    for (const [i, spec] of SPECS.entries()) {
      const encoded = encodeRow(rows[i], spec);
      const json = JSON.parse(JSON.stringify(rowToJson(encoded)));
      expect(rowFromJson(json, "row", { codebooks: [narrowBook, wideBook] })).toEqual(encoded);
    }
    const { vocab: _, ...json } = rowToJson(encodeRow([1, 2, 3], "f16"));
    expect(rowFromJson(json).vocab).toBe(3);
  });

  it.each<[unknown, string]>([
    ["text", '"row" must be an object with encoding, vocab and data, got string'],
    [{ encoding: "f8", data: "" }, '"row.encoding" must be one of'],
    [{ encoding: "f32", data: 4 }, '"row.data" must be base64, got number'],
    [{ encoding: "f32", data: "%" }, '"row.data" must be base64'],
    [{ encoding: "int8", data: "AAAA" }, '"row.vocab" must be an integer from 1 to 1048576, got nothing'],
    [
      { encoding: "vq", vocab: 4, data: "", codebook: "x" },
      '"row.codebook" must be the id of a codebook that is known here, got "x"',
    ],
    [{ encoding: "f32", data: "", extra: 1 }, '"row" may have encoding, vocab, data, codebook, got "extra"'],
  ])("is refused: %j", (json, message) => {
    expect(() => rowFromJson(json)).toThrow(message);
  });
});

describe("a codebook", () => {
  it("is the same from the same rows and seed, and nearer with more codewords", () => {
    const random = createRandom(9);
    const rows = Array.from({ length: 3 }, () => modelRow(random, 512));
    const error = (count: number, stages: number) => {
      const codebook = trainCodebook(rows, { count, stages, dim: 8 });
      return rows.reduce((sum, row) => {
        const decoded = decodeRow(encodeRow(row, { encoding: "vq", codebook }));
        return sum + row.reduce((sum, z, token) => sum + (z - decoded[token]) ** 2, 0);
      }, 0);
    };
    expect(trainCodebook(rows, { count: 8 }).id).toBe(trainCodebook(rows, { count: 8 }).id);
    expect(trainCodebook(rows, { count: 8 }).id).not.toBe(trainCodebook(rows, { count: 8, seed: 1 }).id);
    expect(error(64, 1)).toBeLessThan(error(8, 1));
    expect(error(64, 2)).toBeLessThan(error(64, 1));
  });

  it("has a shape within its ceilings, and numbers", () => {
    const shape = { stages: 1, count: 2, dim: 4 };
    expect(() => createCodebook({ ...shape, dim: 6 }, new Float32Array(12))).toThrow(
      '"codebook.dim" must be a multiple of 4, got 6',
    );
    expect(() => createCodebook(shape, new Float32Array(7))).toThrow(
      '"codebook.values.length" must be an integer from 8 to 8, got 7',
    );
    expect(() => createCodebook(shape, new Float32Array(8).fill(NaN))).toThrow(
      '"codebook.values[0]" must be a number from',
    );
    expect(() => trainCodebook([[0, -Infinity]])).toThrow(
      '"rows[0]" must have finite logits for a codebook, got -Infinity at token 1',
    );
    expect(() => trainCodebook([])).toThrow('"rows.length" must be an integer from 1 to 65536, got 0');
  });
});
