/**
 * Calls of functions in what a model writes.
 *
 * In the form of Hermes, which Qwen and many others are trained on: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`,
 * as often as there are calls. Source: NousResearch, Hermes Function Calling, prompt format.
 */
import type { GrammarSpec } from "../decoding/constrain/grammar.ts";

const OPEN = "<tool_call>";
const CLOSE = "</tool_call>";

/** Whether a prompt asks for calls in this form. */
export function asksForToolCalls(prompt: string): boolean {
  return prompt.includes(OPEN);
}

/** What a call begins and ends with, around its arguments. */
export function callText(name: string): [before: string, behind: string] {
  return [`${OPEN}\n{"name": ${JSON.stringify(name)}, "arguments": `, `}\n${CLOSE}`];
}

/** Any text that holds no call, and does not begin one. */
export function textBeforeCall(name: string): GrammarSpec {
  return { textWithout: OPEN, name };
}

/** A call as OpenAI writes it. */
export interface ToolCallBody {
  readonly id: string;
  readonly type: "function";
  /** `arguments` is JSON. */
  readonly function: { readonly name: string; readonly arguments: string };
}

/** What some text brought. */
export interface Spoken {
  readonly text: string;
  readonly calls: readonly ToolCallBody[];
}

/** Separates calls from text as it comes. Text that may become a call is held back; what is no call after all is text. */
export class ToolCallReader {
  #held = "";
  #count = 0;

  /** Calls so far. */
  get count(): number {
    return this.#count;
  }

  push(text: string): Spoken {
    this.#held += text;
    let said = "";
    const calls: ToolCallBody[] = [];
    for (;;) {
      const start = this.#held.indexOf(OPEN);
      if (start < 0) {
        const safe = this.#held.length - heldBack(this.#held);
        said += this.#held.slice(0, safe);
        this.#held = this.#held.slice(safe);
        return { text: said, calls };
      }
      const end = this.#held.indexOf(CLOSE, start);
      if (end < 0) {
        said += this.#held.slice(0, start).trimEnd();
        this.#held = this.#held.slice(start);
        return { text: said, calls };
      }
      const call = this.#read(this.#held.slice(start + OPEN.length, end));
      const past = end + CLOSE.length;
      if (call === null) {
        said += this.#held.slice(0, past);
      } else {
        said += this.#held.slice(0, start).trimEnd();
        calls.push(call);
      }
      this.#held = this.#held.slice(past);
    }
  }

  /** What is left. A call whose end was cut off is one if it is complete otherwise. */
  end(): Spoken {
    const rest = this.#held;
    this.#held = "";
    const call = rest.startsWith(OPEN) ? this.#read(rest.slice(OPEN.length)) : null;
    if (call !== null) return { text: "", calls: [call] };
    // Blanks behind the last call are no text.
    return { text: this.#count > 0 && rest.trim() === "" ? "" : rest, calls: [] };
  }

  #read(json: string): ToolCallBody | null {
    const call = parsed(json);
    if (typeof call?.name !== "string") return null;
    this.#count++;
    const given = call.arguments ?? call.parameters ?? {};
    return {
      id: `call_${crypto.randomUUID().replaceAll("-", "")}`,
      type: "function",
      function: { name: call.name, arguments: typeof given === "string" ? given : JSON.stringify(given) },
    };
  }
}

function parsed(json: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

/** Characters at the end that may be the beginning of a call, with the blanks before it. */
function heldBack(text: string): number {
  let length = Math.min(text.length, OPEN.length - 1);
  while (length > 0 && !OPEN.startsWith(text.slice(-length))) length--;
  const before = text.slice(0, text.length - length);
  return length + before.length - before.trimEnd().length;
}
