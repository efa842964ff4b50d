import { describe, expect, it } from "vitest";
import { ByteReader } from "../../src/format/bytes.ts";
import { readGguf } from "../../src/format/gguf.ts";
import { editGguf, type GgufEdit, type NewTensor, openGguf } from "../../src/format/gguf-write.ts";
import {
  array,
  bool,
  f32,
  type GgufSpec,
  ggufBytes,
  i32s,
  string,
  strings,
  u32,
  u64,
} from "../support/gguf-writer.ts";

const bytesOf = (length: number, first: number) => Uint8Array.from({ length }, (_, i) => first + i);

const SPEC: GgufSpec = {
  alignment: 64,
  metadata: {
    "general.architecture": string("llama"),
    "a.number": u32(7),
    "a.large": u64(2n ** 60n),
    "a.flag": bool(true),
    "a.real": f32(0.5),
    "some.texts": strings(["", "ä", "three"]),
    "some.numbers": i32s([-1, 2, 3]),
    "some.arrays": array("array", [strings(["x"]), i32s([4, 5])]),
    "edgewise.head.draft": string("older"),
  },
  tensors: [
    { name: "first", type: "F32", shape: [3, 2], data: () => [bytesOf(24, 1)] },
    { name: "output_vq.codes", type: "I16", shape: [5], data: () => [bytesOf(10, 50)] },
    { name: "last", type: "Q8_0", shape: [32, 1], data: () => [bytesOf(34, 100)] },
  ],
};
const FILE = ggufBytes(SPEC);

const ADDED: NewTensor = { name: "added", type: "F16", shape: [2, 2], bytes: bytesOf(8, 200) };

async function edited(edit: GgufEdit, file = FILE, most = Infinity): Promise<Uint8Array> {
  const source = await openGguf(async (from, to) => file.slice(from, Math.min(to, from + most)), file.length);
  const pieces: Uint8Array[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(piece.slice());
  return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
}

/** All of a file: metadata, and the bytes of its tensors by name. */
async function contents(file: Uint8Array) {
  const reader = ByteReader.from(file);
  const { metadata, tensors, alignment, version } = await readGguf(reader);
  const data = tensors.map(({ name, type, shape, offset, bytes }) => {
    return [name, { type, shape, bytes: [...file.subarray(offset, offset + bytes)] }] as const;
  });
  return { version, alignment, metadata: Object.fromEntries(metadata), tensors: Object.fromEntries(data) };
}

describe("an edited GGUF", () => {
  it("is the file itself if nothing changes", async () => {
    expect(await edited({ metadata: {}, tensors: [] })).toEqual(FILE);
    // However little comes at once.
    expect(await edited({ metadata: {}, tensors: [] }, FILE, 1000)).toEqual(FILE);
  });

  it("has what was added, lacks what was dropped, and keeps all else", async () => {
    const before = await contents(FILE);
    const after = await contents(
      await edited({
        metadata: { "edgewise.head.draft": "vq", "new.key": "ü" },
        tensors: [ADDED],
        drops: (name) => name === "output_vq.codes" || name === "a.flag",
      }),
    );
    const { "a.flag": _, ...metadata } = before.metadata;
    expect(after.metadata).toEqual({ ...metadata, "edgewise.head.draft": "vq", "new.key": "ü" });
    const { "output_vq.codes": __, ...tensors } = before.tensors;
    expect(after.tensors).toEqual({
      ...tensors,
      added: { type: "F16", shape: [2, 2], bytes: [...ADDED.bytes] },
    });
    expect([after.version, after.alignment]).toEqual([3, 64]);
  });

  it("takes the place of itself when edited again", async () => {
    const once = await edited({ metadata: { k: "1" }, tensors: [ADDED] });
    const twice = await edited(
      { metadata: { k: "1" }, tensors: [ADDED], drops: (name) => name === "added" },
      once,
    );
    expect(twice).toEqual(once);
  });

  it("refuses tensors that do not fit", async () => {
    const write = (tensor: Partial<NewTensor>) =>
      edited({ metadata: {}, tensors: [{ ...ADDED, ...tensor }] });
    await expect(write({ name: "first" })).rejects.toThrow(
      'Cannot write GGUF: tensor "first" is there already',
    );
    await expect(write({ type: "Q9" })).rejects.toThrow("must have a known type");
    await expect(write({ shape: [2, 3] })).rejects.toThrow("must have 12 bytes, got 8");
  });

  it("says when the file ends early", async () => {
    const short = FILE.slice(0, FILE.length - 80);
    await expect(edited({ metadata: {}, tensors: [] }, short)).rejects.toThrow('tensor "last"');
  });
});
