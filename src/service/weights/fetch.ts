/** Files that come by `fetch`, as streams that go on after a connection broke. */
import { FinalError, pieceError, retried } from "./retry.ts";

/** A binding that answers requests: assets, or another service. */
export interface Fetcher {
  fetch(url: string, init?: { headers: Record<string, string> }): Promise<Response>;
}

export interface ResumedStreamOptions {
  readonly fetcher: Fetcher;
  readonly url: string;
  readonly key: string;
  /** The first answer, unread. */
  readonly first: Response;
  /** Bytes of the whole file. */
  readonly size: number;
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** Chunks as they come, none ahead. */
export function resumedStream(options: ResumedStreamOptions): ReadableStream<Uint8Array> {
  const { key, first, size } = options;
  let at = 0;
  let reader: Reader | undefined = first.body!.getReader();
  const next = async (): Promise<Uint8Array> => {
    const from = reader ?? (await reopen(options, at));
    // Should this fail, the next try opens it anew.
    reader = undefined;
    const { done, value } = await from.read();
    if (done) throw new RangeError(`the answer ended after ${at} bytes`);
    reader = from;
    return value;
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (at >= size) return controller.close();
        let chunk: Uint8Array;
        try {
          chunk = await retried(next);
        } catch (error) {
          throw pieceError(key, at, size, (error as Error).message);
        }
        at += chunk.length;
        controller.enqueue(chunk);
      },
      cancel: (reason) => reader?.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** A reader that stands at byte `at`, also where the other side knows no ranges. */
async function reopen({ fetcher, url, first, size }: ResumedStreamOptions, at: number): Promise<Reader> {
  const response = await fetcher.fetch(url, { headers: { range: `bytes=${at}-` } });
  const etag = first.headers.get("etag");
  if (response.status === 404) throw new FinalError("the file was deleted meanwhile");
  if (!response.ok || response.body === null)
    throw new RangeError(`the answer has status ${response.status}`);
  const isPart = response.status === 206;
  const start = isPart ? /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1] : "0";
  if (start !== (isPart ? String(at) : "0")) throw new FinalError("the answer is another range of the file");
  const length = Number(response.headers.get("content-length") ?? size - Number(start));
  if (response.headers.get("etag") !== etag || length !== size - Number(start)) {
    await response.body.cancel();
    throw new FinalError("the file was changed meanwhile");
  }
  const reader = response.body.getReader();
  if (!isPart) return await skipped(reader, at);
  return reader;
}

/** The rest of a stream behind its first `count` bytes. */
async function skipped(reader: Reader, count: number): Promise<Reader> {
  let left = count;
  while (left > 0) {
    const { done, value } = await reader.read();
    if (done) throw new RangeError(`the answer ended after ${count - left} bytes`);
    if (value.length > left) return new ReadableStream(behind(value.subarray(left), reader)).getReader();
    left -= value.length;
  }
  return reader;
}

/** `first`, and then what a reader has. */
function behind(first: Uint8Array, reader: Reader): UnderlyingDefaultSource<Uint8Array> {
  return {
    start: (controller) => controller.enqueue(first),
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  };
}

export function encodePath(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}
