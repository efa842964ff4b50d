import { describe, expect, test, vi } from "vitest";
import { type ByteInput, ByteReader } from "../../src/format/bytes.ts";
import { splitAt, streamOf } from "../support/streams.ts";

const BYTES = Uint8Array.from({ length: 1000 }, (_, index) => (index * 7) & 255);
const CUTS = [0, 1, 1, 2, 5, 400, 401, 999];

const KINDS: Record<string, () => ByteInput> = {
  Uint8Array: () => BYTES,
  "Uint8Array view": () => new Uint8Array([9, ...BYTES, 9]).subarray(1, 1001),
  ArrayBuffer: () => BYTES.slice().buffer,
  ReadableStream: () => streamOf(splitAt(BYTES, CUTS)),
  "byte stream": () =>
    new ReadableStream({
      type: "bytes",
      start(controller) {
        for (const piece of splitAt(BYTES, [3, 500])) controller.enqueue(piece.slice());
        controller.close();
      },
    }),
  Blob: () => new Blob([BYTES.slice(0, 10), BYTES.slice(10)]),
  Response: () => new Response(BYTES.slice()),
};

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<number[]> {
  const all: number[] = [];
  for await (const piece of pieces) all.push(...piece);
  return all;
}

describe.each(Object.entries(KINDS))("ByteReader from %s", (_, open) => {
  test("read, skip and chunks give the bytes in order", async () => {
    const reader = ByteReader.from(open());
    expect([...(await reader.read(3))]).toEqual([...BYTES.subarray(0, 3)]);
    expect((await reader.read(0)).length).toBe(0);
    await reader.skip(7);
    expect(reader.position).toBe(10);
    expect(await collect(reader.chunks(500))).toEqual([...BYTES.subarray(10, 510)]);
    expect([...(await reader.read(490))]).toEqual([...BYTES.subarray(510)]);
    expect(reader.position).toBe(1000);
    await reader.close();
  });

  test.each([
    ["read", (reader: ByteReader) => reader.read(991, 'tensor "x"')],
    ["skip", (reader: ByteReader) => reader.skip(991, 'tensor "x"')],
    ["chunks", (reader: ByteReader) => collect(reader.chunks(991, Infinity, 'tensor "x"'))],
  ])("%s names what was read and how much is there when the input ends", async (_, ask) => {
    const reader = ByteReader.from(open());
    await reader.skip(10);
    await expect(ask(reader)).rejects.toThrow(
      new RangeError('Cannot read tensor "x": needs 991 bytes at offset 10, input has 1,000'),
    );
  });
});

test("total is known for memory, blobs and plain responses only", async () => {
  const headers = { "content-length": "1000" };
  expect(ByteReader.from(BYTES).total).toBe(1000);
  expect(ByteReader.from(new Blob([BYTES])).total).toBe(1000);
  expect(ByteReader.from(streamOf([BYTES])).total).toBeUndefined();
  expect(ByteReader.from(new Response(BYTES.slice())).total).toBeUndefined();
  expect(ByteReader.from(new Response(BYTES.slice(), { headers })).total).toBe(1000);
  const compressed = { ...headers, "content-encoding": "gzip" };
  expect(ByteReader.from(new Response(BYTES.slice(), { headers: compressed })).total).toBeUndefined();
});

test("read() in memory and within a chunk copies nothing", async () => {
  const memory = ByteReader.from(BYTES);
  await memory.skip(1);
  expect((await memory.read(999)).buffer).toBe(BYTES.buffer);
  const chunk = BYTES.slice();
  const streamed = ByteReader.from(streamOf([chunk]));
  await streamed.skip(1);
  expect((await streamed.read(5)).buffer).toBe(chunk.buffer);
});

test("chunks() keeps to maxChunk", async () => {
  const reader = ByteReader.from(BYTES);
  const lengths: number[] = [];
  for await (const piece of reader.chunks(1000, 300)) lengths.push(piece.length);
  expect(lengths).toEqual([300, 300, 300, 100]);
});

test("chunks() that is left early leaves the rest unread", async () => {
  const reader = ByteReader.from(streamOf(splitAt(BYTES, [100, 200])));
  for await (const _ of reader.chunks(1000)) break;
  expect(reader.position).toBe(100);
  expect([...(await reader.read(2))]).toEqual([...BYTES.subarray(100, 102)]);
});

test("fill() joins bytes across chunks; consume() takes no more than there are", async () => {
  const reader = ByteReader.from(streamOf(splitAt(BYTES, CUTS)));
  await reader.fill(300);
  expect([...reader.buffered.subarray(0, 300)]).toEqual([...BYTES.subarray(0, 300)]);
  reader.consume(4);
  await reader.fill(990);
  expect([...reader.buffered.subarray(0, 990)]).toEqual([...BYTES.subarray(4, 994)]);
  expect(() => reader.consume(5000)).toThrow(RangeError);
  reader.consume(990);
  expect([...(await reader.read(6))]).toEqual([...BYTES.subarray(994)]);
});

test("a huge announced length allocates only as bytes arrive", async () => {
  const lengths: number[] = [];
  const tracked = new Proxy(Uint8Array, {
    construct(target, args) {
      if (typeof args[0] === "number") lengths.push(args[0]);
      return Reflect.construct(target, args);
    },
  });
  vi.stubGlobal("Uint8Array", tracked);
  try {
    const reader = ByteReader.from(streamOf(splitAt(BYTES, [1])));
    await expect(reader.read(2 ** 50)).rejects.toThrow(
      "needs 1,125,899,906,842,624 bytes at offset 0, input has 1,000",
    );
  } finally {
    vi.unstubAllGlobals();
  }
  expect(Math.max(...lengths)).toBe(65_536);
});

test("onProgress reports what has arrived, and the total where it is known", async () => {
  const seen: [number, number | undefined][] = [];
  const onProgress = (loaded: number, total: number | undefined) => void seen.push([loaded, total]);
  await ByteReader.from(streamOf(splitAt(BYTES, [100, 600])), { onProgress }).skip(1000);
  expect(seen).toEqual([
    [100, undefined],
    [600, undefined],
    [1000, undefined],
  ]);
  seen.length = 0;
  ByteReader.from(BYTES, { onProgress });
  expect(seen).toEqual([[1000, 1000]]);
  seen.length = 0;
  const headers = { "content-length": "400" };
  await ByteReader.from(new Response(streamOf(splitAt(BYTES, [300])), { headers }), { onProgress }).skip(300);
  expect(seen).toEqual([[300, 400]]);
});

describe("signal", () => {
  test("an abort ends a read that waits, with the reason, and cancels the stream", async () => {
    const cancelled = vi.fn();
    const abort = new AbortController();
    const silent = new ReadableStream<Uint8Array>({ cancel: cancelled });
    const reader = ByteReader.from(silent, { signal: abort.signal });
    const read = reader.read(1);
    abort.abort();
    await expect(read).rejects.toMatchObject({ name: "AbortError" });
    expect(cancelled).toHaveBeenCalledOnce();
  });

  test("an abort stops chunks() in memory too", async () => {
    const abort = new AbortController();
    const reader = ByteReader.from(BYTES, { signal: abort.signal });
    const pieces = reader.chunks(1000, 10);
    await pieces.next();
    abort.abort();
    await expect(pieces.next()).rejects.toMatchObject({ name: "AbortError" });
  });

  test("a signal that has fired before lets nothing be read", async () => {
    const reader = ByteReader.from(BYTES, { signal: AbortSignal.abort(new RangeError("stop")) });
    await expect(reader.read(1)).rejects.toThrow("stop");
  });
});

describe("close()", () => {
  test("cancels the stream, may be repeated, and ends reading", async () => {
    const cancelled = vi.fn();
    const reader = ByteReader.from(new ReadableStream<Uint8Array>({ cancel: cancelled }));
    await reader.close();
    await reader.close();
    expect(cancelled).toHaveBeenCalledOnce();
    await expect(reader.read(1, "magic")).rejects.toThrow(
      new TypeError("Cannot read magic: the reader is closed"),
    );
  });

  test("ends a read that waits", async () => {
    const reader = ByteReader.from(new ReadableStream<Uint8Array>());
    const read = reader.read(1);
    await Promise.all([reader.close(), expect(read).rejects.toThrow("closed")]);
  });

  test("does not repeat the error of a stream that failed", async () => {
    const reader = ByteReader.from(
      new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new RangeError("line cut")) }),
    );
    await expect(reader.read(1)).rejects.toThrow("line cut");
    await expect(reader.close()).resolves.toBeUndefined();
  });
});

test.each([
  ["null", null],
  ["string", "model.gguf"],
  ["number", 5],
  ["object", {}],
])("from() refuses %s", (kind, input) => {
  expect(() => ByteReader.from(input as unknown as ByteInput)).toThrow(
    new TypeError(`"input" must be a Uint8Array, ArrayBuffer, ReadableStream, Blob or Response, got ${kind}`),
  );
});

test("from() refuses a locked stream, a failed response and one without a body", () => {
  const stream = streamOf([BYTES]);
  stream.getReader();
  expect(() => ByteReader.from(stream)).toThrow(TypeError);
  expect(() => ByteReader.from(new Response("no such model", { status: 404 }))).toThrow(/status .* got 404/);
  expect(() => ByteReader.from(new Response(null))).toThrow(/no body/);
});

test("a stream of something else than bytes is refused", async () => {
  const stream = new ReadableStream({ pull: (controller) => controller.enqueue("text") });
  await expect(ByteReader.from(stream).read(1)).rejects.toThrow(
    new TypeError("Cannot read stream: chunks must be Uint8Array, got string"),
  );
});

test.each([-1, 1.5, NaN, Infinity])("read(%s) is refused", async (count) => {
  await expect(ByteReader.from(BYTES).read(count)).rejects.toThrow(/"count" must be an integer/);
});
