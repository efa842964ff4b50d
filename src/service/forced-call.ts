/** `tool_choice`: a call that the model must make, as a grammar of what it may write. */
import type { GrammarSpec } from "../decoding/constrain/grammar.ts";
import { apiError, show } from "./errors.ts";
import type { ChatBody } from "./schemas.ts";
import { callText } from "./tool-calls.ts";

/**
 * One call of one of the functions, with arguments that are valid under their schema; undefined: none must be made.
 *
 * @throws {HTTPException} 400, if the function is not among the tools.
 */
export function readForcedCall({ tools, tool_choice: choice }: ChatBody): GrammarSpec | undefined {
  if (choice == null || choice === "none" || choice === "auto") return undefined;
  const all = (tools ?? []).map(({ function: described }, index) => ({ ...described, index }));
  const wanted = choice === "required" ? all : all.filter(({ name }) => name === choice.function.name);
  if (wanted.length === 0) {
    const got = choice === "required" ? "no tools" : show(choice.function.name);
    throw apiError(400, `"tool_choice" must name one of the "tools", got ${got}`, {
      param: "tool_choice",
      code: "invalid_value",
    });
  }
  return {
    anyOf: wanted.map(({ name, parameters, index }) => {
      const [before, behind] = callText(name);
      const jsonSchema = { type: "object", ...parameters };
      const path = `tools[${index}].function.parameters`;
      return { sequence: [{ choice: [before] }, { jsonSchema, name: path }, { choice: [behind] }] };
    }),
  };
}

/** @throws {HTTPException} 400, if calls that the model is free to make are to be held to their schema. */
export function expectLooseTools({ tools }: ChatBody): void {
  const index = tools?.findIndex(({ function: { strict } }) => strict === true) ?? -1;
  if (index < 0) return;
  const param = `tools[${index}].function.strict`;
  throw apiError(
    400,
    `"${param}" must be false where "tool_choice" is "auto": only a call that must be made is held to its schema`,
    { param, code: "unsupported_parameter" },
  );
}
