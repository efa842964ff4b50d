import * as z from "zod/mini";
import { ROW_ENCODINGS } from "../rows.ts";
import { check } from "../schemas.ts";
import { ANY, expects, integer, oneOf } from "./values.ts";

export const rowsBody = z.strictObject(
  {
    model: z.nullish(z.string(expects("the name of a model"))),
    /** Ids of the whole text; checked against the vocabulary. */
    tokens: z.optional(z.unknown()),
    /** Of the last tokens. Default 1. */
    rows: integer(1, ANY),
    /** Of as many last tokens: a tree, −1 stands for the token before them. Checked against them. */
    parents: z.optional(z.unknown()),
    /** Default: numbers, or "f32" where the answer is a message of rows. */
    encoding: oneOf(ROW_ENCODINGS),
  },
  expects("an object"),
);

export type RowsBody = z.infer<typeof rowsBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkRows = (body: unknown): RowsBody => check(rowsBody, body);
