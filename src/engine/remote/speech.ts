/** How a text reaches a server, and whose tokens its answers are of: ids where both sides have the same, else texts. */
import { joined } from "../../format/joined.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";

export interface Speech {
  readonly kind: "ids" | "text";
  /** What is sent for some tokens; or why nothing can be. */
  prompt(tokens: readonly number[]): readonly number[] | string | RangeError;
  /** The token of ours that a server's token is, or begins with; undefined: none. */
  tokenOf(bytes: Uint8Array): number | undefined;
  /** Tokens that cannot be sent, and so must not be chosen. */
  readonly unspeakable: readonly number[];
}

const asKey = (bytes: Uint8Array) => String.fromCharCode(...bytes);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Both sides have the same tokens. */
export function speakIds(): Speech {
  return { kind: "ids", prompt: (tokens) => tokens, tokenOf: () => undefined, unspeakable: [] };
}

/**
 * A server of another vocabulary, or of one that it does not tell: it reads the text that the tokens spell, and its likely
 * tokens stand for those of ours that they are, or begin with. Halves of characters cannot be sent, nor control tokens behind the
 * one that begins a text.
 */
export function speakText(tokenizer: Tokenizer): Speech {
  const tokens = new Map<string, number>();
  const unspeakable: number[] = [];
  for (let id = 0; id < tokenizer.vocab; id++) {
    const bytes = tokenizer.bytes(id);
    if (bytes.length === 0) {
      if (!tokenizer.endTokens.has(id)) unspeakable.push(id);
      continue;
    }
    if (textOf(bytes) === undefined) {
      unspeakable.push(id);
      continue;
    }
    const key = asKey(bytes);
    if (!tokens.has(key)) tokens.set(key, id);
  }
  // SentencePiece writes a space before a text, which is none of it.
  const isSpaced = tokenizer.decode(tokenizer.encode("a", { special: false })) === " a";
  return {
    kind: "text",
    unspeakable,
    prompt(given) {
      const control = given.findIndex((id, index) => index > 0 && tokenizer.bytes(id).length === 0);
      if (control > 0) {
        return new RangeError(`Cannot send token ${given[control]} as text: it is a control token`);
      }
      const text = textOf(joined(...given.map((id) => tokenizer.bytes(id))));
      if (text === undefined)
        return new RangeError("Cannot send the tokens as text: they end in a character");
      return isSpaced && text.startsWith(" ") ? text.slice(1) : text;
    },
    tokenOf(bytes) {
      // One without a text that is likely enough to be told is the end of one.
      if (bytes.length === 0) return tokenizer.eos ?? undefined;
      const known = tokens.get(asKey(bytes));
      return known ?? controlToken(tokenizer, bytes) ?? longest(tokens, bytes);
    },
  };
}

/** Some servers tell control tokens by their names. */
function controlToken(tokenizer: Tokenizer, bytes: Uint8Array): number | undefined {
  const name = bytes.length <= 64 ? textOf(bytes) : undefined;
  if (name === undefined) return undefined;
  const [id, ...rest] = tokenizer.encode(name, { special: false, parseSpecial: true });
  return rest.length === 0 && id !== undefined && tokenizer.bytes(id).length === 0 ? id : undefined;
}

/** Of what a token begins with, the longest: what follows it, the server will be asked again. */
function longest(tokens: ReadonlyMap<string, number>, bytes: Uint8Array): number | undefined {
  const key = asKey(bytes.subarray(0, 256));
  for (let end = key.length; end > 0; end--) {
    const id = tokens.get(key.slice(0, end));
    if (id !== undefined) return id;
  }
  return undefined;
}

/** A text that holds tokens from all over the vocabulary: who makes the same ids of it has the same tokens. */
export function probeText(tokenizer: Tokenizer): string {
  const parts = ["The quick brown fox, it's 1,234 €: naïve 東京 привет 🙂\n\tdef f(x):\n"];
  for (let i = 1; i <= PROBES; i++) {
    const bytes = tokenizer.bytes(Math.floor((i * (tokenizer.vocab - 1)) / PROBES));
    const text = bytes.length > 0 && bytes.length <= 32 ? textOf(bytes) : undefined;
    if (text !== undefined) parts.push(text);
  }
  return parts.join(" ");
}

const PROBES = 128;

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
