/** One attempt to load and run a file that may be broken, and what must hold of it whatever the file says. */
import { expect, vi } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import type { ByteInput } from "../../src/format/bytes.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { streamOf } from "./streams.ts";

export type BackendName = "wasm" | "reference";

/** Of the linear memory; whole pages. */
const CEILING = 64 * 65_536;

/** The largest buffer asked for in JavaScript, and the linear memories, since the last attempt began. */
let largestBuffer = 0;
let memories: WebAssembly.Memory[] = [];

/** To be called before any attempt, and undone by `vi.unstubAllGlobals`. */
export function watchMemory(): void {
  const watched = <T extends Uint8ArrayConstructor | Float32ArrayConstructor>(type: T): T =>
    new Proxy(type, {
      construct(target, args) {
        if (typeof args[0] === "number") {
          largestBuffer = Math.max(largestBuffer, args[0] * target.BYTES_PER_ELEMENT);
        }
        return Reflect.construct(target, args);
      },
    });
  vi.stubGlobal("Uint8Array", watched(Uint8Array));
  vi.stubGlobal("Float32Array", watched(Float32Array));
  const Instance = new Proxy(WebAssembly.Instance, {
    construct(target, args) {
      const instance = Reflect.construct(target, args);
      memories.push(instance.exports.memory);
      return instance;
    },
  });
  vi.stubGlobal("WebAssembly", Object.assign(Object.create(WebAssembly), { Instance }));
}

/** Loads and decodes in bounded memory. Null if that works, otherwise the error, which must be one of ours. */
export async function attempt(input: ByteInput, backend: BackendName): Promise<string | null> {
  largestBuffer = 0;
  memories = [];
  let error: string | null = null;
  let model: Model | undefined;
  try {
    model = await loadModel(input, { maxMemoryBytes: CEILING, backend, build: "simd" });
  } catch (thrown) {
    error = checkedError(thrown);
  }
  if (model !== undefined) await expectDecodes(model);
  model?.close();
  expect(largestBuffer).toBeLessThanOrEqual(CEILING);
  if (model !== undefined) expect(memories.length).toBe(backend === "wasm" ? 1 : 0);
  for (const memory of memories) expect(memory.buffer.byteLength).toBeLessThanOrEqual(CEILING);
  return error;
}

/** The file as bytes, and where that is refused also as a stream, whose length is not known. */
export async function attemptBoth(file: Uint8Array, backend: BackendName): Promise<string | null> {
  const error = await attempt(file, backend);
  if (error !== null) await attempt(streamOf([file]), backend);
  return error;
}

/** Ours are told from accidents of the engine by how their messages begin. */
function checkedError(error: unknown): string {
  const known =
    error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
  const ours =
    /^(Cannot (allocate|read|load|run)\b(?! propert)|Metadata "|Unknown (pre-)?tokenizer "|Byte token )/;
  const said = known && ours.test(error.message) && !error.message.endsWith(".");
  if (!said || error.message.length < 30 || error.message.length > 500) throw error;
  return `${error.name}: ${error.message}`;
}

const NOTHING_LEFT = /^RangeError: Cannot sample the token at position \d+: no logit of the row is above −∞$/;

/** Text in and out, and three tokens, greedily and drawn; some NaN among the logits are no excuse. */
async function expectDecodes(model: Model): Promise<void> {
  const { tokenizer, vocab, contextLength } = model;
  const encoded = tokenizer.encode("Once upon a time 42 ducks\n\tsaid: naïve 日本 🦆!");
  for (const token of encoded) expectToken(token, tokenizer.vocab);
  expect(typeof tokenizer.decode(encoded)).toBe("string");
  const prompt = [vocab - 1, 0, Math.min(5, vocab - 1)].slice(0, contextLength);
  const count = Math.min(3, contextLength - prompt.length);
  for (const sampling of [
    { temperature: 0 },
    { temperature: 1.5, topK: 40, topP: 0.9, minP: 0.01, seed: 7 },
  ]) {
    const steps = model.generate(prompt, { ...sampling, maxTokens: 3, ignoreEos: true });
    const tokens: number[] = [];
    try {
      let step = await steps.next();
      for (; !step.done; step = await steps.next()) tokens.push(step.value.token);
      expect(step.value.tokens).toEqual(tokens);
      expect(tokens.length).toBe(count);
    } catch (error) {
      // A row without a number is told, never answered with a token that nothing spoke for.
      if (!String(error).match(NOTHING_LEFT)) throw error;
    }
    for (const token of tokens) expectToken(token, vocab);
  }
}

function expectToken(token: number, vocab: number): void {
  const valid = Number.isInteger(token) && token >= 0 && token < vocab;
  if (!valid) expect.fail(`Token must be an integer from 0 to ${vocab - 1}, got ${token}`);
}
