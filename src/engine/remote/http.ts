/** Requests to a server that gives rows: bounded in time, in bytes and in tries, and told in errors without the key. */

import { expectInteger, grouped, RemoteError } from "../../errors.ts";
import { joined } from "../../format/joined.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface HttpOptions {
  /** How requests leave: `fetch` of the platform, or anything that answers as it does. */
  readonly fetch: Fetch;
  /** Sent as `authorization: Bearer …`, and nowhere else. */
  readonly apiKey?: string;
  /** Milliseconds for one try, its answer included. Default 60,000. */
  readonly timeoutMs?: number;
  /** Tries after the first one, where the server is busy or cannot be reached. Default 3. */
  readonly retries?: number;
  /** Ends all requests. */
  readonly signal?: AbortSignal;
  /** Waits between tries. Default: a timer. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** What one request may take. */
export interface Bounds {
  /** Of the answer's body. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  /** Without parameters, in lower case. */
  readonly type: string;
  readonly bytes: Uint8Array;
}

/** They may pass: too many requests, or a server that is loading, restarting or overloaded. */
const BUSY: readonly number[] = [429, 502, 503, 504];
const FIRST_WAIT_MS = 250;
/** A server that asks for more is not waited for. */
const MAX_WAIT_MS = 30_000;
/** Of what the server says, in an error. */
const MAX_QUOTE = 200;

/** Why a request was not answered. It may be tried again. */
interface Busy {
  readonly reason: string;
  /** As the server asks. */
  readonly waitMs?: number;
}

export class RemoteClient {
  /** What errors call the server. */
  readonly name: string;
  readonly #base: string;
  readonly #options: HttpOptions;
  readonly #timeoutMs: number;
  readonly #retries: number;

  /**
   * @param base Without a slash at its end.
   * @throws {TypeError | RangeError} If an option is wrong.
   */
  constructor(name: string, base: string, options: HttpOptions) {
    this.name = name;
    this.#base = base;
    this.#options = options;
    if (typeof options.fetch !== "function") {
      throw new TypeError(`"fetch" must be a function, got ${typeof options.fetch}`);
    }
    const { apiKey } = options;
    // What a header cannot hold would be quoted by the platform's own error.
    if (apiKey !== undefined && (typeof apiKey !== "string" || !/^[\x21-\x7e]+$/.test(apiKey))) {
      throw new TypeError('"apiKey" must be of visible ASCII characters');
    }
    this.#timeoutMs = expectInteger("timeoutMs", options.timeoutMs ?? 60_000, 1, 3_600_000);
    this.#retries = expectInteger("retries", options.retries ?? 3, 0, 10);
  }

  /**
   * The JSON that a path answers.
   *
   * @param body Of a POST; none: a GET.
   * @throws {RemoteError} If there is no such answer in time.
   * @throws {DOMException} AbortError, when a signal fires.
   */
  async json(path: string, body: object | undefined, bounds: Bounds): Promise<unknown> {
    const { bytes } = await this.#send(path, body, bounds, "application/json");
    return this.parse(path, bytes);
  }

  /** As `json`, or undefined where the server has nothing at that path. */
  async find(path: string, body: object | undefined, bounds: Bounds): Promise<unknown> {
    const answer = await this.#send(path, body, bounds, "application/json", [404, 405, 501]);
    return answer.status === 200 ? this.parse(path, answer.bytes) : undefined;
  }

  /** As `json`, but for the answer as it is. */
  bytes(path: string, body: object, bounds: Bounds, accept: string): Promise<Answer> {
    return this.#send(path, body, bounds, accept);
  }

  parse(path: string, bytes: Uint8Array): unknown {
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      throw this.#error(path, "its answer is not JSON");
    }
  }

  async #send(
    path: string,
    body: object | undefined,
    { maxBytes, signal }: Bounds,
    accept: string,
    allowed: readonly number[] = [],
  ): Promise<Answer> {
    const abort = AbortSignal.any([this.#options.signal, signal].filter((one) => one !== undefined));
    for (let attempt = 0; ; attempt++) {
      abort.throwIfAborted();
      const found = await this.#attempt(path, body, accept, maxBytes, abort);
      if ("status" in found) {
        if (found.status === 200 || allowed.includes(found.status)) return found;
        throw this.#error(path, `it refuses with status ${found.status}${this.#quote(found.bytes)}`);
      }
      const waitMs = found.waitMs ?? FIRST_WAIT_MS * (1 << attempt);
      if (attempt === this.#retries || waitMs > MAX_WAIT_MS) {
        throw this.#error(path, `${found.reason}; tried ${attempt + 1} times`);
      }
      await (this.#options.wait ?? sleep)(waitMs, abort);
    }
  }

  async #attempt(
    path: string,
    body: object | undefined,
    accept: string,
    maxBytes: number,
    abort: AbortSignal,
  ): Promise<Answer | Busy> {
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const { fetch, apiKey } = this.#options;
    let response: Response;
    try {
      response = await fetch(this.#base + path, {
        method: body === undefined ? "GET" : "POST",
        headers: {
          accept,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        // A key goes to the server that was named, and to no other.
        redirect: "manual",
        signal: AbortSignal.any([abort, timeout]),
      });
      const { status, headers } = response;
      if (BUSY.includes(status)) {
        await response.body?.cancel();
        return { reason: `it answers with status ${status}`, waitMs: waitOf(headers.get("retry-after")) };
      }
      const bytes = await this.#read(path, response, maxBytes);
      return { status, type: (headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase(), bytes };
    } catch (error) {
      abort.throwIfAborted();
      if (error instanceof RemoteError) throw error;
      if (timeout.aborted) return { reason: `it gives no answer within ${grouped(this.#timeoutMs)} ms` };
      return { reason: "it cannot be reached" };
    }
  }

  /** Stops at the ceiling, whatever the headers promise. */
  async #read(path: string, { body }: Response, maxBytes: number): Promise<Uint8Array> {
    if (body === null) return new Uint8Array();
    const parts: Uint8Array[] = [];
    let length = 0;
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      length += value.length;
      if (length > maxBytes) {
        await reader.cancel().catch(() => {});
        throw this.#error(path, `its answer is longer than ${grouped(maxBytes)} bytes`);
      }
      parts.push(value);
    }
    return joined(...parts);
  }

  /** What the server says is wrong, in one line; some servers repeat the key they were given. */
  #quote(bytes: Uint8Array): string {
    let message: unknown;
    try {
      const json = JSON.parse(new TextDecoder().decode(bytes));
      message = json?.error?.message ?? json?.message ?? json?.detail ?? json?.error;
    } catch {
      return "";
    }
    if (typeof message !== "string" || message === "") return "";
    const { apiKey } = this.#options;
    const safe = apiKey === undefined ? message : message.replaceAll(apiKey, "***");
    return `: ${safe.slice(0, MAX_QUOTE).replace(/[\p{Cc}\p{Cf}]+/gu, " ")}`;
  }

  #error(path: string, reason: string): RemoteError {
    return new RemoteError(`Cannot get ${path} of ${this.name}: ${reason}`);
  }
}

/** Milliseconds, of a header that says seconds. A date is not worth a clock. */
function waitOf(header: string | null): number | undefined {
  const seconds = Number(header ?? Number.NaN);
  return seconds >= 0 ? Math.ceil(seconds * 1000) : undefined;
}

/** @throws {DOMException} AbortError, when the signal fires. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal.addEventListener("abort", leave, { once: true });
  });
}
