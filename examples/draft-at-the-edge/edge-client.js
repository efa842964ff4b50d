/**
 * Draft here, verify there: a small model guesses the next tokens, a large one on a server says how many of them stand and which
 * one follows. The text is the large model's own, token for token; the small one only decides how many tokens a round trip gives.
 *
 * Runs in Node and in browsers, and needs nothing but `fetch` and what `tools` brings of Edgewise.
 *
 *     request    position, ids                   LEB128 numbers: two bytes for an id below 16,384
 *     answer     4 · accepted + finish, ids      the ids that follow those that were accepted
 */

const MEDIA_TYPE = "application/vnd.edgewise.draft";

/** Longest draft; the first is half of it. */
const MAX_GAMMA = 8;

/** Tries of one request. */
const TRIES = 6;

/**
 * @typedef {object} EdgeOptions
 * @property {string | URL} url Of the server.
 * @property {string} [key] API key.
 * @property {import("edgewise").Model} model The small model; it must have the large one's tokenizer.
 * @property {{ createPipeline: typeof import("edgewise").createPipeline }} tools
 * @property {string} prompt
 * @property {readonly import("edgewise").Step[]} [steps] How tokens are chosen, here and there. Default: as they are likely.
 * @property {number} [seed] The same seed gives the same text, there alone as with drafts. Default 0.
 * @property {number} [maxTokens] Default 100.
 * @property {number} [waitMs] Before a request is tried again, where the server does not say. Default 500.
 * @property {typeof fetch} [fetch]
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} EdgeStats What it took.
 * @property {number} tokens
 * @property {number} drafted
 * @property {number} accepted
 * @property {number} rounds
 * @property {number} bytesUp Of the rounds' bodies; HTTP's own headers come on top.
 * @property {number} bytesDown
 * @property {number} sessions Sessions it took: a server that was restarted may know nothing of the first.
 */

/**
 * The text, piece by piece.
 *
 * @param {EdgeOptions} options
 * @returns {AsyncGenerator<{ token: number, text: string }, EdgeStats, void>}
 * @throws {RangeError} If the server refuses, with what it says, or the models do not share a tokenizer.
 */
export async function* draftAtTheEdge(options) {
  const { model, prompt, steps = [], seed = 0, maxTokens = 100 } = options;
  const promptTokens = model.tokenizer.encode(prompt);
  const server = new EdgeServer(options);
  const session = new EdgeSession(server, promptTokens, { pipeline: steps, seed, maxTokens });
  const drafter = new EdgeDrafter(model, options.tools.createPipeline(steps), seed, promptTokens);
  const stream = model.tokenizer.stream();
  const tokens = [...promptTokens];
  const end = promptTokens.length + maxTokens;
  const stats = { tokens: 0, drafted: 0, accepted: 0, rounds: 0 };
  let gamma = MAX_GAMMA / 2;
  try {
    await session.open(tokens);
    for (let finished = false; !finished && tokens.length < end; ) {
      options.signal?.throwIfAborted();
      // The last token needs no draft.
      const draft = await drafter.draft(tokens, Math.min(gamma, end - tokens.length - 1));
      const verdict = await session.verify(tokens, draft);
      const emitted = [...draft.slice(0, verdict.accepted), ...verdict.followers];
      gamma = verdict.accepted === draft.length ? Math.min(gamma + 1, MAX_GAMMA) : verdict.accepted + 1;
      finished = verdict.finish !== 0;
      stats.rounds++;
      stats.drafted += draft.length;
      stats.accepted += verdict.accepted;
      stats.tokens += emitted.length;
      for (const token of emitted) {
        tokens.push(token);
        yield { token, text: stream.push(token) };
      }
    }
    const { bytesUp, bytesDown } = server;
    return { ...stats, bytesUp, bytesDown, sessions: session.opened };
  } finally {
    drafter.close();
    await session.close();
  }
}

/** What the small model would say, with the large one's sampling and noise: so it often says the same. */
class EdgeDrafter {
  /** Tokens that the session holds. */
  #held = [];
  #session;
  #pipeline;
  #seed;
  #promptLength;

  constructor(model, pipeline, seed, { length }) {
    this.#session = model.open();
    this.#pipeline = pipeline;
    this.#seed = seed;
    this.#promptLength = length;
  }

  async draft(tokens, count) {
    const draft = [];
    while (draft.length < count) {
      const history = [...tokens, ...draft];
      if (history.length >= this.#session.capacity) break;
      const rows = await this.#read(history);
      const kernels = { best: (most) => rows.top(0, most), law: rows.law?.(0) };
      const context = { history, promptLength: this.#promptLength, seed: this.#seed, kernels };
      draft.push(this.#pipeline.sample(rows.row(0), context).token);
    }
    return draft;
  }

  close() {
    this.#session.close();
  }

  /** The row after `tokens`; computes on those that the session does not hold yet, one at least. */
  async #read(tokens) {
    let known = 0;
    while (known < tokens.length - 1 && this.#held[known] === tokens[known]) known++;
    this.#session.truncate(known);
    const rows = await this.#session.forward(tokens.slice(known));
    this.#held = tokens;
    return rows;
  }
}

/** The server's side of the text. It may be lost: with the tokens so far it is made again, and goes on the same. */
class EdgeSession {
  /** Times it was made. */
  opened = 0;
  #server;
  #promptTokens;
  #settings;
  #id;

  constructor(server, promptTokens, settings) {
    this.#server = server;
    this.#promptTokens = promptTokens;
    this.#settings = settings;
  }

  async open(tokens) {
    const { maxTokens, ...settings } = this.#settings;
    const response = await this.#server.send("POST", "/v1/sessions", {
      tokens,
      prompt_length: this.#promptTokens.length,
      capacity: this.#promptTokens.length + maxTokens,
      ...settings,
    });
    this.#id = (await response.json()).id;
    this.opened++;
  }

  async verify(tokens, draft) {
    const body = writeNumbers([tokens.length, ...draft]);
    try {
      return readVerdict(await this.#server.exchange(`/v1/sessions/${this.#id}/verify`, body));
    } catch (error) {
      if (error.code !== "session_not_found") throw error;
      await this.open(tokens);
      return this.verify(tokens, draft);
    }
  }

  /** Nobody waits for it: sessions that are left alone expire. */
  async close() {
    await this.#server.send("DELETE", `/v1/sessions/${this.#id}`).catch(() => {});
  }
}

class EdgeServer {
  bytesUp = 0;
  bytesDown = 0;
  #url;
  #headers;
  #waitMs;
  #fetch;
  #signal;

  constructor({ url, key, waitMs = 500, fetch = globalThis.fetch, signal }) {
    this.#url = url;
    this.#waitMs = waitMs;
    this.#headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    this.#fetch = (...request) => fetch(...request);
    this.#signal = signal;
  }

  /** A round: bytes there, bytes back. */
  async exchange(path, body) {
    const response = await this.#try(path, {
      method: "POST",
      headers: { ...this.#headers, "content-type": MEDIA_TYPE },
      body,
    });
    const answer = new Uint8Array(await response.arrayBuffer());
    this.bytesUp += body.length;
    this.bytesDown += answer.length;
    return answer;
  }

  send(method, path, body) {
    const headers = { ...this.#headers, "content-type": "application/json" };
    return this.#try(path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  }

  /** A round names its position, so one that was lost, or half done, may be asked again: the answer is the same. */
  async #try(path, request) {
    for (let tries = 1; ; tries++) {
      let failure;
      let wait = this.#waitMs;
      try {
        const response = await this.#fetch(new URL(path, this.#url), { ...request, signal: this.#signal });
        if (response.ok) return response;
        failure = await errorOf(response);
        wait = 1000 * Number(response.headers.get("retry-after")) || wait;
        if (response.status < 500 && response.status !== 429) throw failure;
      } catch (error) {
        if (error === failure || this.#signal?.aborted) throw error;
        failure = error;
      }
      if (tries === TRIES) throw failure;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

async function errorOf(response) {
  const { error } = await response.json().catch(() => ({}));
  const message = `The server answers ${response.status}: ${error?.message ?? "nothing that is known"}`;
  return Object.assign(new RangeError(message), { code: error?.code });
}

function writeNumbers(numbers) {
  const bytes = [];
  for (let number of numbers) {
    for (; number > 127; number = Math.floor(number / 128)) bytes.push((number & 127) | 128);
    bytes.push(number);
  }
  return Uint8Array.from(bytes);
}

function readVerdict(bytes) {
  const numbers = [];
  for (let at = 0; at < bytes.length; ) {
    let number = 0;
    for (let factor = 1; ; factor *= 128) {
      number += (bytes[at] & 127) * factor;
      if (bytes[at++] < 128) break;
    }
    numbers.push(number);
  }
  const [head, ...followers] = numbers;
  return { accepted: Math.floor(head / 4), finish: head % 4, followers };
}
