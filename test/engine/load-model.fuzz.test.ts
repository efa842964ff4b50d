/**
 * Damaged models: whatever a file says, loading gives one of our errors with a message, or a model that decodes.
 * Field by field, so that most damage is found late: by the architecture, the tokenizer, or only in the arithmetic.
 * 7,400 cases, beside the 11,500 of format/gguf.fuzz.test.ts.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { WEIGHT_TYPES } from "../../src/format/blocks.ts";
import {
  array,
  bool,
  f32,
  f32s,
  type GgufSpec,
  type GgufTensor,
  type GgufValue,
  ggufBytes,
  ggufHeader,
  i32,
  i32s,
  string,
  strings,
  tensorBytes,
  u32,
  u64,
} from "../support/gguf-writer.ts";
import { attempt, attemptBoth, type BackendName, watchMemory } from "../support/load-attempt.ts";
import { splitAt, streamOf } from "../support/streams.ts";
import { mediumTypes, type SyntheticModelOptions, syntheticModel } from "../support/synthetic-model.ts";

const SMALL = {
  hidden: 32,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  feedForward: 32,
  contextLength: 64,
};

/** Every architecture, kind of weights and tokenizer once; a case names one by its index. */
const SPECS: readonly GgufSpec[] = (
  [
    { type: "F16", vocab: 384 },
    { type: "Q8_0", tokenizer: "llama", vocab: 390, ropeScaling: "llama3" },
    { type: "Q4_0", architecture: "qwen2", vocab: 389 },
    { type: "F32", architecture: "qwen3", tied: true, vocab: 384 },
    { type: "BF16", ropeScaling: "linear", tied: true, tokenizer: "llama", vocab: 400 },
    { type: "Q4_K", typeOf: mediumTypes(1), hidden: 256, feedForward: 256, heads: 16, vocab: 384 },
    { type: "Q5_1", typeOf: (name) => (name.includes("ffn") ? "IQ4_NL" : undefined), vocab: 384 },
    { type: "Q8_0", architecture: "gemma3", window: 5, vocab: 402 },
  ] satisfies SyntheticModelOptions[]
).map((options) => {
  const { metadata, tensors } = syntheticModel({ ...SMALL, ...options });
  return { metadata, tensors: tensors.map((tensor) => withData(tensor, joined(tensor.data()))) };
});

beforeAll(watchMemory);
afterAll(() => void vi.unstubAllGlobals());

const which = fc.nat(SPECS.length - 1);
const backend = fc.constantFrom<BackendName[]>("wasm", "wasm", "wasm", "reference");
const fraction = fc.double({ min: 0, max: 1, noNaN: true });

/** Runs the cases and counts those that decode: damage of most kinds must leave some models, and not others. */
async function check<Case extends unknown[]>(
  arbitraries: { [K in keyof Case]: fc.Arbitrary<Case[K]> },
  runs: number,
  outcome: (...values: Case) => Promise<string | null>,
): Promise<{ decoded: number; refused: number }> {
  const counts = { decoded: 0, refused: 0 };
  const property = fc.asyncProperty(fc.tuple(...arbitraries), async (values) => {
    counts[(await outcome(...(values as Case))) === null ? "decoded" : "refused"]++;
  });
  await fc.assert(property, { numRuns: runs, seed: 20_240_502 });
  return counts;
}

test("the files that are broken below decode", async () => {
  for (const spec of SPECS) {
    expect(await attempt(ggufBytes(spec), "wasm")).toBeNull();
    expect(await attempt(ggufBytes(spec), "reference")).toBeNull();
  }
});

/** Numbers that configurations go wrong with, as each type that a file may give them. */
const number: fc.Arbitrary<GgufValue> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 24, 31, 32, 33, 64, 96, 128, 383, 384, 1024)
      .map(u32),
  },
  fc.constantFrom(65_536, 2 ** 20, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1).map(u32),
  fc.constantFrom(-1, -2, -32, -(2 ** 31)).map(i32),
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 1e-45, -1, 0.5, 1.5, 32, 1e9, 3e38).map(f32),
  fc.constantFrom(0n, 32n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n).map(u64),
);
const text = fc.oneof(
  fc.constantFrom("", "llama", "qwen3", "gpt2", "mamba", "linear", "yarn", "none", "▁", " ", "\0", "<0x00>"),
  fc.constantFrom("__proto__", "constructor", "toString", "Ġ", "a b", " a", "a ", "🦆", "\ufeff", "</s>"),
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.constant("x".repeat(700)),
);
const value: fc.Arbitrary<GgufValue> = fc.oneof(
  { weight: 4, arbitrary: number },
  fc.boolean().map(bool),
  text.map(string),
  fc.array(text, { maxLength: 4 }).map(strings),
  fc.array(fc.float(), { maxLength: 4 }).map(f32s),
  fc.constant(array("array", [i32s([1]), strings(["a"])])),
);

describe("metadata", () => {
  const keys = [...new Set(SPECS.flatMap(({ metadata }) => Object.keys(metadata)))];
  const configured = keys.filter((key) => /^(llama|qwen[23])\./.test(key));
  type Change = [key: string, value: GgufValue | null];

  function changed(spec: GgufSpec, changes: Change[]): Uint8Array {
    const metadata = { ...spec.metadata };
    for (const [key, replacement] of changes) {
      if (replacement === null) delete metadata[key];
      else metadata[key] = replacement;
    }
    return ggufBytes({ ...spec, metadata });
  }

  test("of other kinds, missing, or too much", async () => {
    const changes = fc.array(fc.tuple(fc.constantFrom(...keys), fc.option(value, { freq: 6 })), {
      minLength: 1,
      maxLength: 3,
    });
    const { decoded, refused } = await check([which, changes, backend], 1500, (index, list, name) =>
      attemptBoth(changed(SPECS[index], list), name),
    );
    expect(decoded).toBeGreaterThan(200);
    expect(refused).toBeGreaterThan(200);
  });

  test("with other numbers in the configuration", async () => {
    const changes = fc.array(fc.tuple(fc.constantFrom(...configured), number), {
      minLength: 1,
      maxLength: 4,
    });
    const { decoded, refused } = await check([which, changes, backend], 1200, (index, list, name) =>
      attemptBoth(changed(SPECS[index], list), name),
    );
    expect(decoded).toBeGreaterThan(200);
    expect(refused).toBeGreaterThan(200);
  });

  test("with keys that only some files have", async () => {
    const suffix = fc.constantFrom(
      ...["rope.scaling.type", "rope.scaling.factor", "rope.scale_linear", "rope.dimension_count"],
      ...["attention.key_length", "attention.value_length", "attention.sliding_window", "expert_count"],
      ...["attention.sliding_window_pattern", "rope.freq_base_swa", "final_logit_softcapping"],
    );
    const added = fc.array(fc.tuple(suffix, fc.oneof(number, text.map(string))), {
      minLength: 1,
      maxLength: 2,
    });
    const { decoded, refused } = await check([which, added, backend], 500, (index, list, name) => {
      const { value: architecture } = SPECS[index].metadata["general.architecture"] as { value: string };
      const changes = list.map(([key, replacement]): Change => [`${architecture}.${key}`, replacement]);
      return attemptBoth(changed(SPECS[index], changes), name);
    });
    expect(decoded).toBeGreaterThan(20);
    expect(refused).toBeGreaterThan(100);
  });

  test("with damaged lists in the tokenizer", async () => {
    const place = fc.nat(420);
    const damage = fc.record({
      list: fc.nat(3),
      op: fc.constantFrom(
        "cut" as const,
        "set" as const,
        "copy" as const,
        "swap" as const,
        "reverse" as const,
      ),
      at: place,
      from: place,
      text,
      number: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, -1, 255, 2 ** 31 - 1, NaN, Infinity, -Infinity, 3e38),
    });
    const damages = fc.array(damage, { minLength: 1, maxLength: 2 });
    const { decoded, refused } = await check([which, damages, backend], 1200, (index, list, name) => {
      const { metadata } = SPECS[index];
      const lists = Object.entries(metadata).filter(([, { type }]) => type === "array");
      const changes = list.map((each): Change => {
        const [key, found] = lists[each.list % lists.length];
        const { of, values } = found as Extract<GgufValue, { type: "array" }>;
        const edited = [...values];
        const at = each.at % values.length;
        const from = each.from % values.length;
        if (each.op === "cut") edited.length = at;
        else if (each.op === "copy") edited[at] = values[from];
        else if (each.op === "swap") [edited[at], edited[from]] = [values[from], values[at]];
        else if (each.op === "reverse") edited.reverse();
        else if (of === "string") edited[at] = string(each.text);
        else edited[at] = of === "f32" ? f32(each.number) : i32(Math.max(-1, Math.min(each.number, 9)) || 0);
        return [key, array(of, edited)];
      });
      return attemptBoth(changed(SPECS[index], changes), name);
    });
    expect(decoded).toBeGreaterThan(200);
    expect(refused).toBeGreaterThan(200);
  });
});

describe("tensors", () => {
  const STRANGE = [
    ...["rope.freqs", "rope_freqs.weight", "output.weight", "blk.0.attn_output.bias", "blk.0.attn_q.bias"],
    ...["blk.1.attn_q.weight", "blk.0.attn_qkv.weight", "blk.0.ffn_gate_inp.weight", "__proto__", ""],
  ];
  const names = [...new Set(SPECS.flatMap(({ tensors }) => tensors.map(({ name }) => name))), ...STRANGE];

  test("missing, renamed, misshapen, of other types, or too many", async () => {
    const change = fc.record({
      op: fc.constantFrom("drop", "rename", "add", "shape", "type", "turn", "deepen", "move"),
      at: fc.nat(60),
      to: fc.nat(60),
      name: fc.constantFrom(...names),
      type: fc.constantFrom(...WEIGHT_TYPES, "Q8_1", "Q2_K", "I8", "F64", "IQ1_S"),
      shape: fc.oneof(
        fc.array(fc.constantFrom(1, 2, 8, 16, 31, 32, 33, 64, 256, 384, 400), { minLength: 1, maxLength: 4 }),
        fc.array(fc.constantFrom(32, 384, 65_536, 2 ** 24, 2 ** 31, 2 ** 32), { minLength: 1, maxLength: 4 }),
      ),
    });
    const changes = fc.array(change, { minLength: 1, maxLength: 2 });
    const { decoded, refused } = await check([which, changes, backend], 1000, (index, list, name) => {
      const tensors = [...SPECS[index].tensors];
      for (const each of list) {
        const at = each.at % tensors.length;
        const tensor = tensors[at];
        const { op, shape } = each;
        if (op === "drop") tensors.splice(at, 1);
        else if (op === "rename") tensors[at] = { ...tensor, name: each.name };
        else if (op === "add") tensors.push({ ...tensor, name: each.name });
        else if (op === "shape") tensors[at] = reshaped(tensor, shape, tensor.type);
        else if (op === "type") tensors[at] = reshaped(tensor, tensor.shape, each.type);
        else if (op === "turn") tensors[at] = reshaped(tensor, tensor.shape.toReversed(), tensor.type);
        else if (op === "deepen") tensors[at] = reshaped(tensor, [...tensor.shape, 1, 1], tensor.type);
        else tensors.splice(each.to % tensors.length, 0, ...tensors.splice(at, 1));
      }
      return attemptBoth(fileOf({ metadata: SPECS[index].metadata, tensors }), name);
    });
    expect(decoded).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(200);
  });

  test("with damaged data decode all the same", async () => {
    const pattern = fc.oneof(
      // NaN, infinities, the largest and the smallest of F16, BF16 and F32, and all bits.
      fc.constantFrom([0x00, 0x7e], [0x00, 0x7c], [0x00, 0xfc], [0xff, 0x7b], [0x01, 0x00], [0x00, 0x80]),
      fc.constantFrom([0xc0, 0x7f], [0x80, 0x7f], [0x80, 0xff], [0x7f, 0x7f], [0xff, 0xff], [0, 0]),
      fc.constantFrom([0, 0, 0xc0, 0x7f], [0, 0, 0x80, 0xff], [0xff, 0xff, 0x7f, 0x7f], [0xff]),
      fc.array(fc.nat(255), { minLength: 1, maxLength: 34 }),
    );
    const times = fc.constantFrom(1, 2, 16, 500, 5000);
    const damages = fc.array(fc.record({ tensor: fc.nat(60), at: fraction, times, pattern }), {
      minLength: 1,
      maxLength: 4,
    });
    const { decoded } = await check([which, damages, backend], 800, async (index, list, name) => {
      const tensors = [...SPECS[index].tensors];
      for (const each of list) {
        const tensor = tensors[each.tensor % tensors.length];
        const bytes = joined(tensor.data());
        const start = Math.floor(each.at * bytes.length) & ~1;
        const end = Math.min(bytes.length, start + each.times * each.pattern.length);
        for (let i = start; i < end; i++) bytes[i] = each.pattern[(i - start) % each.pattern.length];
        tensors[each.tensor % tensors.length] = withData(tensor, bytes);
      }
      const error = await attempt(ggufBytes({ metadata: SPECS[index].metadata, tensors }), name);
      if (error !== null) expect(error).toMatch(/^RangeError: .*("rope_freqs.weight"\[\d+\]|rope) must/);
      return error;
    });
    expect(decoded).toBeGreaterThan(700);
  });
});

describe("bytes", () => {
  test("flipped in the header", async () => {
    const flips = fc.array(fc.tuple(fraction, fc.nat(7)), { minLength: 1, maxLength: 6 });
    const { decoded, refused } = await check([which, flips, backend], 800, (index, list, name) => {
      const file = ggufBytes(SPECS[index]);
      const headerBytes = ggufHeader(SPECS[index]).bytes.length;
      for (const [at, bit] of list) file[Math.floor(at * (headerBytes - 1))] ^= 1 << bit;
      return attemptBoth(file, name);
    });
    expect(decoded).toBeGreaterThan(5);
    expect(refused).toBeGreaterThan(200);
  });

  test("missing at the end: never a model", async () => {
    const { decoded } = await check([which, fraction, backend], 400, async (index, at, name) => {
      const file = ggufBytes(SPECS[index]);
      // Beyond the last tensor there is padding, of less than 32 bytes.
      const cut = file.slice(0, Math.floor(at * (file.length - 32)));
      const pieces = splitAt(cut, [cut.length >> 2, cut.length >> 1]);
      expect(await attempt(streamOf(pieces), name)).not.toBeNull();
      return attempt(cut, name);
    });
    expect(decoded).toBe(0);
  });
});

/** The tensor with another type or shape; the row length is rounded up to whole blocks. */
function reshaped(tensor: GgufTensor, [cols, ...rest]: readonly number[], type: string): GgufTensor {
  const block = [1, 32, 256].find((weights) => Number.isInteger(tensorBytes(type, [weights])))!;
  return { ...tensor, type, shape: [Math.ceil(cols / block) * block, ...rest] };
}

function withData(tensor: GgufTensor, bytes: Uint8Array): GgufTensor {
  return { ...tensor, data: () => [bytes] };
}

/** The file of a spec whose tensors need not have the data that their shapes ask for; ends early if that is much. */
function fileOf(spec: GgufSpec): Uint8Array {
  const { bytes } = ggufHeader(spec);
  const pieces = [bytes, new Uint8Array(-bytes.length & 31)];
  for (const { type, shape, data } of spec.tensors) {
    const piece = new Uint8Array(Math.ceil(Math.min(tensorBytes(type, shape), 2 ** 18) / 32) * 32);
    piece.set(joined(data()).subarray(0, piece.length));
    pieces.push(piece);
  }
  return joined(pieces);
}

/** One new array of all pieces. */
function joined(pieces: Iterable<Uint8Array>): Uint8Array {
  const list = [...pieces];
  const bytes = new Uint8Array(list.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of list) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
