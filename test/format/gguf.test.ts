import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { GGUF_LIMITS, type Gguf, type GgufLimits, readGguf } from "../../src/format/gguf.ts";
import {
  array,
  bool,
  f32,
  f32s,
  type GgufField,
  type GgufSpec,
  ggufBytes,
  ggufHeader,
  i32s,
  string,
  strings,
  u32,
  u64,
} from "../support/gguf-writer.ts";
import { streamOf } from "../support/streams.ts";

const SPEC: GgufSpec = {
  metadata: {
    "general.architecture": string("llama"),
    "llama.block_count": u32(2),
    "llama.rope.freq_base": f32(10_000),
    "tokenizer.ggml.tokens": strings(["<unk>", "▁a", "", "😀"]),
    "tokenizer.ggml.scores": f32s([0, -1.5, -2]),
  },
  tensors: [
    { name: "a.weight", type: "Q8_0", shape: [64, 3], data: () => [new Uint8Array(204).fill(1)] },
    { name: "b.weight", type: "F32", shape: [5], data: () => [new Uint8Array(20).fill(2)] },
    { name: "c.weight", type: "Q6_K", shape: [256, 2, 1, 1], data: () => [new Uint8Array(420).fill(3)] },
  ],
};

const parse = (bytes: Uint8Array, limits?: Partial<GgufLimits>): Promise<Gguf> =>
  readGguf(ByteReader.from(bytes), limits);

/** The bytes of SPEC with one field overwritten: the `nth` one of its kind, or of its kind and owner. */
function withField(
  kind: GgufField["kind"],
  value: number | bigint,
  { owner, nth = 0, spec = SPEC }: { owner?: string; nth?: number; spec?: GgufSpec } = {},
): Uint8Array {
  const bytes = ggufBytes(spec);
  const matches = ggufHeader(spec).fields.filter((f) => f.kind === kind && f.owner === (owner ?? f.owner));
  const field = matches[nth];
  const view = new DataView(bytes.buffer, field.offset, field.bytes);
  if (field.bytes === 8) view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  else if (field.bytes === 4) view.setUint32(0, Number(value), true);
  else view.setUint8(0, Number(value));
  return bytes;
}

describe("readGguf()", () => {
  test.each([2, 3])("reads version %i", async (version) => {
    const gguf = await parse(ggufBytes({ ...SPEC, version }));
    expect(gguf.version).toBe(version);
    expect(gguf.alignment).toBe(32);
    expect(Object.fromEntries(gguf.metadata)).toEqual({
      "general.architecture": "llama",
      "llama.block_count": 2,
      "llama.rope.freq_base": 10_000,
      "tokenizer.ggml.tokens": ["<unk>", "▁a", "", "😀"],
      "tokenizer.ggml.scores": [0, -1.5, -2],
    });
    const { dataOffset } = gguf;
    expect(dataOffset % 32).toBe(0);
    expect(gguf.tensors).toEqual([
      { name: "a.weight", type: "Q8_0", shape: [64, 3], offset: dataOffset, bytes: 204 },
      { name: "b.weight", type: "F32", shape: [5], offset: dataOffset + 224, bytes: 20 },
      { name: "c.weight", type: "Q6_K", shape: [256, 2, 1, 1], offset: dataOffset + 256, bytes: 420 },
    ]);
  });

  test("leaves the reader where tensors can be streamed from", async () => {
    const reader = ByteReader.from(streamOf([ggufBytes(SPEC)]));
    for (const tensor of (await readGguf(reader)).tensors) {
      await reader.skip(tensor.offset - reader.position);
      const expected = { "a.weight": 1, "b.weight": 2, "c.weight": 3 }[tensor.name];
      expect(new Set(await reader.read(tensor.bytes))).toEqual(new Set([expected]));
    }
  });

  test("reads every type of value", async () => {
    const values = {
      u8: { type: "u8", value: 200 },
      i8: { type: "i8", value: -100 },
      u16: { type: "u16", value: 60_000 },
      i16: { type: "i16", value: -30_000 },
      u32: { type: "u32", value: 4_000_000_000 },
      i32: { type: "i32", value: -2_000_000_000 },
      f32: { type: "f32", value: 1.5 },
      f64: { type: "f64", value: 1e300 },
      yes: bool(true),
      no: bool(false),
      u64: u64(2 ** 40),
      large: u64(2n ** 64n - 1n),
      i64: { type: "i64", value: -5n },
      nested: array("array", [i32s([1, -2]), array("array", [strings(["deep"])]), strings([])]),
      bytes: array(
        "u8",
        [1, 2, 3].map((value) => ({ type: "u8", value })),
      ),
      wide: array("u64", [u64(1), u64(2n ** 63n)]),
      flags: array("bool", [bool(true), bool(false)]),
    } as const;
    const { metadata } = await parse(ggufBytes({ metadata: values, tensors: [] }));
    expect(Object.fromEntries(metadata)).toEqual({
      u8: 200,
      i8: -100,
      u16: 60_000,
      i16: -30_000,
      u32: 4_000_000_000,
      i32: -2_000_000_000,
      f32: 1.5,
      f64: 1e300,
      yes: true,
      no: false,
      u64: 2 ** 40,
      large: 2n ** 64n - 1n,
      i64: -5,
      nested: [[1, -2], [["deep"]], []],
      bytes: [1, 2, 3],
      wide: [1, 2n ** 63n],
      flags: [true, false],
    });
  });

  test.each([8, 32, 4096])("honours an alignment of %i", async (alignment) => {
    const gguf = await parse(ggufBytes({ ...SPEC, alignment }));
    expect(gguf.alignment).toBe(alignment);
    expect(gguf.tensors.every(({ offset }) => offset % alignment === 0)).toBe(true);
  });

  test("a file without tensors may end with its header", async () => {
    const gguf = await parse(ggufBytes({ ...SPEC, tensors: [] }));
    expect(gguf.tensors).toEqual([]);
  });

  test("tensors come by offset, whatever the order of their entries", async () => {
    const spec = { ...SPEC, tensors: SPEC.tensors.slice(0, 2) };
    const swapped = withField("tensorOffset", 224, { owner: "a.weight", spec });
    const view = new DataView(swapped.buffer);
    const field = ggufHeader(spec).fields.findLast(({ kind }) => kind === "tensorOffset")!;
    view.setBigUint64(field.offset, 0n, true);
    const padded = new Uint8Array(swapped.length + 512);
    padded.set(swapped);
    expect((await parse(padded)).tensors.map(({ name }) => name)).toEqual(["b.weight", "a.weight"]);
  });

  test("text values that are not UTF-8 get replacement characters, and a byte order mark stays", async () => {
    const spec = { metadata: { text: string("\ufeffab") }, tensors: [] };
    const bytes = ggufBytes(spec);
    bytes[bytes.length - 1] = 0xff;
    expect((await parse(bytes)).metadata.get("text")).toBe("\ufeffa\ufffd");
  });
});

describe("readGguf() refuses", () => {
  const duplicateKey = () => {
    const bytes = ggufBytes({ metadata: { aa: u32(1), ab: u32(2) }, tensors: [] });
    bytes[bytes.indexOf(0x62)] = 0x61;
    return bytes;
  };
  const duplicateTensor = () => {
    const spec = { metadata: {}, tensors: SPEC.tensors.slice(0, 2) };
    const bytes = ggufBytes(spec);
    const name = ggufHeader(spec).fields.find((f) => f.kind === "string" && f.owner === "b.weight")!;
    bytes[name.offset] = 0x61;
    return bytes;
  };
  const invalidKey = () => {
    const bytes = ggufBytes({ metadata: { aa: u32(1) }, tensors: [] });
    bytes[bytes.indexOf(0x61)] = 0xff;
    return bytes;
  };
  const nested = (depth: number) => {
    let value = u32(1);
    let of: "u32" | "array" = "u32";
    for (let level = 0; level < depth; level++) {
      value = array(of, [value]);
      of = "array";
    }
    return ggufBytes({ metadata: { nested: value }, tensors: [] });
  };

  const CASES: [string, () => Uint8Array, new (message: string) => Error, string][] = [
    ["an empty file", () => new Uint8Array(0), RangeError, "Cannot read magic: needs 4 bytes at offset 0"],
    ["another format", () => new TextEncoder().encode("PK\x03\x04"), RangeError, "got 50 4b 03 04"],
    ["version 1", () => withField("version", 1), UnsupportedError, "version must be 2 or 3, got 1"],
    ["version 4", () => withField("version", 4), UnsupportedError, "version must be 2 or 3, got 4"],
    ["big-endian", () => withField("version", 3 << 24), UnsupportedError, "file is big-endian"],
    [
      "too many tensors",
      () => withField("tensorCount", 2n ** 63n),
      RangeError,
      "got 9,223,372,036,854,775,808",
    ],
    ["too many keys", () => withField("keyCount", 65_537), RangeError, "at most 65,536, got 65,537"],
    ["one key more than there is", () => withField("keyCount", 6), RangeError, "Cannot read "],
    [
      "an endless string",
      () => withField("stringLength", -1, { nth: 1 }),
      RangeError,
      "must be at most 8,388,608",
    ],
    ["an empty key", () => withField("stringLength", 0), RangeError, "metadata key 0 must not be empty"],
    ["a key that is not UTF-8", invalidKey, RangeError, 'metadata key 0 must be UTF-8, got "\ufffda"'],
    ["a key twice", duplicateKey, RangeError, 'metadata key "aa" comes twice'],
    ["an unknown value type", () => withField("valueType", 13), RangeError, "must be 0 … 12, got 13"],
    ["an unknown element type", () => withField("elementType", 99), RangeError, "must be 0 … 12, got 99"],
    ["too long an array", () => withField("elementCount", 2n ** 40n), RangeError, "at most 2,097,152"],
    ["deep nesting", () => nested(5), RangeError, "nested at most 4 deep"],
    ["a tensor twice", duplicateTensor, RangeError, 'tensor "a.weight" comes twice'],
    ["no dimensions", () => withField("dimensions", 0), RangeError, "must have 1 … 4 dimensions, got 0"],
    ["five dimensions", () => withField("dimensions", 5), RangeError, "must have 1 … 4 dimensions, got 5"],
    ["an empty dimension", () => withField("dimension", 0, { nth: 1 }), RangeError, "got 64 × 0"],
    ["an overflowing size", () => withField("dimension", 2n ** 60n), RangeError, "at most 2^53 weights"],
    ["part of a block", () => withField("dimension", 48), RangeError, "multiple of 32 for Q8_0, got 48"],
    ["an unknown tensor type", () => withField("tensorType", 31), UnsupportedError, "got type 31"],
    [
      "a misaligned offset",
      () => withField("tensorOffset", 8, { nth: 1 }),
      RangeError,
      "multiple of 32, got 8",
    ],
    ["overlapping tensors", () => withField("tensorOffset", 192, { nth: 1 }), RangeError, "overlaps tensor"],
    ["the same place twice", () => withField("tensorOffset", 0, { nth: 1 }), RangeError, "overlaps tensor"],
    ["tensors past the end", () => withField("dimension", 4000, { nth: 4 }), RangeError, "file has "],
    ["an offset past the end", () => withField("tensorOffset", -32), RangeError, "file has "],
    ["an odd alignment", () => ggufBytes({ ...SPEC, alignment: 24 }), RangeError, "power of two, got 24"],
    ["no alignment", () => ggufBytes({ ...SPEC, alignment: 4 }), RangeError, "from 8 to 1048576, got 4"],
    [
      "an alignment that is text",
      () => ggufBytes({ metadata: { "general.alignment": string("32") }, tensors: [] }),
      TypeError,
      'got string "32"',
    ],
    [
      "a boolean of 2",
      () => withField("value", 2, { spec: { metadata: { flag: bool(true) }, tensors: [] } }),
      RangeError,
      'boolean in metadata "flag" must be 0 or 1, got 2',
    ],
  ];

  test.each(CASES)("%s", async (_, bytes, kind, message) => {
    const failure = await parse(bytes()).then(
      () => undefined,
      (error: Error) => error,
    );
    expect(failure).toBeInstanceOf(kind);
    expect(failure?.message).toContain(message);
  });

  test("a tensor past what any file can hold, when the length is not known", async () => {
    const reader = ByteReader.from(streamOf([withField("tensorOffset", -32)]));
    await expect(readGguf(reader)).rejects.toThrow("no file is that long");
  });

  test.each(Object.keys(GGUF_LIMITS) as (keyof GgufLimits)[])(
    "a file that passes the limit %s",
    async (limit) => {
      await expect(parse(ggufBytes(SPEC))).resolves.toBeDefined();
      await expect(parse(ggufBytes(SPEC), { [limit]: 0 })).rejects.toThrow(/^Cannot read GGUF: .* at most 0/);
    },
  );

  test("a header that passes its byte limit inside a buffered array", async () => {
    const metadata = { words: strings(Array.from({ length: 100 }, () => "word")) };
    const bytes = ggufBytes({ metadata, tensors: [] });
    await expect(parse(bytes, { headerBytes: bytes.length })).resolves.toBeDefined();
    await expect(parse(bytes, { headerBytes: bytes.length - 1 })).rejects.toThrow("header must be at most");
  });

  test("arrays that pass the limit together only", async () => {
    await expect(parse(ggufBytes(SPEC), { arrayElements: 7 })).resolves.toBeDefined();
    await expect(parse(ggufBytes(SPEC), { arrayElements: 6 })).rejects.toThrow("has 3 where 2 are left");
  });
});

const ours = ["f16", "q8_0", "q4_0"].map((type) => `models/edgewise-stories-${type}.gguf`);
const others = ["stories260K-f16", "stories3M-f16", "stories3M-q8_0", "edgewise-draft-q8_0"].map(
  (name) => `../shared/models/${name}.gguf`,
);

describe.each([...ours, ...others])("%s", (path) => {
  const url = new URL(`../../${path}`, import.meta.url);
  const absent = !ours.includes(path) && !existsSync(url);
  if (absent) console.warn(`skipped: ${path} is not there`);

  test.skipIf(absent)("reads, and its tensors fill the file to the end", async () => {
    const bytes = new Uint8Array(readFileSync(url));
    const { metadata, tensors, dataOffset } = await parse(bytes);
    expect(metadata.get("general.architecture")).toBe("llama");
    const embedding = tensors.find(({ name }) => name === "token_embd.weight")!;
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
    expect(embedding.shape).toEqual([metadata.get("llama.embedding_length"), tokens.length]);
    expect(tokens.length).toBe(metadata.get("llama.vocab_size"));
    expect(tensors[0].offset).toBe(dataOffset);
    const last = tensors.at(-1)!;
    const end = last.offset + last.bytes;
    expect(Math.ceil(end / 32) * 32).toBe(Math.ceil(bytes.length / 32) * 32);
  });
});
