/** `tools`, `tool_choice`, `parallel_tool_calls`: the calls that a model must or may make, as a grammar of its answer. */
import type { GrammarSpec } from "../decoding/constrain/grammar.ts";
import { apiError, show } from "./errors.ts";
import type { ChatBody } from "./schemas.ts";
import { callText, textBeforeCall } from "./tool-calls.ts";

/** What an answer must be for the sake of its calls, and which field says so. */
export interface CallRule {
  readonly param: string;
  readonly spec: GrammarSpec;
  /** Whether a call must be made; else there may be text before it, behind it, or nothing but text. */
  readonly isForced: boolean;
}

/**
 * Where a call must be made: one call of one of the functions, with arguments that are valid under their schema. Where
 * the model is free: any text, in which what begins as a call is one; undefined if nothing holds it to that.
 *
 * @throws {HTTPException} 400, if the function is not among the tools.
 */
export function readCallRule(body: ChatBody): CallRule | undefined {
  const { tools, tool_choice: choice } = body;
  if (choice === "none") return undefined;
  if (choice == null || choice === "auto") return freeRule(body);
  const all = (tools ?? []).map(({ function: described }, index) => ({ ...described, index }));
  const wanted = choice === "required" ? all : all.filter(({ name }) => name === choice.function.name);
  if (wanted.length === 0) {
    const got = choice === "required" ? "no tools" : show(choice.function.name);
    throw apiError(400, `"tool_choice" must name one of the "tools", got ${got}`, {
      param: "tool_choice",
      code: "invalid_value",
    });
  }
  const calls = wanted.map((tool) => callSpec(tool, tool.parameters));
  return { param: "tool_choice", spec: { anyOf: calls }, isForced: true };
}

/** Where a function is `strict`, or there must be one call at most; the arguments of others are any object. */
function freeRule({ tools, parallel_tool_calls: isParallel }: ChatBody): CallRule | undefined {
  const all = (tools ?? []).map(({ function: described }, index) => ({ ...described, index }));
  const strict = all.find((tool) => tool.strict === true);
  if (all.length === 0 || (strict === undefined && isParallel !== false)) return undefined;
  const call: GrammarSpec = {
    anyOf: all.map((tool) => callSpec(tool, tool.strict === true ? tool.parameters : {})),
  };
  const text = textBeforeCall("tools");
  const calls: GrammarSpec =
    isParallel === false ? { repeat: call, max: 1 } : { repeat: { sequence: [call, text] } };
  const param = strict === undefined ? "parallel_tool_calls" : `tools[${strict.index}].function.strict`;
  return { param, spec: { sequence: [text, calls] }, isForced: false };
}

function callSpec(tool: { name: string; index: number }, parameters: object | null | undefined): GrammarSpec {
  const [before, behind] = callText(tool.name);
  const jsonSchema = { type: "object", ...parameters };
  const name = `tools[${tool.index}].function.parameters`;
  return { sequence: [{ choice: [before] }, { jsonSchema, name }, { choice: [behind] }] };
}
