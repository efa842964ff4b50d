/** Objects of an R2 bucket as streams: ranges of one version, each tried again by itself. */
import { FinalError, pieceError, retried } from "./retry.ts";

/** The part of an R2 bucket that is used here. */
export interface R2Bucket {
  head(key: string): Promise<{ readonly size: number; readonly etag: string } | null>;
  /** Null: there is no such object. Without `arrayBuffer`: it is not the version that was asked for. */
  get(
    key: string,
    options: { range: { offset: number; length: number }; onlyIf: { etagMatches: string } },
  ): Promise<{ arrayBuffer?(): Promise<ArrayBuffer> } | null>;
}

/** The part of the Cache API that is used here. */
export interface PieceCache {
  match(url: string): Promise<Response | undefined>;
  put(url: string, response: Response): Promise<void>;
}

export interface PieceStreamOptions {
  readonly bucket: R2Bucket;
  readonly key: string;
  readonly size: number;
  /** The version that is read. */
  readonly etag: string;
  readonly cache?: PieceCache;
  /** Default 8 MiB: a model that fits an isolate takes few reads, and a piece little beside it. */
  readonly pieceBytes?: number;
}

const PIECE_BYTES = 8 << 20;

/** Never changes: the version is part of the address. */
const CACHE_HEADERS = {
  "cache-control": "public, max-age=2592000",
  "content-type": "application/octet-stream",
};

/** One piece is held at a time, none ahead; beside it the one that is on its way into the cache. */
export function pieceStream(options: PieceStreamOptions): ReadableStream<Uint8Array> {
  const { key, size, etag, cache, pieceBytes = PIECE_BYTES } = options;
  let at = 0;
  let stored: Promise<void> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (at >= size) {
          await stored;
          return controller.close();
        }
        const from = at;
        const to = Math.min(size, from + pieceBytes);
        const url = pieceUrl(key, etag, from, to);
        const known = await cachedPiece(cache, url, to - from);
        const piece = known ?? (await readPiece(options, from, to));
        if (known === undefined) {
          await stored;
          // A cache that is full or refuses costs a read the next time, no more.
          stored = cache?.put(url, new Response(piece, { headers: CACHE_HEADERS })).catch(() => {});
        }
        at = to;
        controller.enqueue(new Uint8Array(piece));
      },
    },
    { highWaterMark: 0 },
  );
}

async function readPiece(
  { bucket, key, etag }: PieceStreamOptions,
  from: number,
  to: number,
): Promise<ArrayBuffer> {
  const length = to - from;
  try {
    return await retried(async () => {
      const object = await bucket.get(key, {
        range: { offset: from, length },
        onlyIf: { etagMatches: etag },
      });
      if (object === null) throw new FinalError("the object was deleted meanwhile");
      if (object.arrayBuffer === undefined) throw new FinalError("the object was changed meanwhile");
      const piece = await object.arrayBuffer();
      if (piece.byteLength !== length) throw new RangeError(`${piece.byteLength} bytes came`);
      return piece;
    });
  } catch (error) {
    throw pieceError(key, from, to, (error as Error).message);
  }
}

/** undefined: it is not there, or not whole. */
async function cachedPiece(
  cache: PieceCache | undefined,
  url: string,
  length: number,
): Promise<ArrayBuffer | undefined> {
  try {
    const piece = await (await cache?.match(url))?.arrayBuffer();
    return piece?.byteLength === length ? piece : undefined;
  } catch {
    return undefined;
  }
}

/** No host of that name exists, so nothing but this code finds it. */
export function pieceUrl(key: string, etag: string, from: number, to: number): string {
  return `https://weights.edgewise.invalid/${encodeURIComponent(key)}?etag=${encodeURIComponent(etag)}&bytes=${from}-${to}`;
}
