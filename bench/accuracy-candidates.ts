/** What accuracy is measured of: our backends and builds, and llama.cpp. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Model } from "../src/engine/model.ts";
import { loadModel } from "../src/node.ts";
import { ifSupported } from "./builds.ts";
import { parseGguf } from "./oracle/gguf.ts";
import { toF32 } from "./oracle/to-f32.ts";
import { Peer } from "./peer.ts";
import type { Missing } from "./report.ts";

export interface Candidate extends AsyncDisposable {
  readonly name: string;
  /** The rows after each of `tokens`, one after the other; a row is valid until the next is asked for. */
  rows(tokens: readonly number[]): AsyncIterable<Float32Array>;
}

interface Setting {
  /** GGUF file. */
  readonly path: string;
  /** Longest sequence. */
  readonly window: number;
  /** For files; whoever made it removes it. */
  readonly folder: string;
  readonly missing: Missing[];
}

/**
 * @returns Null where it cannot run here; why goes to `missing`.
 * @throws {RangeError} If there is no such candidate.
 */
export async function openCandidate(name: string, setting: Setting): Promise<Candidate | null> {
  const { path, missing } = setting;
  switch (name) {
    case "simd":
    case "relaxed":
      return ifSupported(
        name,
        missing,
        async () => new Edgewise(`edgewise ${name}`, await loadModel(path, { build: name })),
      );
    case "reference":
      return new Edgewise("edgewise reference", await loadModel(path, { backend: "reference" }));
    case "llama.cpp":
      return LlamaCpp.open(name, path, [], setting);
    case "llama.cpp-f32": {
      const converted = join(setting.folder, "f32.gguf");
      await writeFile(converted, toF32(parseGguf(new Uint8Array(await readFile(path)))));
      return LlamaCpp.open(name, converted, ["--kv", "F32", "--flash", "off"], setting);
    }
    default:
      throw new RangeError(
        `Candidate must be simd, relaxed, reference, llama.cpp or llama.cpp-f32, got "${name}"`,
      );
  }
}

class Edgewise implements Candidate {
  readonly name: string;
  readonly #model: Model;

  constructor(name: string, model: Model) {
    this.name = name;
    this.#model = model;
  }

  async *rows(tokens: readonly number[]): AsyncIterable<Float32Array> {
    const session = this.#model.open({ capacity: tokens.length });
    try {
      const rows = await session.forward(tokens, tokens.length);
      for (let row = 0; row < rows.count; row++) yield rows.row(row);
    } finally {
      session.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#model.close();
  }
}

class LlamaCpp implements Candidate {
  readonly name: string;
  readonly #peer: Peer;
  readonly #file: string;

  private constructor(name: string, peer: Peer, file: string) {
    this.name = name;
    this.#peer = peer;
    this.#file = file;
  }

  static async open(name: string, path: string, args: readonly string[], setting: Setting) {
    const context = ["--context", String(setting.window)];
    const peer = await Peer.startIfInstalled("llama-cpp", [path, ...context, ...args], setting.missing);
    return peer === null ? null : new LlamaCpp(name, peer, join(setting.folder, `${name}.rows`));
  }

  async *rows(tokens: readonly number[]): AsyncIterable<Float32Array> {
    const { rows, vocab } = await this.#peer.request("logits", { tokens, file: this.#file });
    const bytes = await readFile(this.#file);
    for (let row = 0; row < rows; row++) {
      yield new Float32Array(bytes.buffer, bytes.byteOffset + row * vocab * 4, vocab);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#peer[Symbol.asyncDispose]();
  }
}
