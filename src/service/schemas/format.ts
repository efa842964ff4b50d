import * as z from "zod/mini";
import { expects, text, texts } from "./values.ts";

const FORMATS = ["text", "json_object", "json_schema"] as const;

/** OpenAI's. A schema beside "json_object" is llama.cpp's way to say the same. */
const responseFormat = z.looseObject(
  {
    type: z.enum(FORMATS, expects(`one of ${FORMATS.join(", ")}`)),
    json_schema: z.nullish(
      z.looseObject({ schema: z.optional(z.unknown()) }, expects("an object with name and schema")),
    ),
    schema: z.optional(z.unknown()),
  },
  expects("an object with a type"),
);

const regex = expects("a text of 1 to 10000 characters");

/** What the answer must be; at most one of them. What is in a schema is checked when it is compiled. */
export const formatFields = {
  response_format: z.nullish(responseFormat),
  /** vLLM's. */
  guided_json: z.optional(z.unknown()),
  guided_regex: z.nullish(text(10_000, regex)),
  guided_choice: texts(256, 1000),
  /** llama.cpp's. */
  json_schema: z.optional(z.unknown()),
};
