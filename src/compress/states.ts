/**
 * states: what the layers of a model make of texts, as its head takes it, and the tokens that came next.
 *
 *     text         in windows from all over it, every fifth of which is held out: a head is judged on what it has not seen
 *     without one  the model writes its own: each window is drawn from its law, several at a time
 */
import { type Floats, type KvCache, stride } from "../backend/backend.ts";
import { createPipeline } from "../decoding/pipeline.ts";
import { CHUNK } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { CalibrationStates } from "./method.ts";
import { type OpenedModel, WINDOW } from "./opened.ts";

/** States and what follows them. */
export interface TextStates {
  readonly count: number;
  /** (count, D) */
  readonly values: Float32Array;
  /** (count) the token after each. */
  readonly next: Uint32Array;
}

export interface GatheredStates {
  readonly fitted: TextStates;
  readonly heldOut: TextStates;
}

/** UTF-16 units of a piece of text that is tokenized, at least. */
const PIECE = 1 << 15;
/** One window in so many is held out. */
const HELD_OUT = 5;
/** Texts that the model writes at the same time. */
const WRITERS = 16;
/** Of a window that the model writes: what follows its first token soon has the variety of any text. */
const WRITTEN = 128;
/** Columns of the dense head made at once. */
const LAWS = 8;

export type Progress = (stage: string, done: number, total: number) => void | Promise<void>;

/** @param count States to fit with, at most; a fifth as many are held out, or more. @throws {RangeError} If the text is too short. */
export async function gatherFromText(
  opened: OpenedModel,
  text: string,
  count: number,
  onProgress: Progress,
): Promise<GatheredStates> {
  const { tokenizer, model } = opened;
  const { bos } = tokenizer;
  const start = bos !== null && tokenizer.encode("a")[0] === bos ? [bos] : [];
  const size = Math.min(WINDOW, model.contextLength) - start.length;
  const wanted = Math.max(
    2 * HELD_OUT,
    Math.ceil((count / (size + start.length)) * (HELD_OUT / (HELD_OUT - 1))),
  );
  const windows = windowsOf(tokenizer, text, size, wanted).map(({ tokens, next }) => ({
    tokens: [...start, ...tokens],
    next,
  }));
  if (windows.length < 2 * HELD_OUT) {
    throw new RangeError(
      `Cannot calibrate: the text must have at least ${2 * HELD_OUT} pieces of ${size + 1} tokens, got ${windows.length}`,
    );
  }
  const parts: TextStates[] = [];
  const cache = opened.backend.kvCache(model.config, size + start.length);
  try {
    for (const [i, { tokens, next }] of windows.entries()) {
      await onProgress("states of the text", i, windows.length);
      const values = statesOf(opened, cache, tokens);
      parts.push({ count: tokens.length, values, next: Uint32Array.from([...tokens.slice(1), next]) });
    }
  } finally {
    opened.backend.free(cache);
  }
  await onProgress("states of the text", windows.length, windows.length);
  return divided(parts);
}

interface Window {
  readonly tokens: readonly number[];
  /** What follows them. */
  readonly next: number;
}

/** At most `wanted` of them, from all over the text. */
function windowsOf(tokenizer: Tokenizer, text: string, size: number, wanted: number): Window[] {
  const pieces = piecesOf(text);
  const windows: Window[] = [];
  // As many pieces as one would take if all were like the first, and half as many more.
  const first = tokenizer.encode(pieces[0], { special: false }).length;
  const enough = Math.ceil((1.5 * wanted * size) / Math.max(1, first - size)) + 1;
  const some = Math.min(pieces.length, enough);
  for (let i = 0; i < some; i++) {
    const tokens = tokenizer.encode(pieces[Math.floor((i * pieces.length) / some)], { special: false });
    for (let at = 0; at + size < tokens.length; at += size) {
      windows.push({ tokens: tokens.slice(at, at + size), next: tokens[at + size] });
    }
  }
  const kept = Math.min(wanted, windows.length);
  return Array.from({ length: kept }, (_, i) => windows[Math.floor((i * windows.length) / kept)]);
}

/** Cut before a blank: tokenizers take no text of any length at once. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length || at === 0; ) {
    const blank = text.slice(at + PIECE, at + 2 * PIECE).search(/\s/);
    const end = at + PIECE + Math.max(0, blank);
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces;
}

/** @param count As above. */
export async function gatherFromModel(
  opened: OpenedModel,
  count: number,
  seed: number,
  onProgress: Progress,
): Promise<GatheredStates> {
  const { backend, model, tokenizer } = opened;
  const length = Math.min(WRITTEN, model.contextLength - 1);
  const windows = Math.max(2 * HELD_OUT, Math.ceil((count / (length - 1)) * (HELD_OUT / (HELD_OUT - 1))));
  const size = stride(model.vocab);
  const rows = backend.floats(WRITERS * size);
  const pipeline = createPipeline([]);
  const parts: TextStates[] = [];
  const caches: KvCache[] = [];
  try {
    for (let i = 0; i < WRITERS; i++) caches.push(backend.kvCache(model.config, length));
    for (let first = 0; first < windows; first += WRITERS) {
      const some = Math.min(WRITERS, windows - first);
      const texts = Array.from({ length: some }, (_, i) => [
        tokenizer.bos ?? (((first + i) * 2654435761) >>> 0) % tokenizer.vocab,
      ]);
      const states = texts.map(() => new Float32Array(length * model.config.hidden));
      for (let position = 0; position < length; position++) {
        await onProgress("text of the model", first * length + position * some, windows * length);
        writeToken(opened, { caches, texts, states, rows, position });
        for (const [i, text] of texts.entries()) {
          const row = backend.read(backend.slice(rows, i * size, model.vocab)) as Float32Array;
          const place = { history: [], promptLength: 0, position, seed: seed + first + i };
          text.push(pipeline.sample(row, place).token);
        }
      }
      for (const [i, text] of texts.entries()) {
        parts.push({ count: length, values: states[i], next: Uint32Array.from(text.slice(1)) });
      }
    }
  } finally {
    for (const cache of caches) backend.free(cache);
    backend.free(rows);
  }
  await onProgress("text of the model", windows * length, windows * length);
  return divided(parts);
}

interface Writing {
  readonly caches: readonly KvCache[];
  readonly texts: readonly number[][];
  readonly states: readonly Float32Array[];
  readonly rows: Floats;
  readonly position: number;
}

/** A pass over the last token of each text; leaves rows, and their states. */
function writeToken({ backend, model }: OpenedModel, writing: Writing): void {
  const { caches, texts, states, rows, position } = writing;
  const { hidden } = model.config;
  const size = stride(model.vocab);
  const left = backend.floats(texts.length * hidden);
  model.forward(
    texts.map((text, i) => {
      backend.claimKv(caches[i], position, 1);
      return {
        cache: caches[i],
        tokens: [text[position]],
        runs: [{ columns: 1, position }],
        rows: 1,
        out: backend.slice(rows, i * size, size),
        states: backend.slice(left, i * hidden, hidden),
      };
    }),
  );
  const values = backend.read(left) as Float32Array;
  for (const [i, all] of states.entries()) {
    all.set(values.subarray(i * hidden, (i + 1) * hidden), position * hidden);
  }
  backend.free(left);
}

/** (tokens.length, D) of one text, read from its beginning. */
function statesOf({ backend, model }: OpenedModel, cache: KvCache, tokens: readonly number[]): Float32Array {
  const { hidden } = model.config;
  const left = backend.floats(CHUNK * hidden);
  const none = backend.slice(left, 0, 0);
  const values = new Float32Array(tokens.length * hidden);
  for (let position = 0; position < tokens.length; position += CHUNK) {
    const some = tokens.slice(position, position + CHUNK);
    const states = backend.slice(left, 0, some.length * hidden);
    backend.claimKv(cache, position, some.length);
    const runs = [{ columns: some.length, position }];
    model.forward([{ cache, tokens: some, runs, rows: 0, out: none, states }]);
    values.set(backend.read(states) as Float32Array, position * hidden);
  }
  backend.free(left);
  return values;
}

function divided(parts: readonly TextStates[]): GatheredStates {
  return {
    fitted: joined(parts.filter((_, i) => i % HELD_OUT !== HELD_OUT - 1)),
    heldOut: joined(parts.filter((_, i) => i % HELD_OUT === HELD_OUT - 1)),
  };
}

function joined(parts: readonly TextStates[]): TextStates {
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const hidden = parts[0].values.length / parts[0].count;
  const values = new Float32Array(count * hidden);
  const next = new Uint32Array(count);
  let at = 0;
  for (const part of parts) {
    values.set(part.values, at * hidden);
    next.set(part.next, at);
    at += part.count;
  }
  return { count, values, next };
}

/** States with what the dense head says of them. */
export async function calibrationOf(
  { backend, model, weights }: OpenedModel,
  { count, values }: TextStates,
  onProgress: Progress,
): Promise<CalibrationStates> {
  const { hidden } = model.config;
  const { vocab } = model;
  const laws: CalibrationStates["laws"] = async (use) => {
    const states = backend.floats(LAWS * hidden);
    const rows = backend.floats(LAWS * stride(vocab));
    try {
      for (let first = 0; first < count; first += LAWS) {
        const some = Math.min(LAWS, count - first);
        backend.write(states, values.subarray(first * hidden, (first + some) * hidden));
        backend.matmul(states, some, [{ weights: weights.head, out: rows }]);
        for (let i = 0; i < some; i++) {
          const row = backend.slice(rows, i * stride(vocab), vocab);
          backend.softmax(row, row, vocab);
          await use(backend.read(row) as Float32Array, first + i);
        }
      }
    } finally {
      backend.free(states);
      backend.free(rows);
    }
  };
  const probabilities = new Float64Array(vocab);
  await laws(async (law, state) => {
    for (let i = 0; i < vocab; i++) probabilities[i] += law[i];
    await onProgress("laws of the dense head", state + 1, count);
  });
  for (let i = 0; i < vocab; i++) probabilities[i] /= count;
  return { count, values, probabilities, laws };
}
