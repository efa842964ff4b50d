import * as z from "zod";
import { check } from "../schemas.ts";
import { formatFields } from "./format.ts";
import { encoding } from "./sample.ts";
import { samplingFields } from "./sampling.ts";
import { ANY, boolean, expects, integer, oneOf } from "./values.ts";

export const DRAFTER_KINDS = ["prediction", "corpus"] as const;

const object = expects("an object");
const name = expects("1 to 64 letters, digits, dots, dashes or underscores");

export const sessionBody = z.strictObject(
  {
    model: z.string(expects("the name of a model")).nullish(),
    /** A text or token ids, read by hand as those of completions are. */
    prompt: z.unknown().optional(),
    /** Token ids instead of a prompt, and how many of them are the prompt. */
    tokens: z.unknown().optional(),
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
    tokens: z.unknown().optional(),
    position: integer(1, ANY),
    /** Tells the rows after this many of the last tokens. */
    rows: integer(0, 256),
    encoding,
  },
  object,
);

export const truncateBody = z.strictObject(
  { length: z.int(expects("an integer from 1")).min(1, expects("an integer from 1")) },
  object,
);

export const drafterBody = z.strictObject(
  {
    session: z.string(expects("the id of a session")).nullish(),
    /** Without a session: what it is kept under, for sessions that name it. */
    name: z
      .string(name)
      .regex(/^[\w.-]{1,64}$/, name)
      .nullish(),
    /** Of which a text is tokenized that is kept. */
    model: z.string(expects("the name of a model")).nullish(),
    kind: oneOf(DRAFTER_KINDS),
    text: z.string(expects("a text")).nullish(),
    tokens: z.unknown().optional(),
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
