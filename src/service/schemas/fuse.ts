import * as z from "zod/mini";
import { ROW_ENCODINGS } from "../rows.ts";
import { check } from "../schemas.ts";
import { samplingFields } from "./sampling.ts";
import { ANY, expects, integer, listOf } from "./values.ts";

/** What an answer may hold beside the token and the state. */
const PARTS = ["logits", "probs", "audit"] as const;

const parts = expects(`an array of ${PARTS.join(", ")}`);

/** Read further by hand: they are long, or the library knows what they must be. */
const object = (what: string) => z.looseObject({}, expects(what));

const UINT32 = 2 ** 32 - 1;

export const fuseBody = z.strictObject(
  {
    plan: object("a plan, or an object with preset and options"),
    rows: object("an object from the name of a source to its row"),
    /** What the answer before gave. */
    state: z.nullish(object("an object, as the answer before gave it")),
    seed: integer(0, ANY),
    /** Tokens of output before this row. */
    step: integer(0, UINT32),
    /** Of the token to choose. */
    position: integer(0, UINT32),
    /** Prompt and output so far, and how many of them are the prompt. */
    history: z.optional(z.unknown()),
    prompt_length: integer(0, ANY),
    last: integer(0, ANY),
    inputs: z.nullish(object("an object from the name of an input to its numbers")),
    tables: z.nullish(object("an object from the name of a table to the table")),
    bitmask: z.optional(z.unknown()),
    sampling: z.nullish(z.strictObject(samplingFields, expects("an object with sampling fields"))),
    return: z.nullish(listOf(z.enum(PARTS, parts), PARTS.length, parts)),
    encoding: z.nullish(z.enum(ROW_ENCODINGS, expects(`one of ${ROW_ENCODINGS.join(", ")}`))),
  },
  expects("an object"),
);

export type FuseBody = z.infer<typeof fuseBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkFuse = (body: unknown): FuseBody => check(fuseBody, body);
