/** Files from buckets and services that fail in every way they can, against the bytes that were put there. */
import { describe, expect, it } from "vitest";
import { pieceStream, pieceUrl } from "../../src/service/weights/r2.ts";
import { type Fetcher, openFile, type PieceCache, type R2Bucket } from "../../src/service/weights.ts";

const FILE = Uint8Array.from({ length: 1000 }, (_, i) => (i * 37) % 251);

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

/** A bucket with one object, which answers the nth read (from 0) as `fault` says. */
function bucketOf(file: Uint8Array, fault: (read: number) => "ok" | "fail" | "short" | "changed" | "gone") {
  const reads: [offset: number, length: number][] = [];
  const bucket: R2Bucket = {
    head: async (key) => (key === "a/b.gguf" ? { size: file.length, etag: "v1" } : null),
    get: async (_, { range: { offset, length }, onlyIf }) => {
      const what = fault(reads.length);
      reads.push([offset, length]);
      expect(onlyIf).toEqual({ etagMatches: "v1" });
      if (what === "gone") return null;
      if (what === "changed") return {};
      return {
        arrayBuffer: async () => {
          if (what === "fail") throw new Error("internal error (10001)");
          return file.slice(offset, offset + length - (what === "short" ? 1 : 0)).buffer;
        },
      };
    },
  };
  return { bucket, reads };
}

const streamOf = (bucket: R2Bucket, cache?: PieceCache) =>
  new Response(
    pieceStream({ bucket, key: "a/b.gguf", size: FILE.length, etag: "v1", cache, pieceBytes: 300 }),
  );

describe("an object of a bucket", () => {
  it("comes in ranges, with its length told before", async () => {
    const { bucket, reads } = bucketOf(FILE, () => "ok");
    expect(await bytesOf(streamOf(bucket))).toEqual(FILE);
    expect(reads).toEqual([
      [0, 300],
      [300, 300],
      [600, 300],
      [900, 100],
    ]);
    const response = await openFile({ MODELS: bucket }, "a/b.gguf");
    expect(response.headers.get("content-length")).toBe("1000");
    expect(await bytesOf(response)).toEqual(FILE);
  });

  it("is read again where a piece failed or came short", async () => {
    const { bucket, reads } = bucketOf(
      FILE,
      (read) => (["ok", "fail", "short", "fail"] as const)[read] ?? "ok",
    );
    expect(await bytesOf(streamOf(bucket))).toEqual(FILE);
    expect(reads.map(([offset]) => offset)).toEqual([0, 300, 300, 300, 300, 600, 900]);
  });

  it.each([
    ["fail", 5, "internal error (10001)"],
    ["short", 5, "299 bytes came"],
    ["changed", 2, "the object was changed meanwhile"],
    ["gone", 2, "the object was deleted meanwhile"],
  ] as const)("is given up with an error that names it: %s", async (what, count, reason) => {
    const { bucket, reads } = bucketOf(FILE, (read) => (read === 0 ? "ok" : what));
    await expect(bytesOf(streamOf(bucket))).rejects.toThrow(
      `Cannot read bytes 300 to 599 of "a/b.gguf": ${reason}`,
    );
    expect(reads.length).toBe(count);
  });

  it("comes from the cache the second time, but never in another version, nor from a piece that is cut", async () => {
    const kept = new Map<string, Uint8Array>();
    const cache: PieceCache = {
      match: async (url) =>
        kept.has(url) ? new Response(kept.get(url) as Uint8Array<ArrayBuffer>) : undefined,
      put: async (url, response) => void kept.set(url, await bytesOf(response)),
    };
    const { bucket, reads } = bucketOf(FILE, () => "ok");
    await bytesOf(streamOf(bucket, cache));
    expect([kept.size, reads.length]).toEqual([4, 4]);
    expect(await bytesOf(streamOf(bucket, cache))).toEqual(FILE);
    expect(reads.length).toBe(4);
    kept.set(pieceUrl("a/b.gguf", "v1", 300, 600), FILE.slice(0, 17));
    expect(await bytesOf(streamOf(bucket, cache))).toEqual(FILE);
    expect(reads.length).toBe(5);
    expect(pieceUrl("k", "v1", 0, 9)).not.toBe(pieceUrl("k", "v2", 0, 9));
  });

  it("comes though the cache refuses", async () => {
    const cache: PieceCache = {
      match: () => Promise.reject(new Error()),
      put: () => Promise.reject(new Error()),
    };
    expect(await bytesOf(streamOf(bucketOf(FILE, () => "ok").bucket, cache))).toEqual(FILE);
  });
});

/** A service with one file, whose answers break after `breaks[i]` bytes; it may know ranges. */
function serviceOf(breaks: readonly number[], { ranges = true, etags = ["v1"], size = FILE.length } = {}) {
  const asked: (string | undefined)[] = [];
  const service: Fetcher = {
    async fetch(url, init) {
      const answer = asked.length;
      const range = init?.headers.range;
      asked.push(range);
      if (!url.endsWith("/a%20b/c.gguf")) return new Response(null, { status: 404 });
      const from = ranges && range !== undefined ? Number(/\d+/.exec(range)![0]) : 0;
      const end = Math.min(size, from + (breaks[answer] ?? size));
      let at = from;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at === size) return controller.close();
          if (at === end) return controller.error(new Error("connection lost"));
          const to = Math.min(end, at + 70);
          controller.enqueue(FILE.slice(at, to));
          at = to;
        },
      });
      const headers = { "content-length": String(size - from), etag: etags[answer] ?? etags.at(-1)! };
      if (from === 0) return new Response(body, { headers });
      const part = { ...headers, "content-range": `bytes ${from}-${size - 1}/${size}` };
      return new Response(body, { status: 206, headers: part });
    },
  };
  return { service, asked };
}

describe("a file of a service", () => {
  it.each([true, false])(
    "goes on where its connection broke; the other side knows ranges: %s",
    async (ranges) => {
      const { service, asked } = serviceOf(ranges ? [200, 0, 333] : [200, 10, 433], { ranges });
      const response = await openFile({ ASSETS: service }, "a b/c.gguf");
      expect(response.headers.get("content-length")).toBe("1000");
      expect(await bytesOf(response)).toEqual(FILE);
      expect(asked.length).toBe(4);
      expect(asked[1]).toBe("bytes=200-");
    },
  );

  it.each([
    ["breaks again and again", serviceOf([200, 0, 0, 0, 0]), "connection lost"],
    ["changed", serviceOf([200], { etags: ["v1", "v2"] }), "the file was changed meanwhile"],
  ])("is given up with an error that names it: %s", async (_, { service, asked }, reason) => {
    const response = await openFile({ MODEL_FILES: service }, "a b/c.gguf");
    await expect(bytesOf(response)).rejects.toThrow(
      `Cannot read bytes 200 to 999 of "a b/c.gguf": ${reason}`,
    );
    expect(asked.length).toBeLessThanOrEqual(5);
  });

  it("is not there, or nothing is bound that it could be in: the error names the key", async () => {
    const { bucket } = bucketOf(FILE, () => "ok");
    const bindings = { MODELS: bucket, ASSETS: serviceOf([]).service };
    await expect(openFile(bindings, "x.gguf")).rejects.toThrow(
      'Cannot load model: bucket "MODELS" has no object "x.gguf", "ASSETS" has no object "x.gguf"',
    );
    expect((await openFile(bindings, "a b/c.gguf")).status).toBe(200);
    await expect(openFile({}, "x.gguf")).rejects.toThrow('no bucket is bound as "MODELS"');
    const broken: Fetcher = { fetch: async () => new Response("", { status: 502 }) };
    await expect(openFile({ ASSETS: broken }, "x")).rejects.toThrow(
      'Cannot read "x": "ASSETS" answers with status 502',
    );
  });
});
