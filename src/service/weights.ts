/** weights: files of a worker, from where they are stored to a stream, whole or not at all. */
import { RemoteError } from "../errors.ts";
import { encodePath, type Fetcher, resumedStream } from "./weights/fetch.ts";
import { type PieceCache, pieceStream, type R2Bucket } from "./weights/r2.ts";

export type { Fetcher } from "./weights/fetch.ts";
export type { PieceCache, R2Bucket } from "./weights/r2.ts";

/** Where a worker's files may be; all may be absent. */
export interface FileBindings {
  /** R2 bucket. */
  MODELS?: R2Bucket;
  /** Static assets of the worker, each at most 25 MiB. */
  ASSETS?: Fetcher;
  /** Any service that answers `GET /<key>` with the file; `edgewise serve` binds the model's folder here. */
  MODEL_FILES?: Fetcher;
}

/** One place; null: it has no such file. */
interface Store {
  open(key: string): Promise<Response | null>;
  readonly name: string;
}

/**
 * A file by its key, from the first of the bindings that has it.
 *
 * What fails on the way is asked for again, from where it was. A file that changes meanwhile is noticed, by its etag: no
 * model is ever made of two versions.
 *
 * @param cache Keeps pieces of R2 objects, which are billed by the read, near the worker.
 * @returns The stream, with its length as `content-length`.
 * @throws {TypeError} If nothing is bound.
 * @throws {RangeError} If no binding has the file.
 * @throws {RemoteError} If it cannot be read, at once or later in the stream. All name the key.
 */
export async function openFile(bindings: FileBindings, key: string, cache?: PieceCache): Promise<Response> {
  const stores = storesOf(bindings, cache);
  if (stores.length === 0) {
    throw new TypeError(`Cannot read "${key}": no bucket is bound as "MODELS", and no assets as "ASSETS"`);
  }
  for (const store of stores) {
    const response = await store.open(key);
    if (response !== null) return response;
  }
  const missing = stores.map(({ name }) => `${name} has no object "${key}"`);
  throw new RangeError(`Cannot load model: ${missing.join(", ")}`);
}

function storesOf({ MODELS, ASSETS, MODEL_FILES }: FileBindings, cache: PieceCache | undefined): Store[] {
  const stores: Store[] = [];
  if (MODELS !== undefined) {
    stores.push({ name: 'bucket "MODELS"', open: (key) => openObject(MODELS, key, cache) });
  }
  for (const [name, fetcher] of Object.entries({ ASSETS, MODEL_FILES })) {
    if (fetcher !== undefined) stores.push({ name: `"${name}"`, open: (key) => openUrl(name, fetcher, key) });
  }
  return stores;
}

async function openObject(bucket: R2Bucket, key: string, cache?: PieceCache): Promise<Response | null> {
  let object: Awaited<ReturnType<R2Bucket["head"]>>;
  try {
    object = await bucket.head(key);
  } catch (error) {
    throw new RemoteError(`Cannot read "${key}" from bucket "MODELS": ${(error as Error).message}`);
  }
  if (object === null) return null;
  const { size, etag } = object;
  return sized(pieceStream({ bucket, key, size, etag, cache }), size);
}

async function openUrl(name: string, fetcher: Fetcher, key: string): Promise<Response | null> {
  const url = `http://models/${encodePath(key)}`;
  const response = await fetcher.fetch(url);
  if (response.status === 404) {
    await response.body?.cancel();
    return null;
  }
  if (!response.ok || response.body === null) {
    throw new RemoteError(`Cannot read "${key}": "${name}" answers with status ${response.status}`);
  }
  const length = response.headers.get("content-length");
  // Without a length nobody knows whether the end is the end.
  if (length === null) return response;
  return sized(resumedStream({ fetcher, url, key, first: response, size: Number(length) }), Number(length));
}

function sized(stream: ReadableStream<Uint8Array>, size: number): Response {
  return new Response(stream, { headers: { "content-length": String(size) } });
}
