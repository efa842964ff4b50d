import { Hono } from "hono";
import { type Fused, referenceKernels, Step } from "../../decoding/fuse.ts";
import { nextTask } from "../../decoding/next-task.ts";
import { denseProbabilities, type PipelineState } from "../../decoding/pipeline.ts";
import { clientError } from "../engine-errors.ts";
import { apiError } from "../errors.ts";
import { type FuseRequest, readFuseRequest } from "../fusion.ts";
import { readRowSampling } from "../options/row-sampling.ts";
import { checkedPaths, pathError } from "../path-errors.ts";
import { writeRow, wrong } from "../rows.ts";
import { checkFuse, type FuseBody } from "../schemas/fuse.ts";
import { readJson, type Service, type ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

/**
 * `POST /v1/fuse`: rows of several models and a plan in, a token out. Needs no model here and keeps nothing: what the next
 * step must know is in the answer's `state`.
 */
export function fuseRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/fuse", async (c) => {
    const body = checkFuse(await readJson(c));
    return c.json(await inTurn(c, service, () => answer(body)));
  });
}

async function answer(body: FuseBody): Promise<object> {
  const request = await readFuseRequest(body);
  await nextTask();
  const { row, state, audit } = fuse(request);
  await nextTask();
  const encoding = body.encoding ?? "numbers";
  const parts = body.return ?? ["audit"];
  const sampled = sample(body, request, row, parts.includes("probs"));
  return {
    ...(parts.includes("logits") && { logits: writeRow(row, encoding) }),
    ...(sampled.probabilities && { probs: writeRow(sampled.probabilities, encoding) }),
    token: sampled.token,
    logprob: sampled.logProbability,
    seed: request.context.seed,
    ...(audit && { audit }),
    state: { ...state, ...(sampled.memory.length > 0 && { sampling: sampled.memory }) },
    fingerprint: request.fingerprint,
  };
}

function fuse({ program, rows, context, rename }: FuseRequest): Fused {
  return checkedPaths(rename, () => {
    const step = new Step(program, referenceKernels, context);
    step.provide(rows);
    const [missing] = step.needs;
    if (missing !== undefined) {
      step.close();
      const param = `rows.${missing}`;
      throw apiError(400, `"${param}" must be given, as the plan needs it here`, {
        param,
        code: "missing_required_parameter",
      });
    }
    try {
      return step.finish();
    } catch (error) {
      if (!(error instanceof RangeError && error.message.startsWith("Cannot fuse"))) throw error;
      throw apiError(400, error.message, { param: "plan", code: "no_token_left" });
    }
  });
}

interface Sampled {
  readonly token: number;
  readonly logProbability: number;
  readonly probabilities?: Float64Array;
  readonly memory: readonly number[];
}

function sample(body: FuseBody, request: FuseRequest, row: Fused["row"], withLaw: boolean): Sampled {
  const pipeline = readRowSampling(body.sampling ?? {}, row.length);
  const { history, promptLength } = request;
  const { position, seed, bitmask } = request.context;
  const start = pipeline.start();
  const context = {
    history,
    promptLength,
    position,
    seed,
    state: readMemory((body.state as { sampling?: unknown } | null | undefined)?.sampling, start),
    bitmask: pipeline.steps.some(({ step }) => step === "bitmask") ? bitmask : undefined,
  };
  try {
    const { token, logProbability, state } = pipeline.sample(row, context);
    return {
      token,
      logProbability,
      ...(withLaw && { probabilities: denseProbabilities(pipeline.distribution(row, context)) }),
      memory: state.memory,
    };
  } catch (error) {
    throw clientError(pathError(request.rename, error));
  }
}

/** What the pipeline left behind at the token before. */
function readMemory(value: unknown, start: PipelineState): PipelineState {
  if (value === undefined || value === null) return start;
  const { length } = start.memory;
  if (Array.isArray(value) && value.length === length && value.every(Number.isFinite))
    return { memory: value };
  throw wrong("state.sampling", `must have ${length} numbers, as the answer before gave`);
}
