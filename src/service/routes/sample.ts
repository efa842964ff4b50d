import { Hono } from "hono";
import type { Backend } from "../../backend/backend.ts";
import { denseProbabilities } from "../../decoding/pipeline.ts";
import { clientError } from "../engine-errors.ts";
import { readRowSampling } from "../options/row-sampling.ts";
import { pathError } from "../path-errors.ts";
import { withKernels } from "../row-backend.ts";
import { type AnswerRows, answerWithRows, readRowsBody } from "../row-messages.ts";
import { readBitmask, readPlace, readState } from "../row-place.ts";
import { denseRow, readRow } from "../rows.ts";
import { checkSample, type SampleBody } from "../schemas/sample.ts";
import type { Service, ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

/** `POST /v1/sample`: a row and a pipeline in, a token out. Needs no model here and keeps nothing. */
export function sampleRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/sample", async (c) => {
    const body = checkSample(await readRowsBody(c, service));
    return inTurn(c, service, async () =>
      service.rowBackend.use((backend) => {
        const { answer, ...rows } = sample(body, backend);
        const kernels = backend.wireKernels();
        return answerWithRows(c, answer, rows, { encoding: body.encoding ?? "numbers", kernels });
      }),
    );
  });
}

function sample(body: SampleBody, backend: Backend): AnswerRows & { readonly answer: object } {
  const row = denseRow("rows.row", readRow("rows.row", body.rows.row));
  const place = readPlace(body);
  const pipeline = readRowSampling(body.sampling ?? {}, row.length);
  const context = {
    ...place,
    bitmask: readBitmask(body.bitmask),
    state: readState(body.state, pipeline.start()),
  };
  const top = Math.min(body.top_logprobs ?? 0, row.length);
  const withLaw = body.return?.includes("probs");
  try {
    return withKernels(backend, row, (kernels) => {
      const choice = pipeline.sample(row, { ...context, kernels }, top);
      const answer = {
        token: choice.token,
        logprob: choice.logProbability,
        ...(top > 0 && {
          top_logprobs: choice.top.map(({ token, logProbability }) => ({ token, logprob: logProbability })),
        }),
        position: place.position,
        seed: place.seed,
        ...(choice.state.memory.length > 0 && { state: choice.state.memory }),
      };
      return {
        answer,
        ...(withLaw && { probs: denseProbabilities(pipeline.distribution(row, context)) }),
      };
    });
  } catch (error) {
    throw pathError((path) => (path === "bitmask" ? path : undefined), clientError(error));
  }
}
