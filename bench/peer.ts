import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { chromiumInstalled } from "../test/runtimes/chromium.ts";
import type { Timed } from "./harness.ts";
import type { Missing, PeerFacts } from "./report.ts";

const REGISTER = new URL("./register.mjs", import.meta.url).href;

/** What a peer says about itself when it has loaded the model. */
export interface About {
  readonly peer: string;
  readonly version: string;
  readonly threads: number;
  /** Instruction sets in use. */
  readonly system?: string;
  readonly [setting: string]: unknown;
}

interface Speed extends Timed {
  readonly tokensPerSecond: number;
}

/** Token ids, or a text for a peer that takes no ids. */
type Prompt = { tokens: readonly number[] } | { text: string };

/** One of several texts at once: time to its first token from when all were asked for, and from token to token. */
export interface Stream {
  readonly firstMs: number;
  readonly gapsMs: readonly number[];
}

/** Requests every peer process knows; the answers are described at the head of its file. */
interface Tasks {
  tokenize: [{ text: string }, { tokens: number[] }];
  greedy: [{ tokens: readonly number[]; n: number }, { tokens: number[] }];
  decode: [Prompt & { n: number }, Speed];
  prefill: [Prompt, Speed];
  streams: [{ prompts: readonly (readonly number[])[]; n: number }, { streams: Stream[] }];
  logits: [{ tokens: readonly number[]; file: string }, { rows: number; vocab: number }];
  head: [{ side: "edgewise" | "ort-web"; type: string; columns: number; calls: number }, Timed];
}

export type PeerName = "llama-cpp" | "wllama" | "ort-web";

const LABELS: Readonly<Record<PeerName, string>> = {
  "llama-cpp": "llama.cpp",
  wllama: "wllama",
  "ort-web": "ONNX Runtime Web",
};
const PACKAGES: Readonly<Record<PeerName, string>> = {
  "llama-cpp": "node-llama-cpp",
  wllama: "@wllama/wllama",
  "ort-web": "onnxruntime-web",
};

/** Null if the peer is there. */
function howToInstall(name: PeerName): string | null {
  if (!existsSync(new URL(`./peers/node_modules/${PACKAGES[name]}`, import.meta.url)))
    return "not installed; npm run bench:peers";
  if (name !== "llama-cpp" && !chromiumInstalled())
    return "Chromium is not installed; npm install --prefix test/runtimes";
  return null;
}

/**
 * Another runtime in a process of its own, with one model loaded: it stays up between requests, so that its rounds
 * can be interleaved with ours, and uses no core while it waits.
 *
 *   await using llama = await Peer.start("llama-cpp", ["model.gguf"]);
 *   const { tokensPerSecond } = await llama.request("decode", { tokens, n: 64 });
 */
export class Peer implements AsyncDisposable {
  readonly about: About;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(
    child: ChildProcessByStdio<Writable, Readable, null>,
    lines: AsyncIterator<string>,
    about: About,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.about = about;
  }

  /** As `start`, or null where the peer is not installed; how to install it then goes to `missing`. */
  static async startIfInstalled(
    name: PeerName,
    args: readonly string[],
    missing: Missing[],
  ): Promise<Peer | null> {
    const reason = howToInstall(name);
    if (reason === null) return Peer.start(name, args);
    missing.push({ name: LABELS[name], reason });
    return null;
  }

  /**
   * @param name A script of `bench/peers`, without its ending.
   * @param args Model file first, if it takes one; the head of the script lists the options.
   * @throws {Error} If the peer is not installed, or the script cannot load the model.
   */
  static async start(name: PeerName, args: readonly string[]): Promise<Peer> {
    const missing = howToInstall(name);
    if (missing !== null) throw new Error(`Cannot start ${LABELS[name]}: ${missing}`);
    const script = fileURLToPath(new URL(`./peers/${name}.mjs`, import.meta.url));
    const child = spawn("node", ["--import", REGISTER, script, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done) throw new Error(`Peer ${name} ended before it was ready`);
    return new Peer(child, lines, JSON.parse(first.value));
  }

  /** For the report. */
  facts(name = this.about.peer): PeerFacts {
    return { name, version: this.about.version, system: this.about.system };
  }

  async request<T extends keyof Tasks>(task: T, request: Tasks[T][0]): Promise<Tasks[T][1]> {
    this.#child.stdin.write(`${JSON.stringify({ task, ...request })}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error(`Peer ${this.about.peer} ended while it worked on ${task}`);
    const answer = JSON.parse(line.value);
    if (answer.error !== undefined)
      throw new Error(`Peer ${this.about.peer} failed in ${task}: ${answer.error}`);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin.end();
    await ended;
  }
}
