import { type Context, Hono } from "hono";
import type { Backend } from "../../backend/backend.ts";
import { decide } from "../../decoding/outcome.ts";
import { denseProbabilities } from "../../decoding/pipeline.ts";
import { Sampler } from "../../decoding/sampler.ts";
import { DRAFT_MEDIA_TYPE, isDraftMessage, readDraftMessage, writeDraftAnswer } from "../draft-messages.ts";
import { clientError } from "../engine-errors.ts";
import { readRowSampling } from "../options/row-sampling.ts";
import { type AnswerRows, answerWithRows, readRowsBody } from "../row-messages.ts";
import { readPlace, readState } from "../row-place.ts";
import { wrong } from "../rows.ts";
import {
  checkVerifyRows,
  checkVerifySession,
  MAX_DRAFT,
  type VerifyRowsBody,
  type VerifySessionBody,
} from "../schemas/verify.ts";
import type { Service, ServiceEnv } from "../service.ts";
import { keepBody, type OpenSession, withSession } from "../sessions/requests.ts";
import { rewind, verifyInSession } from "../sessions/rounds.ts";
import { inTurn } from "../turn.ts";
import { describeOutcome, placeOf, readDraft, readPolicy, readRowList } from "../verification.ts";

/** Tokens that a session's own drafter drafts in a round, unless it is told. */
const DEFAULT_GAMMA = 8;

/**
 * `POST /v1/verify`: how much of a draft survives, and which token follows; of a session, or of rows sent along.
 * `POST /v1/sessions/:id/verify`: the same for a session, also as a message of ids only.
 */
export function verifyRoutes(service: Service) {
  return new Hono<ServiceEnv>()
    .post("/verify", async (c) => {
      keepBody(c);
      const body = await readRowsBody(c, service);
      const session = (body as { session?: unknown } | null)?.session;
      if (session === undefined || session === null) return verifyRows(c, service, checkVerifyRows(body));
      const checked = checkVerifySession(body);
      return withSession(c, service, checked.session!, "/verify", (open) =>
        answer(c, service, open, checked),
      );
    })
    .post("/sessions/:id/verify", (c) =>
      withSession(c, service, c.req.param("id"), "/verify", async (open) => {
        if (isDraftMessage(c.req.header("content-type"))) return answerMessage(c, open);
        return answer(c, service, open, checkVerifySession(await readRowsBody(c, service)));
      }),
    );
}

/** Nothing is kept, and no model needed. */
function verifyRows(c: Context<ServiceEnv>, service: Service, body: VerifyRowsBody): Promise<Response> {
  return inTurn(c, service, async () =>
    service.rowBackend.use((backend) => {
      const { answer, ...rows } = verifyWithRows(body, backend);
      const kernels = backend.wireKernels();
      return answerWithRows(c, answer, rows, { encoding: body.encoding ?? "numbers", kernels });
    }),
  );
}

function verifyWithRows(body: VerifyRowsBody, backend: Backend): AnswerRows & { readonly answer: object } {
  const targets = readRowList("rows.target", body.rows.target, MAX_DRAFT + 1);
  const vocab = targets[0].length;
  const draft = readDraft(body, vocab);
  if (targets.length !== draft.tokens.length + 1) {
    throw wrong(
      "rows.target",
      `must have ${draft.tokens.length + 1} rows, one more than "draft" has tokens, got ${targets.length}`,
    );
  }
  const policy = readPolicy(body.verifier, draft, vocab);
  const { history, promptLength, position, seed } = readPlace(body);
  const pipeline = readRowSampling(body.sampling ?? {}, vocab);
  const sampler = new Sampler(history.slice(0, promptLength), {
    pipeline,
    seed,
    offset: position - history.length,
  });
  sampler.commit(history.slice(promptLength), readState(body.state, pipeline.start()));
  const rows = { count: targets.length, vocab, row: (index: number) => targets[index] };
  try {
    const math = backend.rowMath();
    const outcome = decide(draft, rows, position, { sampler, policy, seed, endTokens: new Set(), math });
    const described = describeOutcome(draft, outcome, policy);
    const last = targets[placeOf(outcome)];
    const path = outcome.accepted.map((node) => draft.tokens[node]);
    const wantsLaw = body.return?.includes("probs") || described.pending !== null;
    const law = wantsLaw ? sampler.law({ values: last }, path, sampler.state) : null;
    const { memory } = outcome.emitted.at(-1)?.state ?? sampler.state;
    return {
      answer: {
        object: "verification",
        ...described,
        position: position + described.tokens.length,
        seed,
        ...(memory.length > 0 && { state: memory }),
      },
      ...(body.return?.includes("logits") && { logits: last }),
      ...(law && { probs: denseProbabilities(law) }),
    };
  } catch (error) {
    throw clientError(error);
  }
}

async function answer(
  c: Context<ServiceEnv>,
  service: Service,
  open: OpenSession,
  body: VerifySessionBody,
): Promise<Response> {
  const { record, model, progress } = open;
  const draft = readDraft(body, model.vocab);
  const policy = readPolicy(body.verifier, draft, model.vocab);
  const most = service.limits.maxTokens;
  if (body.max_tokens != null && body.max_tokens > most) {
    throw wrong("max_tokens", `must be at most ${most} on this server, got ${body.max_tokens}`);
  }
  rewind(record, body.position);
  const wants = {
    row: body.return?.includes("logits") ?? false,
    probs: body.return?.includes("probs") ?? false,
  };
  const verification = {
    draft,
    policy,
    maxTokens: body.max_tokens ?? undefined,
    gamma: body.gamma ?? DEFAULT_GAMMA,
    wants,
  };
  const verified = await open.cached((cache) => verifyInSession(record, cache, verification, progress));
  const { finish, endToken, row, probs, ...described } = verified;
  const kernels = service.rowBackend.use((backend) => backend.wireKernels());
  return answerWithRows(
    c,
    {
      object: "verification",
      session: record.id,
      ...described,
      finish_reason: finish,
      end_token: endToken,
      position: record.tokens.length,
      seed: record.seed,
    },
    { ...(row && { logits: row }), ...(probs && { probs }) },
    { encoding: body.encoding ?? "numbers", kernels },
  );
}

/** Ids only; the answer is as short. */
async function answerMessage(c: Context<ServiceEnv>, open: OpenSession): Promise<Response> {
  const { record, model, progress } = open;
  const { position, draft } = readDraftMessage(await c.get("body").bytes());
  const bad = draft.findIndex((id) => id >= model.vocab);
  if (bad >= 0)
    throw wrong(`draft[${bad}]`, `must be an integer from 0 to ${model.vocab - 1}, got ${draft[bad]}`);
  rewind(record, position);
  const verified = await open.cached((cache) =>
    verifyInSession(
      record,
      cache,
      {
        draft: { tokens: draft, law: "one-hot" },
        policy: { verifier: "match" },
        maxTokens: undefined,
        gamma: DEFAULT_GAMMA,
        wants: { row: false, probs: false },
      },
      progress,
    ),
  );
  const bytes = writeDraftAnswer(verified) as Uint8Array<ArrayBuffer>;
  return c.body(bytes, 200, { "content-type": DRAFT_MEDIA_TYPE });
}
