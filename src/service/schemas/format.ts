import * as z from "zod";
import { expects, texts } from "./values.ts";

const FORMATS = ["text", "json_object", "json_schema"] as const;

/** OpenAI's. A schema beside "json_object" is llama.cpp's way to say the same. */
const responseFormat = z.looseObject(
  {
    type: z.enum(FORMATS, expects(`one of ${FORMATS.join(", ")}`)),
    json_schema: z
      .looseObject({ schema: z.unknown().optional() }, expects("an object with name and schema"))
      .nullish(),
    schema: z.unknown().optional(),
  },
  expects("an object with a type"),
);

const regex = expects("a text of 1 to 10000 characters");

/** What the answer must be; at most one of them. What is in a schema is checked when it is compiled. */
export const formatFields = {
  response_format: responseFormat.nullish(),
  /** vLLM's. */
  guided_json: z.unknown().optional(),
  guided_regex: z.string(regex).min(1, regex).max(10_000, regex).nullish(),
  guided_choice: texts(256, 1000),
  /** llama.cpp's. */
  json_schema: z.unknown().optional(),
};
