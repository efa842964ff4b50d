import { Hono } from "hono";
import type { Backend } from "../../backend/backend.ts";
import { type Fused, Step } from "../../decoding/fuse.ts";
import { nextTask } from "../../decoding/next-task.ts";
import { denseProbabilities, type PipelineState } from "../../decoding/pipeline.ts";
import { MemoryError } from "../../errors.ts";
import { clientError } from "../engine-errors.ts";
import { apiError } from "../errors.ts";
import { type FuseRequest, readFuseRequest } from "../fusion.ts";
import { readRowSampling } from "../options/row-sampling.ts";
import { checkedPaths, pathError } from "../path-errors.ts";
import { type RowBackend, withKernels } from "../row-backend.ts";
import { type AnswerRows, answerWithRows, readRowsBody } from "../row-messages.ts";
import { wrong } from "../rows.ts";
import { checkFuse, type FuseBody } from "../schemas/fuse.ts";
import type { Service, ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

/**
 * `POST /v1/fuse`: rows of several models and a plan in, a token out. Needs no model here and keeps nothing: what the next
 * step must know is in the answer's `state`.
 */
export function fuseRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/fuse", async (c) => {
    const body = checkFuse(await readRowsBody(c, service));
    const { answer, ...rows } = await inTurn(c, service, () => answerTo(body, service.rowBackend));
    return service.rowBackend.use((backend) => {
      const kernels = backend.wireKernels();
      return answerWithRows(c, answer, rows, { encoding: body.encoding ?? "numbers", kernels });
    });
  });
}

async function answerTo(
  body: FuseBody,
  rowBackend: RowBackend,
): Promise<AnswerRows & { readonly answer: object }> {
  const request = await readFuseRequest(body);
  await nextTask();
  const { row, state, audit } = rowBackend.use((backend) => fuse(request, backend));
  await nextTask();
  const parts = body.return ?? ["audit"];
  const sampled = rowBackend.use((backend) => sample(body, request, row, backend));
  const answer = {
    token: sampled.token,
    logprob: sampled.logProbability,
    seed: request.context.seed,
    ...(audit && { audit }),
    state: { ...state, ...(sampled.memory.length > 0 && { sampling: sampled.memory }) },
    fingerprint: request.fingerprint,
  };
  return { answer, ...(parts.includes("logits") && { logits: row }), probs: sampled.probabilities };
}

function fuse({ program, rows, context, rename }: FuseRequest, backend: Backend): Fused {
  return checkedPaths(rename, () => {
    const step = new Step(program, backend.fuseKernels(), context);
    try {
      step.provide(rows);
      const [missing] = step.needs;
      if (missing !== undefined) throw missingRow(missing);
      return step.finish();
    } catch (error) {
      if (error instanceof MemoryError) {
        throw apiError(400, `The rows need too much memory here: ${error.message}`, {
          param: "rows",
          code: "too_large",
        });
      }
      if (!(error instanceof RangeError && error.message.startsWith("Cannot fuse"))) throw error;
      throw apiError(400, error.message, { param: "plan", code: "no_token_left" });
    } finally {
      step.close();
    }
  });
}

function missingRow(name: string) {
  const param = `rows.${name}`;
  return apiError(400, `"${param}" must be given, as the plan needs it here`, {
    param,
    code: "missing_required_parameter",
  });
}

interface Sampled {
  readonly token: number;
  readonly logProbability: number;
  readonly probabilities?: Float64Array;
  readonly memory: readonly number[];
}

function sample(body: FuseBody, request: FuseRequest, row: Fused["row"], backend: Backend): Sampled {
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
  const withLaw = (body.return ?? []).includes("probs");
  try {
    return withKernels(backend, row, (kernels) => {
      const { token, logProbability, state } = pipeline.sample(row, { ...context, kernels });
      return {
        token,
        logProbability,
        ...(withLaw && { probabilities: denseProbabilities(pipeline.distribution(row, context)) }),
        memory: state.memory,
      };
    });
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
