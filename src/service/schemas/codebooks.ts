import * as z from "zod/mini";
import { check } from "../schemas.ts";
import { ANY, expects, givenInteger } from "./values.ts";

const size = () => givenInteger(1, ANY);

export const codebookBody = z.strictObject(
  {
    /** Codewords that are added up, codewords of a stage, and logits of a codeword. */
    stages: size(),
    count: size(),
    dim: size(),
    /** Base64 of f32, (stages, count, dim). */
    data: z.string(expects("base64")),
  },
  expects("an object"),
);

export type CodebookBody = z.infer<typeof codebookBody>;

/** @throws {HTTPException} 400 that names the first field which is wrong. */
export const checkCodebook = (body: unknown): CodebookBody => check(codebookBody, body);
