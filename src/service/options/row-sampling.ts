import type { HTTPException } from "hono/http-exception";
import type { Pipeline } from "../../decoding/pipeline.ts";
import { openPipeline } from "../../engine/options.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { checkedByEngine } from "../engine-errors.ts";
import { apiError, type ErrorDetail } from "../errors.ts";
import type { SamplingBody } from "../schemas/sampling.ts";
import { readSampling } from "./sampling.ts";

/**
 * The pipeline that `sampling` asks for, over rows that come without a model: fields with texts in them have no meaning.
 *
 * @throws {HTTPException} 400 that names the field, as in `sampling.top_k`.
 */
export function readRowSampling(sampling: SamplingBody, vocab: number): Pipeline {
  try {
    if (sampling.min_tokens) throw needsModel("min_tokens");
    if (sampling.bad_words?.length) throw needsModel("bad_words");
    // The usual ones are texts.
    const dry_sequence_breakers = sampling.dry_sequence_breakers ?? [];
    if (dry_sequence_breakers.length > 0) throw needsModel("dry_sequence_breakers");
    return checkedByEngine(() => {
      return openPipeline(readSampling({ vocab, tokenizer }, { ...sampling, dry_sequence_breakers }));
    });
  } catch (error) {
    throw inSampling(error);
  }
}

/** Only of `logit_bias` may a text get here. */
const tokenizer = {
  encode() {
    throw needsModel("logit_bias");
  },
} as unknown as Tokenizer;

function needsModel(param: string): HTTPException {
  const message = `"${param}" must have no texts or end tokens, as rows come without a tokenizer; steps in "pipeline" take token ids`;
  return apiError(400, message, { param, code: "invalid_value" });
}

function inSampling(error: unknown): unknown {
  const detail = (error as HTTPException).cause as ErrorDetail | undefined;
  if (!detail?.param) return error;
  const { message, status } = error as HTTPException;
  const param = `sampling.${detail.param}`;
  return apiError(status as 400, message.replace(`"${detail.param}"`, `"${param}"`), { ...detail, param });
}
