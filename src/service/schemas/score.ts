import * as z from "zod";
import { SCORE_NAMES } from "../../decoding/score.ts";
import { check } from "../schemas.ts";
import { ANY, expects, integer } from "./values.ts";

const name = z.enum(SCORE_NAMES as [string, ...string[]], expects(`one of ${SCORE_NAMES.join(", ")}`));

const names = expects("an array with at least one name of a score");

export const scoreBody = z.strictObject(
  {
    scores: z.array(name, names).min(1, names).max(SCORE_NAMES.length, names),
    rows: z.strictObject(
      { row: z.unknown().optional(), reference: z.unknown().optional() },
      expects("an object with row and perhaps reference"),
    ),
    /** The token that was right. */
    target: integer(0, ANY),
    /** By name of score. */
    options: z.looseObject({}, expects("an object from the name of a score to its options")).nullish(),
    projection: z.looseObject({}, expects("an object with offsets, tokens and weights")).nullish(),
    common: z.unknown().optional(),
  },
  expects("an object"),
);

export type ScoreBody = z.infer<typeof scoreBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkScore = (body: unknown): ScoreBody => check(scoreBody, body);
