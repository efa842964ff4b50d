/** connectServer: finds out what a server is, what it runs, and whether its tokens are ours. */
import { expectInteger, UnsupportedError } from "../../errors.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { edgewiseServer, REMOTE_ENCODINGS, type RemoteEncoding, readPeer } from "./edgewise.ts";
import { Field } from "./fields.ts";
import { type HttpOptions, RemoteClient } from "./http.ts";
import { llamaCppServer } from "./llama-cpp.ts";
import { openAiServer } from "./openai.ts";
import type { RowServer } from "./server.ts";
import { probeText, type Speech, speakIds, speakText } from "./speech.ts";

export const SERVER_KINDS = ["edgewise", "llama.cpp", "vllm", "openai"] as const;
export type ServerKind = (typeof SERVER_KINDS)[number];

export interface ConnectOptions extends HttpOptions {
  /** What errors call it, where its address is nobody's business. Default: its address. */
  readonly name?: string;
  /** Default: what the server says that it is. */
  readonly kind?: ServerKind;
  /** What it shall run. Default: the first model that it lists. */
  readonly model?: string;
  /** Tokens that a row tells, where it tells the likeliest only. Default 64 of llama.cpp, 20 of others. */
  readonly known?: number;
  /** Of Edgewise's rows; others than "f32" are shorter, and rows of their own right. Default "f32". */
  readonly encoding?: RemoteEncoding;
  /** Positions to hold at most. Default: as the server says, else 4,096. */
  readonly contextLength?: number;
  /** Whether tokens go by id or by text. Default: by id, where the server's are found to be the same. */
  readonly speech?: "ids" | "text";
}

export interface ConnectedServer {
  readonly server: RowServer;
  readonly speech: Speech;
  readonly kind: ServerKind;
}

/** Whether a place of a model is a server: an address that is not one of a GGUF. */
export function isServer(place: string): boolean {
  const url = /^https?:\/\//i.test(place) ? parseUrl(place) : null;
  return url !== null && !/\.gguf$/i.test(url.pathname);
}

/** Whose tokens the rows are of. */
export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  /** Tokens of a row. */
  readonly vocab: number;
}

const MAX_INFO = 1 << 20;
const OWNERS: Readonly<Record<string, ServerKind>> = {
  edgewise: "edgewise",
  llamacpp: "llama.cpp",
  vllm: "vllm",
};
const KNOWN = { "llama.cpp": 64, vllm: 20, openai: 20 } as const;
/** Context that a model is taken to have if its server does not say. */
const DEFAULT_CONTEXT = 4096;

/**
 * @param url Of the server, with or without `/v1`; what follows a `#` names the model.
 * @throws {TypeError | RangeError} If an option is wrong.
 * @throws {UnsupportedError} If the server cannot give rows of these tokens.
 * @throws {RemoteError} If it does not answer as such a server does.
 */
export async function connectServer(
  url: string | URL,
  { tokenizer, vocab }: Vocabulary,
  options: ConnectOptions,
): Promise<ConnectedServer> {
  const { base, fragment } = readUrl(url);
  const name = options.name === undefined ? base : `"${options.name}"`;
  const client = new RemoteClient(`the server of ${name}`, base, options);
  const { encoding = "f32" } = options;
  expectOneOf("encoding", encoding, REMOTE_ENCODINGS);
  if (options.kind !== undefined) expectOneOf("kind", options.kind, SERVER_KINDS);
  if (options.speech !== undefined) expectOneOf("speech", options.speech, ["ids", "text"]);
  const listed = await readModels(client, options.model ?? fragment);
  const kind = options.kind ?? OWNERS[listed.owner] ?? "openai";
  const probe = await readTokens(client, kind, listed.model, tokenizer);
  const isAlike = probe.isAlike && (listed.vocab === undefined || listed.vocab === vocab);
  const speech = openSpeech(client, kind, options.speech ?? (isAlike ? "ids" : "text"), isAlike, tokenizer);
  const known =
    kind === "edgewise" ? vocab : expectInteger("known", options.known ?? KNOWN[kind], 1, 100_000);
  const peer = kind === "edgewise" ? await readPeer(client, listed.model, tokenizer.bos ?? 0) : undefined;
  if (peer !== undefined && peer.vocab !== vocab) throw wrongTokens(client);
  const told = probe.contextLength ?? listed.contextLength;
  const facts = {
    model: listed.model,
    vocab,
    known: Math.min(known, vocab),
    // A place is needed for the token that brings the last row.
    contextLength: Math.max(1, options.contextLength ?? (told ?? DEFAULT_CONTEXT) - 1),
    fingerprint:
      peer === undefined
        ? [kind, base, listed.model, speech.kind, known].join(" ")
        : [kind, peer.fingerprint, encoding].join(" "),
  };
  if (told !== undefined) expectInteger("contextLength", facts.contextLength, 1, told);
  const { known: _, ...whole } = facts;
  if (peer !== undefined) {
    const server = edgewiseServer(client, { ...whole, encoding, ...(peer.known && { known: peer.known }) });
    return { server, speech, kind };
  }
  if (kind === "llama.cpp") return { server: llamaCppServer(client, speech, facts), speech, kind };
  return { server: openAiServer(client, speech, { ...facts, isVllm: kind === "vllm" }), speech, kind };
}

/** @throws {TypeError} If it is no address of a server, or tells a secret. */
function readUrl(given: string | URL): { base: string; fragment: string | undefined } {
  const url = parseUrl(String(given));
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(
      '"url" must be an http or https address, as in http://127.0.0.1:8080, got something else',
    );
  }
  if (url.username !== "" || url.password !== "" || url.search !== "") {
    throw new TypeError('"url" must have no user, password or query; a key is "apiKey"');
  }
  const path = url.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
  const base = url.origin + path;
  const fragment = url.hash === "" ? undefined : decodeURIComponent(url.hash.slice(1));
  return { base, fragment };
}

function parseUrl(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

interface ListedModel {
  readonly model: string;
  readonly owner: string;
  readonly vocab?: number;
  readonly contextLength?: number;
}

async function readModels(client: RemoteClient, asked: string | undefined): Promise<ListedModel> {
  const list = new Field(client.name, await client.json("/v1/models", undefined, { maxBytes: MAX_INFO })).at(
    "data",
  );
  const models = list.list(10_000);
  const found = asked === undefined ? models[0] : models.find((one) => one.at("id").value === asked);
  if (found === undefined) {
    if (asked !== undefined && models.length > 0) {
      throw new RangeError(`"model" must be one that ${client.name} lists, got "${asked.slice(0, 64)}"`);
    }
    throw list.wrong("an array with a model");
  }
  const owner = found.at("owned_by");
  const meta = found.at("meta");
  const optional = (field: Field) => (field.isAbsent ? undefined : field.integer(1, 2 ** 31 - 1));
  return {
    model: found.at("id").text(),
    owner: typeof owner.value === "string" ? owner.value : "",
    ...(meta.isAbsent
      ? { contextLength: optional(found.at("max_model_len")) }
      : { vocab: optional(meta.at("n_vocab")), contextLength: optional(meta.at("n_ctx")) }),
  };
}

/** What the server makes of a text from all over the vocabulary, beside what we make of it. */
async function readTokens(
  client: RemoteClient,
  kind: ServerKind,
  model: string,
  tokenizer: Tokenizer,
): Promise<{ isAlike: boolean; contextLength?: number }> {
  const text = probeText(tokenizer);
  const body =
    kind === "llama.cpp"
      ? { content: text, add_special: false, parse_special: false }
      : {
          model,
          prompt: text,
          add_special_tokens: false,
          ...(kind === "edgewise" && { parse_special: false }),
        };
  const answer = await client.find("/tokenize", body, { maxBytes: MAX_INFO });
  if (answer === undefined) return { isAlike: false };
  const field = new Field(client.name, answer);
  const tokens = field.at("tokens").list(MAX_INFO);
  const ours = tokenizer.encode(text, { special: false });
  const isAlike = tokens.length === ours.length && tokens.every(({ value }, i) => value === ours[i]);
  const longest = field.at("max_model_len");
  return { isAlike, ...(!longest.isAbsent && { contextLength: longest.integer(1, 2 ** 31 - 1) }) };
}

function openSpeech(
  client: RemoteClient,
  kind: ServerKind,
  asked: "ids" | "text",
  isAlike: boolean,
  tokenizer: Tokenizer,
): Speech {
  if (asked === "text" && kind !== "edgewise") return speakText(tokenizer);
  if (asked === "ids" && kind !== "openai" && isAlike) return speakIds();
  throw wrongTokens(
    client,
    kind === "edgewise"
      ? '; with "kind" openai, it can be read by text'
      : ', or it does not tell; leave out "speech" to read it by text',
  );
}

function wrongTokens({ name }: RemoteClient, advice = ""): UnsupportedError {
  return new UnsupportedError(
    `Cannot use ${name}: its tokens are not those of the model that lends its tokenizer${advice}`,
  );
}

function expectOneOf(name: string, value: unknown, names: readonly string[]): void {
  if (names.includes(value as string)) return;
  const got = typeof value === "string" ? `"${value.slice(0, 40)}"` : typeof value;
  throw new RangeError(`"${name}" must be one of ${names.join(", ")}, got ${got}`);
}
