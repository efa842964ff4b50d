import * as z from "zod";
import { expects, textParts } from "./values.ts";

const ROLES = ["system", "developer", "user", "assistant"] as const;

const message = z.looseObject(
  {
    role: z.enum(ROLES, expects("one of system, developer, user, assistant")),
    content: textParts(),
  },
  expects("an object with role and content"),
);

const list = expects("an array with at least one message");

export const messages = z.array(message, list).min(1, list);
