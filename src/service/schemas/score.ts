import * as z from "zod/mini";
import { SCORE_NAMES } from "../../decoding/score.ts";
import { check } from "../schemas.ts";
import { ANY, expects, integer, listOf } from "./values.ts";

const name = z.enum(SCORE_NAMES as [string, ...string[]], expects(`one of ${SCORE_NAMES.join(", ")}`));

const names = expects("an array with at least one name of a score");

export const scoreBody = z.strictObject(
  {
    scores: listOf(name, SCORE_NAMES.length, names).check(z.minLength(1, names)),
    rows: z.strictObject(
      { row: z.optional(z.unknown()), reference: z.optional(z.unknown()) },
      expects("an object with row and perhaps reference"),
    ),
    /** The token that was right. */
    target: integer(0, ANY),
    /** By name of score. */
    options: z.nullish(z.looseObject({}, expects("an object from the name of a score to its options"))),
    projection: z.nullish(z.looseObject({}, expects("an object with offsets, tokens and weights"))),
    common: z.optional(z.unknown()),
  },
  expects("an object"),
);

export type ScoreBody = z.infer<typeof scoreBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkScore = (body: unknown): ScoreBody => check(scoreBody, body);
