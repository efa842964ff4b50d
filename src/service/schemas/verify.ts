import * as z from "zod/mini";
import { check } from "../schemas.ts";
import { encoding, placeFields } from "./sample.ts";
import { ANY, expects, integer, listOf } from "./values.ts";

const PARTS = ["logits", "probs"] as const;

const parts = expects(`an array of ${PARTS.join(", ")}`);

/** Nodes of a draft; each takes a row. */
export const MAX_DRAFT = 256;

/** A draft, the law of its tokens, and who decides on it. Ids, rows and the verifier are read by hand. */
const draftFields = {
  draft: z.optional(z.unknown()),
  /** The node before each node, -1 for the text; absent: a chain. */
  parents: z.optional(z.unknown()),
  /** How likely each token was to be drafted, where the rows stay with the drafter. */
  scalars: z.optional(z.unknown()),
  verifier: z.optional(z.unknown()),
  return: z.nullish(listOf(z.enum(PARTS, parts), PARTS.length, parts)),
  encoding,
};

const rows = (what: string) => expects(`an object with ${what}`);

/** Rows come along. */
export const verifyRowsBody = z.strictObject(
  {
    ...draftFields,
    ...placeFields,
    /** What the answer before gave. */
    state: z.optional(z.unknown()),
    rows: z.strictObject(
      { target: z.optional(z.unknown()), draft: z.optional(z.unknown()) },
      rows("target and perhaps draft"),
    ),
  },
  expects("an object"),
);

/** A session has all that the draft does not say. */
export const verifySessionBody = z.strictObject(
  {
    session: z.nullish(z.string(expects("the id of a session"))),
    ...draftFields,
    rows: z.nullish(z.strictObject({ draft: z.optional(z.unknown()) }, rows("draft"))),
    /** Tokens that the client knows of; where that is fewer than the session holds, it is asked again. */
    position: integer(1, ANY),
    /** Goes on, round after round, with the session's own drafter. */
    max_tokens: integer(1, ANY),
    /** Tokens that the session's drafter drafts in a round. */
    gamma: integer(0, 64),
  },
  expects("an object"),
);

/** For the description: both. */
export const verifyBody = z.extend(verifySessionBody, verifyRowsBody.shape);

export type VerifyRowsBody = z.infer<typeof verifyRowsBody>;
export type VerifySessionBody = z.infer<typeof verifySessionBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkVerifyRows = (body: unknown): VerifyRowsBody => check(verifyRowsBody, body);
export const checkVerifySession = (body: unknown): VerifySessionBody => check(verifySessionBody, body);
