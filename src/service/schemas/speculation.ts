/** Who guesses tokens ahead, and who decides what is kept of that. */
import * as z from "zod/mini";
import { DRAFTER_NAMES } from "../../decoding/drafter/registry.ts";
import { boolean, expects, integer, oneOf, textParts } from "./values.ts";

export const speculationFields = {
  /** "model": the one that the server has for it. */
  draft: oneOf(["none", "self", "model", ...DRAFTER_NAMES]),
  /** OpenAI's: most of the answer, as its sender expects it. */
  prediction: z.nullish(
    z.strictObject(
      { type: z.literal("content", expects('"content"')), content: textParts() },
      expects('an object with type "content" and content'),
    ),
  ),
  /** A name, or the library's object with options; `options/speculation.ts` reads it. */
  verifier: z.optional(z.unknown()),
  speculation: z.nullish(
    z.strictObject(
      { gamma: integer(1, 64), tree: boolean(), adaptive: boolean() },
      expects("an object with gamma, tree or adaptive"),
    ),
  ),
};

export type SpeculationBody = z.infer<z.ZodMiniObject<typeof speculationFields>>;
