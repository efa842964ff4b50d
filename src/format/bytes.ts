/**
 * Sequential reading of a model's bytes from wherever they are: memory, a stream, a file, a response.
 *
 * A reader never holds more than the chunk the source gave last, plus one staging buffer when what is asked for
 * straddles chunks. What it hands out are views where possible: treat them as read-only, and copy what must live
 * longer than the input.
 */
import { expectInteger, grouped } from "../errors.ts";

export type ByteInput = Uint8Array | ArrayBuffer | ReadableStream<Uint8Array> | Blob | Response;

export interface ByteReaderOptions {
  /** Called as bytes arrive; `total` is undefined where the source does not say. */
  onProgress?: (loaded: number, total: number | undefined) => void;
  signal?: AbortSignal;
}

/** Staging starts here and doubles, so that a huge announced length allocates only once bytes have arrived. */
const FIRST_STAGING_BYTES = 1 << 16;

const NOTHING = new Uint8Array(0);

interface Source {
  /** Bytes that are there already. */
  chunk: Uint8Array;
  stream?: ReadableStream<Uint8Array>;
  /** Length that checks may rely on. */
  total?: number;
  /** Length for the progress report; may be wrong. */
  announced?: number;
}

/**
 * Reads an input front to back, once. Calls must not overlap: await one before the next.
 *
 * Every call that needs bytes takes a `label`, the subject of the error if the input ends early: `Cannot read
 * tensor "output.weight": needs 4,096 bytes at offset 640, input has 1,024`.
 *
 * @example
 * ```ts
 * const reader = ByteReader.from(await fetch(url), { signal });
 * const magic = await reader.read(4, "magic");
 * for await (const piece of reader.chunks(1_000_000)) consume(piece);
 * await reader.close();
 * ```
 */
export class ByteReader {
  /** Bytes in the whole input, or undefined where the source does not say for sure. */
  readonly total: number | undefined;

  readonly #announced: number | undefined;
  readonly #options: ByteReaderOptions;
  readonly #stream: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #onAbort = () => void this.#cancel(this.#options.signal?.reason);
  #current: Uint8Array;
  /** What follows `#current` in the chunk that arrived last. */
  #rest: Uint8Array = NOTHING;
  #position = 0;
  #loaded: number;
  #closed = false;

  /**
   * @throws {TypeError} If `input` is none of the known kinds, or its stream is in use.
   * @throws {RangeError} If `input` is a Response with an error status.
   */
  static from(input: ByteInput, options: ByteReaderOptions = {}): ByteReader {
    return new ByteReader(openSource(input), options);
  }

  private constructor(source: Source, options: ByteReaderOptions) {
    this.#options = options;
    this.#current = source.chunk;
    this.#loaded = source.chunk.length;
    this.total = source.total;
    this.#announced = source.announced ?? source.total;
    this.#stream = source.stream?.getReader();
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (this.#loaded > 0) this.#reportProgress();
  }

  /** Offset in the input of the next byte to be read. */
  get position(): number {
    return this.#position;
  }

  /** Bytes that can be had without waiting, starting at `position`; a view, possibly empty. See `consume`. */
  get buffered(): Uint8Array {
    return this.#current;
  }

  /** Moves `position` over the first `count` of the buffered bytes. */
  consume(count: number): void {
    expectInteger("count", count, 0, this.#current.length);
    this.#current = this.#current.subarray(count);
    this.#position += count;
  }

  /**
   * Waits until at least `count` bytes are buffered.
   *
   * @throws {RangeError} If the input ends before.
   * @throws {DOMException} AbortError, when the signal fires.
   */
  async fill(count: number, label = "bytes"): Promise<void> {
    this.#expectReadable(count, label);
    if (this.#current.length === 0) await this.#advance();
    if (this.#current.length >= count) return;

    let staging = new Uint8Array(Math.min(count, FIRST_STAGING_BYTES));
    let filled = 0;
    for (;;) {
      const piece = this.#current.subarray(0, count - filled);
      if (filled + piece.length > staging.length) {
        const larger = new Uint8Array(Math.min(count, Math.max(2 * staging.length, filled + piece.length)));
        larger.set(staging.subarray(0, filled));
        staging = larger;
      }
      staging.set(piece, filled);
      filled += piece.length;
      if (filled === count) {
        // Only `rest` can still hold bytes here: `current` was shorter than what was missing until this piece.
        this.#rest = this.#current.subarray(piece.length);
        this.#current = staging;
        return;
      }
      if (!(await this.#advance()))
        throw this.#shortage(count, label, this.#position, this.#position + filled);
    }
  }

  /** The next `count` bytes, exactly. A view of the input where they lie in one chunk. */
  async read(count: number, label = "bytes"): Promise<Uint8Array> {
    await this.fill(count, label);
    const bytes = this.#current.subarray(0, count);
    this.consume(count);
    return bytes;
  }

  /** The next `count` bytes, exactly, in pieces of 1 to `maxChunk` bytes, none of them copied. */
  async *chunks(count: number, maxChunk = Infinity, label = "bytes"): AsyncGenerator<Uint8Array, void, void> {
    this.#expectReadable(count, label);
    const start = this.#position;
    const end = start + count;
    while (this.#position < end) {
      this.#options.signal?.throwIfAborted();
      if (this.#current.length === 0 && !(await this.#advance())) {
        throw this.#shortage(count, label, start, this.#position);
      }
      const piece = this.#current.subarray(0, Math.min(maxChunk, end - this.#position));
      this.consume(piece.length);
      yield piece;
    }
  }

  /** Passes over the next `count` bytes. */
  async skip(count: number, label = "bytes"): Promise<void> {
    for await (const _ of this.chunks(count, Infinity, label));
  }

  /** Lets the input go; a stream is cancelled. May be called at any time, more than once. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#current = NOTHING;
    this.#rest = NOTHING;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    await this.#cancel(undefined);
  }

  /** Makes the next non-empty bytes current; only when nothing of `current` is needed. False at the end. */
  async #advance(): Promise<boolean> {
    this.#current = this.#rest;
    this.#rest = NOTHING;
    while (this.#current.length === 0) {
      const next = await this.#stream?.read();
      // An abort cancels the stream, which ends a pending read as if the input were complete.
      this.#options.signal?.throwIfAborted();
      if (this.#closed) throw new TypeError("Cannot read: the reader was closed meanwhile");
      if (next === undefined || next.done) return false;
      if (!(next.value instanceof Uint8Array)) {
        throw new TypeError(`Cannot read stream: chunks must be Uint8Array, got ${typeof next.value}`);
      }
      this.#current = next.value;
      this.#loaded += next.value.length;
      this.#reportProgress();
    }
    return true;
  }

  #expectReadable(count: number, label: string): void {
    expectInteger("count", count, 0, Number.MAX_SAFE_INTEGER);
    this.#options.signal?.throwIfAborted();
    if (this.#closed) throw new TypeError(`Cannot read ${label}: the reader is closed`);
    if (this.total !== undefined && count > this.total - this.#position) {
      throw this.#shortage(count, label, this.#position, this.total);
    }
  }

  #shortage(count: number, label: string, start: number, end: number): RangeError {
    return new RangeError(
      `Cannot read ${label}: needs ${grouped(count)} bytes at offset ${grouped(start)}, input has ${grouped(end)}`,
    );
  }

  #reportProgress(): void {
    const total =
      this.#announced !== undefined && this.#announced >= this.#loaded ? this.#announced : undefined;
    this.#options.onProgress?.(this.#loaded, total);
  }

  async #cancel(reason: unknown): Promise<void> {
    // A stream that failed rejects here with the error that the reads have already thrown.
    await this.#stream?.cancel(reason).catch(() => {});
  }
}

/** Streams, blobs and responses are told by what they offer: hosts differ in which of the classes exist. */
function openSource(input: ByteInput): Source {
  if (input instanceof Uint8Array) return { chunk: input, total: input.length };
  if (input instanceof ArrayBuffer) return { chunk: new Uint8Array(input), total: input.byteLength };
  if (typeof input === "object" && input !== null) {
    if ("getReader" in input) return { chunk: NOTHING, stream: unlocked(input) };
    if ("body" in input && "headers" in input) return openResponse(input);
    if ("stream" in input && "size" in input) {
      return { chunk: NOTHING, stream: input.stream(), total: input.size };
    }
  }
  const kind = input === null ? "null" : typeof input;
  throw new TypeError(
    `"input" must be a Uint8Array, ArrayBuffer, ReadableStream, Blob or Response, got ${kind}`,
  );
}

function openResponse(response: Response): Source {
  if (!response.ok) {
    throw new RangeError(
      `Cannot read "${response.url}": status must be 200 … 299, got ${response.status} ${response.statusText}`,
    );
  }
  if (response.body === null) throw new TypeError(`Cannot read "${response.url}": response has no body`);
  const header = response.headers.get("content-length");
  const length = header !== null && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
  // Content-Length counts compressed bytes, and a cross-origin response may hide that it was compressed.
  const exact = response.type !== "cors" && response.headers.get("content-encoding") === null;
  return {
    chunk: NOTHING,
    stream: unlocked(response.body),
    total: exact ? length : undefined,
    announced: length,
  };
}

function unlocked(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  if (stream.locked) throw new TypeError("Cannot read stream: it is locked to another reader");
  return stream;
}
