import * as z from "zod/mini";
import { ROW_ENCODINGS } from "../rows.ts";
import { check } from "../schemas.ts";
import { samplingFields } from "./sampling.ts";
import { ANY, expects, integer, listOf } from "./values.ts";

/** What an answer may hold beside the token. */
const PARTS = ["probs"] as const;

const parts = expects(`an array of ${PARTS.join(", ")}`);

/** Of each answer that may hold rows. */
export const encoding = z.nullish(z.enum(ROW_ENCODINGS, expects(`one of ${ROW_ENCODINGS.join(", ")}`)));

/** Where in a text a row stands; ids are read by hand, as they may be many. */
export const placeFields = {
  seed: integer(0, ANY),
  /** Of the token to choose. */
  position: integer(0, 2 ** 32 - 1),
  /** Prompt and output so far, and how many of them are the prompt. */
  history: z.optional(z.unknown()),
  prompt_length: integer(0, ANY),
  sampling: z.nullish(z.strictObject(samplingFields, expects("an object with sampling fields"))),
};

export const sampleBody = z.strictObject(
  {
    rows: z.strictObject({ row: z.optional(z.unknown()) }, expects("an object with row")),
    ...placeFields,
    /** What the answer before gave. */
    state: z.optional(z.unknown()),
    bitmask: z.optional(z.unknown()),
    top_logprobs: integer(0, 256),
    return: z.nullish(listOf(z.enum(PARTS, parts), PARTS.length, parts)),
    encoding,
  },
  expects("an object"),
);

export type SampleBody = z.infer<typeof sampleBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkSample = (body: unknown): SampleBody => check(sampleBody, body);
