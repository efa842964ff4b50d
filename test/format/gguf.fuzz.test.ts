/**
 * Hostile GGUF files: whatever the bytes, and however they arrive, reading gives a valid structure or one of our
 * errors with a message, without allocating ahead of the bytes. 11,500 cases.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { GGUF_LIMITS, type Gguf, type MetadataValue, readGguf } from "../../src/format/gguf.ts";
import { metadataNumber, metadataNumbers } from "../../src/format/metadata.ts";
import { TENSOR_TYPES } from "../../src/format/tensor-types.ts";
import {
  array,
  bool,
  f32,
  f32s,
  type GgufSpec,
  type GgufValue,
  ggufBytes,
  ggufHeader,
  i32s,
  string,
  strings,
  tensorBytes,
  u32,
  u64,
} from "../support/gguf-writer.ts";
import { splitAt, streamOf } from "../support/streams.ts";

const zeros = (type: string, shape: number[], name: string) => ({
  name,
  type,
  shape,
  data: () => [new Uint8Array(tensorBytes(type, shape))],
});

const SPEC: GgufSpec = {
  alignment: 32,
  metadata: {
    "general.architecture": string("llama"),
    "llama.block_count": u32(1),
    "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
    "general.size": u64(2 ** 40),
    "tokenizer.ggml.tokens": strings(["<unk>", "<s>", "▁a", "日本", "", "x".repeat(70)]),
    "tokenizer.ggml.scores": f32s([0, -1, -2.5, NaN, Infinity, -0]),
    "tokenizer.ggml.token_type": i32s([2, 3, 1, 1, 1, 1]),
    "tokenizer.ggml.add_bos_token": bool(true),
    nested: array("array", [i32s([1, 2]), array("array", [strings(["deep", "er"])]), strings([])]),
    flags: array("bool", [bool(true), bool(false)]),
  },
  tensors: [
    zeros("Q8_0", [64, 3], "token_embd.weight"),
    zeros("F32", [5], "output_norm.weight"),
    zeros("Q4_0", [32, 4], "blk.0.attn_q.weight"),
    zeros("Q6_K", [256, 2, 1, 1], "output.weight"),
  ],
};
const FILE = ggufBytes(SPEC);
const { bytes: HEADER, fields: FIELDS } = ggufHeader(SPEC);
/** Where the last tensor ends; only padding follows. */
const DATA_END = FILE.length - (32 - (tensorBytes("Q6_K", [256, 2]) % 32));

/** The largest buffer asked for since it was last set to 0. */
let largestAllocation = 0;

beforeAll(() => {
  const tracked = new Proxy(Uint8Array, {
    construct(target, args) {
      if (typeof args[0] === "number") largestAllocation = Math.max(largestAllocation, args[0]);
      return Reflect.construct(target, args);
    },
  });
  vi.stubGlobal("Uint8Array", tracked);
});
afterAll(() => void vi.unstubAllGlobals());

type Outcome = { gguf: Gguf } | { error: string };

/** Reads, and checks everything that must hold of any file. */
async function read(input: Uint8Array | ReadableStream<Uint8Array>, length: number): Promise<Outcome> {
  largestAllocation = 0;
  const reader = ByteReader.from(input);
  const outcome = await readGguf(reader).then(
    (gguf) => ({ gguf }),
    (error: unknown) => ({ error: checkedError(error) }),
  );
  await reader.close();
  expect(largestAllocation).toBeLessThanOrEqual(Math.max(65_536, 2 * length));
  if ("gguf" in outcome) expectValid(outcome.gguf, length, reader.total);
  return outcome;
}

/** Ours are told from accidents of the engine by how their messages begin. */
function checkedError(error: unknown): string {
  const known =
    error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
  if (!known || !/^(Cannot read |Metadata ")[\s\S]{10,400}$/.test(error.message)) throw error;
  return `${error.name}: ${error.message}`;
}

function expectValid(gguf: Gguf, length: number, total: number | undefined): void {
  expect([2, 3]).toContain(gguf.version);
  expect(Number.isInteger(Math.log2(gguf.alignment))).toBe(true);
  expect(elements([...gguf.metadata.values()])).toBeLessThanOrEqual(length);
  expect(new Set(gguf.tensors.map(({ name }) => name)).size).toBe(gguf.tensors.length);
  const layouts = new Map([...TENSOR_TYPES.values()].map((type) => [type.name, type]));
  let end = gguf.dataOffset;
  for (const tensor of gguf.tensors) {
    const layout = layouts.get(tensor.type)!;
    const weights = tensor.shape.reduce((product, dim) => product * dim, 1);
    expect(tensor.shape.every((dim) => Number.isSafeInteger(dim) && dim > 0)).toBe(true);
    expect(tensor.shape[0] % layout.weights).toBe(0);
    expect(tensor.bytes).toBe((weights / layout.weights) * layout.bytes);
    expect(tensor.offset % gguf.alignment).toBe(0);
    expect(tensor.offset).toBeGreaterThanOrEqual(end);
    end = tensor.offset + tensor.bytes;
    expect(end).toBeLessThanOrEqual(total ?? Number.MAX_SAFE_INTEGER);
  }
}

function elements(values: readonly MetadataValue[]): number {
  return values.reduce<number>((sum, value) => sum + 1 + (Array.isArray(value) ? elements(value) : 0), 0);
}

function overwrite(file: Uint8Array, offset: number, bytes: number, value: bigint): void {
  for (let index = 0; index < bytes; index++) {
    file[offset + index] = Number((BigInt.asUintN(64, value) >> BigInt(8 * (index & 7))) & 255n);
  }
}

const run = (runs: number) => ({ numRuns: runs, seed: 20_240_501 });

/** Any length up to the file's, and a position in it. */
const position = (end: number) => fc.integer({ min: 0, max: end - 1 });

/** What breaks readers: zeros, one off, sign bits, powers that overflow 32, 53 and 64 bits, float patterns. */
const hostile = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 3n, 7n, 8n, 9n, 12n, 13n, 31n, 255n, 65_536n),
  fc.constantFrom(
    2n ** 18n,
    2n ** 21n,
    2n ** 23n,
    2n ** 24n,
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 53n - 1n,
  ),
  fc.constantFrom(2n ** 60n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 32n),
  fc.constantFrom(0x7fc00000n, 0x7f800000n, 0xff800000n, 0x7ff8000000000000n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: 0n, max: 512n }),
);

test("the file that is broken below is read", async () => {
  expect(await read(FILE, FILE.length)).toHaveProperty("gguf.tensors.length", 4);
});

test("truncated: an error unless only padding is missing", async () => {
  await fc.assert(
    fc.asyncProperty(position(FILE.length), async (length) => {
      const cut = FILE.slice(0, length);
      expect("gguf" in (await read(cut, length))).toBe(length >= DATA_END);
      const streamed = await read(streamOf([cut]), length);
      // A stream does not say that the tensors are missing; the header must be there.
      expect("gguf" in streamed).toBe(length >= HEADER.length);
    }),
    run(1500),
  );
});

test("flipped bits", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(position(HEADER.length * 8), { minLength: 1, maxLength: 8 }), async (flips) => {
      const file = FILE.slice();
      for (const bit of flips) file[bit >> 3] ^= 1 << (bit & 7);
      await read(file, file.length);
    }),
    run(3000),
  );
});

test("hostile values in one to three fields", async () => {
  const mutation = fc.tuple(fc.constantFrom(...FIELDS), hostile);
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
      const file = FILE.slice();
      for (const [field, value] of mutations) overwrite(file, field.offset, field.bytes, value);
      const outcome = await read(file, file.length);
      if ("gguf" in outcome) readNumbers(outcome.gguf);
      // As a stream its length is not known, so that lengths within the limits are believed until it ends.
      await read(streamOf([file]), file.length);
    }),
    run(3500),
  );
});

/** Numbers from the file are in range or refused, NaN included. */
function readNumbers({ metadata }: Gguf): void {
  for (const [key, value] of metadata) {
    try {
      const range = { min: -1000, max: 1000 };
      const numbers = Array.isArray(value)
        ? metadataNumbers(metadata, key, range)
        : [metadataNumber(metadata, key, range)];
      expect(numbers.every((number) => number >= -1000 && number <= 1000)).toBe(true);
    } catch (error) {
      checkedError(error);
    }
  }
}

test("inserted and removed bytes", async () => {
  const edit = fc.record({
    at: position(HEADER.length),
    removed: fc.integer({ min: 0, max: 16 }),
    inserted: fc.uint8Array({ maxLength: 16 }),
  });
  await fc.assert(
    fc.asyncProperty(edit, async ({ at, removed, inserted }) => {
      const file = Uint8Array.from([...FILE.subarray(0, at), ...inserted, ...FILE.subarray(at + removed)]);
      await read(file, file.length);
    }),
    run(1000),
  );
});

test("noise after a valid beginning", async () => {
  await fc.assert(
    fc.asyncProperty(position(200), fc.uint8Array({ maxLength: 300 }), async (kept, noise) => {
      const file = Uint8Array.from([...FILE.subarray(0, kept), ...noise]);
      await read(file, file.length);
    }),
    run(500),
  );
});

test("arrays nested to any depth, counts made up", async () => {
  const count = fc.oneof({ weight: 9, arbitrary: fc.constant(1n) }, hostile);
  await fc.assert(
    fc.asyncProperty(fc.array(count, { minLength: 1, maxLength: 8 }), async (counts) => {
      const { bytes } = ggufHeader({ metadata: { nested: array("array", []) }, tensors: [] });
      // The empty array's element type and count are the last 12 bytes: the levels take their place, arrays but
      // for the last, which is of u32 and has one value.
      const start = bytes.length - 12;
      const file = new Uint8Array(start + 12 * counts.length + 4);
      file.set(bytes);
      counts.forEach((elements, level) => {
        overwrite(file, start + 12 * level, 4, level < counts.length - 1 ? 9n : 4n);
        overwrite(file, start + 12 * level + 4, 8, elements);
      });
      const outcome = await read(file, file.length);
      const allowed = counts.length <= GGUF_LIMITS.arrayDepth;
      if (counts.every((elements) => elements === 1n)) expect("gguf" in outcome).toBe(allowed);
      if (!allowed && counts.slice(0, GGUF_LIMITS.arrayDepth).every((elements) => elements === 1n)) {
        expect(outcome).toHaveProperty("error", expect.stringContaining("nested at most 4 deep"));
      }
    }),
    run(500),
  );
});

test("the same outcome however the stream is split, for valid and broken files", async () => {
  const mutation = fc.option(fc.tuple(fc.constantFrom(...FIELDS), hostile), { freq: 1 });
  const cuts = fc.array(position(FILE.length), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(mutation, cuts, async (mutated, positions) => {
      const file = FILE.slice();
      if (mutated) overwrite(file, mutated[0].offset, mutated[0].bytes, mutated[1]);
      const whole = await read(streamOf([file]), file.length);
      expect(await read(streamOf(splitAt(file, positions)), file.length)).toEqual(whole);
    }),
    run(1000),
  );
  const everyByte = splitAt(
    FILE,
    Array.from(FILE, (_, index) => index),
  );
  expect(await read(streamOf(everyByte), FILE.length)).toEqual(await read(streamOf([FILE]), FILE.length));
});

test("valid files come back as they were written", async () => {
  const scalar: fc.Arbitrary<GgufValue> = fc.oneof(
    fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(u32),
    fc.float().map(f32),
    fc.boolean().map(bool),
    fc.string({ unit: "grapheme", maxLength: 40 }).map(string),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(u64),
  );
  const value = fc.oneof(
    scalar,
    fc.array(fc.string({ unit: "binary", maxLength: 10 }), { maxLength: 30 }).map(strings),
    fc.array(fc.float(), { maxLength: 30 }).map(f32s),
  );
  const spec = fc.record({
    version: fc.constantFrom(2, 3),
    alignment: fc.constantFrom(undefined, 8, 64, 1024),
    metadata: fc.dictionary(
      fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }).map((key) => `k.${key}`),
      value,
    ),
    tensors: fc
      .uniqueArray(fc.string({ minLength: 1, maxLength: 20 }), { maxLength: 6 })
      .chain((names) =>
        fc.tuple(
          ...names.map((name) =>
            fc
              .tuple(fc.constantFrom(...TENSOR_TYPES.values()), fc.integer({ min: 1, max: 3 }))
              .map(([type, rows]) => zeros(type.name, [type.weights * 2, rows], name)),
          ),
        ),
      ),
  });
  await fc.assert(
    fc.asyncProperty(spec, async (written) => {
      const file = ggufBytes(written);
      const outcome = await read(file, file.length);
      if ("error" in outcome) throw new Error(outcome.error);
      const { gguf } = outcome;
      const expected = Object.entries(written.metadata).map(([key, entry]) => [key, plain(entry)]);
      expect([...gguf.metadata].filter(([key]) => key !== "general.alignment")).toEqual(expected);
      expect(gguf.tensors.map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(
        written.tensors.map(({ name, type, shape }) => ({ name, type, shape })),
      );
      expect(gguf.alignment).toBe(written.alignment ?? 32);
    }),
    run(500),
  );
});

/** What a written value reads as. */
function plain(value: GgufValue): MetadataValue {
  if (value.type === "array") return value.values.map(plain);
  if (value.type === "f32") return Math.fround(value.value);
  if (typeof value.value === "bigint" && value.value <= Number.MAX_SAFE_INTEGER) return Number(value.value);
  return value.value;
}
