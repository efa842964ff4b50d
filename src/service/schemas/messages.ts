import * as z from "zod/mini";
import { boolean, expects, listOf, textParts } from "./values.ts";

const ROLES = ["system", "developer", "user", "assistant", "tool"] as const;

const text = (what: string) => z.string(expects(what));

/** A call that the assistant made, as it was told of it. */
const call = z.looseObject(
  {
    id: z.nullish(text("the id of a call")),
    type: z.nullish(z.literal("function", expects('"function"'))),
    function: z.looseObject(
      { name: text("the name of a function"), arguments: text("a text with JSON") },
      expects("an object with name and arguments"),
    ),
  },
  expects("an object with function"),
);

const calls = expects("an array of up to 64 calls");

const message = z
  .looseObject(
    {
      role: z.enum(ROLES, expects(`one of ${ROLES.join(", ")}`)),
      /** May be absent beside `tool_calls`. */
      content: z.nullish(textParts()),
      tool_calls: z.nullish(listOf(call, 64, calls)),
      /** Of a message of role "tool". */
      tool_call_id: z.nullish(text("the id of a call")),
    },
    expects("an object with role and content"),
  )
  .check(
    z.superRefine(({ content, tool_calls }, context) => {
      if (content != null || tool_calls?.length) return;
      const message = "must be a text or an array of text parts, got nothing";
      context.addIssue({ code: "custom", path: ["content"], message, params: { isMissing: true } });
    }),
  );

const list = expects("an array with at least one message");

export const messages = z.array(message, list).check(z.minLength(1, list));

export type MessageBody = z.infer<typeof message>;

const tool = z.looseObject(
  {
    type: z.literal("function", expects('"function"')),
    function: z.looseObject(
      {
        name: text("the name of a function"),
        description: z.nullish(text("a text")),
        parameters: z.nullish(z.looseObject({}, expects("a JSON schema"))),
        /** A call that must be made is always held to its schema, one that may be made never is. */
        strict: boolean(),
      },
      expects("an object with name, description and parameters"),
    ),
  },
  expects('an object with type "function" and function'),
);

const named = z.looseObject({ type: z.literal("function"), function: z.looseObject({ name: z.string() }) });

export type ToolChoice = "none" | "auto" | "required" | z.infer<typeof named>;

const tools = expects("an array of up to 128 tools");

/** Functions that the model may call, where its chat template has a place for them. */
export const toolFields = {
  tools: z.nullish(listOf(tool, 128, tools)),
  tool_choice: z.nullish(
    z.union(
      [z.enum(["none", "auto", "required"]), named],
      expects('"none", "auto", "required" or a function'),
    ),
  ),
  parallel_tool_calls: boolean(),
};
