import * as z from "zod/mini";
import { check } from "../schemas.ts";
import { formatFields } from "./format.ts";
import { encoding } from "./sample.ts";
import { samplingFields } from "./sampling.ts";
import { ANY, boolean, expects, givenInteger, integer, oneOf } from "./values.ts";

export const DRAFTER_KINDS = ["prediction", "corpus"] as const;

const object = expects("an object");
const name = expects("1 to 64 letters, digits, dots, dashes or underscores");

export const sessionBody = z.strictObject(
  {
    model: z.nullish(z.string(expects("the name of a model"))),
    /** A text or token ids, read by hand as those of completions are. */
    prompt: z.optional(z.unknown()),
    /** Token ids instead of a prompt, and how many of them are the prompt. */
    tokens: z.optional(z.unknown()),
    prompt_length: integer(1, ANY),
    /** Tokens to hold at most. */
    capacity: integer(1, ANY),
    ignore_eos: boolean(),
    ...formatFields,
    ...samplingFields,
  },
  object,
);

export const appendBody = z.strictObject(
  {
    tokens: z.optional(z.unknown()),
    position: integer(1, ANY),
    /** Tells the rows after this many of the last tokens. */
    rows: integer(0, 256),
    encoding,
  },
  object,
);

export const truncateBody = z.strictObject({ length: givenInteger(1, ANY) }, object);

export const drafterBody = z.strictObject(
  {
    session: z.nullish(z.string(expects("the id of a session"))),
    /** Without a session: what it is kept under, for sessions that name it. */
    name: z.nullish(z.string(name).check(z.regex(/^[\w.-]{1,64}$/, name))),
    /** Of which a text is tokenized that is kept. */
    model: z.nullish(z.string(expects("the name of a model"))),
    kind: oneOf(DRAFTER_KINDS),
    text: z.nullish(z.string(expects("a text"))),
    tokens: z.optional(z.unknown()),
  },
  object,
);

export type SessionBody = z.infer<typeof sessionBody>;
export type AppendBody = z.infer<typeof appendBody>;
export type DrafterBody = z.infer<typeof drafterBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkSession = (body: unknown) => check(sessionBody, body);
export const checkAppend = (body: unknown) => check(appendBody, body);
export const checkTruncate = (body: unknown) => check(truncateBody, body);
export const checkDrafter = (body: unknown) => check(drafterBody, body);
