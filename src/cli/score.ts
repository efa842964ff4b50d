/**
 * `edgewise score`: how a model, or a plan, takes a text.
 *
 *     text  →  tokens  →  chunks of the context  →  a row before each token, of one model or two  →  scores  →  means
 *
 * Where the likelihood of one model is all that is asked for, there are no rows: the session tells it.
 *
 * A chunk begins with BOS, where the model's texts do, else with the last token of the chunk before; so every token is
 * scored once, without BOS all but the first.
 */
import { Aggregate, score as scoreOf } from "../decoding/score.ts";
import { sharesVocabulary } from "../engine/model-drafter.ts";
import { grouped, UnsupportedError } from "../errors.ts";
import { type LoadOptions, loadModel, type Model, type Rows, type Session } from "../node.ts";
import { EMBEDDED_MODEL, type Terminal } from "./generate.ts";
import { readInput } from "./input.ts";
import type { PlanArguments } from "./plan-arguments.ts";
import { type OpenModel, openPlan, readPlanArgument } from "./plan-models.ts";
import type { ScoreRequest } from "./score-arguments.ts";
import { type ScoreReport, scoreReport, scoreText } from "./score-report.ts";

export interface ScoreArguments {
  /** Path of the text; "-" is standard input. */
  file: string;
  /** Path or URL. Default: the embedded model. */
  model?: string;
  plan?: PlanArguments;
  /** Path or URL of the reference. */
  against?: string;
  scores: readonly ScoreRequest[];
  contextLength?: number;
  json: boolean;
}

/** Tokens of one forward pass, whose rows are held together. */
const PIECE = 16;
/** Tokens of one call that makes no rows. */
const LONG_PIECE = 128;

const PROGRESS_MS = 2000;

/** @throws {RangeError} If the text has no token to score, or the models have different vocabularies. */
export async function score(options: ScoreArguments, terminal: Terminal): Promise<void> {
  const { signal } = terminal;
  const text = await readInput(options.file);
  const load = { contextLength: options.contextLength, signal };
  const judged = await openJudged(options, load);
  let reference: Model | undefined;
  try {
    reference = options.against === undefined ? undefined : await loadModel(options.against, load);
    const report = await scoreModels(text, judged.model, reference, options.scores, terminal);
    terminal.out(options.json ? `${JSON.stringify(report)}\n` : scoreText(report));
  } finally {
    reference?.close();
    judged.close();
  }
}

async function openJudged({ model, plan }: ScoreArguments, load: LoadOptions): Promise<OpenModel> {
  if (plan !== undefined) return openPlan(await readPlanArgument(plan), plan, load);
  const loaded = await loadModel(model ?? EMBEDDED_MODEL, load);
  return { model: loaded, close: () => loaded.close() };
}

async function scoreModels(
  text: string,
  judged: Model,
  reference: Model | undefined,
  scores: readonly ScoreRequest[],
  terminal: Terminal,
): Promise<ScoreReport> {
  if (reference !== undefined && !sharesVocabulary(judged, reference)) {
    throw new RangeError('"--against" must be a model of the same vocabulary, got one with another');
  }
  const models = reference === undefined ? [judged] : [judged, reference];
  const partial = models.find(({ known }) => known !== undefined);
  if (partial !== undefined) {
    throw new UnsupportedError(
      `Cannot score by ${partial.name}: of its rows ${partial.known} tokens are known, and the text's need not be among them`,
    );
  }
  const chunks = chunksOf(judged, text, Math.min(...models.map(({ contextLength }) => contextLength)));
  const targets = chunks.flatMap((chunk) => chunk.targets);
  if (targets.length === 0) throw new RangeError("Cannot score the text: it has no token to score");
  const sizes = targets.map((token) => judged.tokenizer.bytes(token).length);
  const results = scores.map((request) => ({ ...request, aggregate: new Aggregate() }));
  const progress = progressTo(terminal, targets.length);
  let position = 0;
  const add = (compute: (request: ScoreRequest) => number) => {
    terminal.signal.throwIfAborted();
    for (const result of results) result.aggregate.add(compute(result), sizes[position]);
    progress(++position);
  };
  const isNllAlone = reference === undefined && scores.every(({ name }) => name === "nll");
  const nlls = isNllAlone ? nllsOf(judged, chunks) : null;
  if (nlls !== null) for await (const nll of nlls) add(() => nll);
  else {
    for await (const [row, other] of rowsOf(models, chunks)) {
      const input = { row, token: targets[position], ...(other && { reference: other }) };
      add(({ name, options }) => scoreOf(name, input, options).value);
    }
  }
  return scoreReport(
    {
      model: judged.name,
      fingerprint: judged.fingerprint,
      ...(reference && { against: reference.name }),
      tokens: position,
      chunks: chunks.length,
    },
    sizes.reduce((sum, size) => sum + size, 0),
    results,
  );
}

/** Tokens to read, and those that follow each of them. */
interface Chunk {
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
}

function chunksOf({ tokenizer }: Model, text: string, context: number): readonly Chunk[] {
  const body = tokenizer.encode(text, { special: false });
  const { bos } = tokenizer;
  const start = bos !== null && tokenizer.encode(text)[0] === bos ? [bos] : [];
  const first = 1 - start.length;
  const count = Math.ceil((body.length - first) / context);
  return Array.from({ length: Math.max(0, count) }, (_, index) => {
    const from = first + index * context;
    const targets = body.slice(from, from + context);
    return { targets, tokens: [...start, ...body.slice(from - first, from + targets.length - 1)] };
  });
}

/** The row of each model before each target, in order; to be used at once. */
async function* rowsOf(
  models: readonly Model[],
  chunks: readonly Chunk[],
): AsyncGenerator<readonly Float32Array[], void, void> {
  const capacity = chunks[0].tokens.length;
  const sessions: Session[] = [];
  try {
    for (const model of models) sessions.push(model.open({ capacity }));
    for (const { tokens } of chunks) {
      for (const session of sessions) session.truncate(0);
      for (let at = 0; at < tokens.length; at += PIECE) {
        const piece = tokens.slice(at, at + PIECE);
        const rows: Rows[] = [];
        for (const session of sessions) rows.push(await session.forward(piece, piece.length));
        for (let i = 0; i < piece.length; i++) yield rows.map((one) => one.row(i));
      }
    }
  } finally {
    for (const session of sessions) session.close();
  }
}

/** The likelihood of each target, in order; null if sessions of the model cannot tell it without rows. */
function nllsOf(model: Model, chunks: readonly Chunk[]): AsyncIterable<number> | null {
  const session = model.open({ capacity: chunks[0].tokens.length });
  const tell = session.nll?.bind(session);
  if (tell !== undefined) return readNlls(session, tell, chunks);
  session.close();
  return null;
}

async function* readNlls(
  session: Session,
  tell: NonNullable<Session["nll"]>,
  chunks: readonly Chunk[],
): AsyncGenerator<number, void, void> {
  try {
    for (const { tokens, targets } of chunks) {
      session.truncate(0);
      for (let at = 0; at < tokens.length; at += LONG_PIECE) {
        const end = at + LONG_PIECE;
        yield* await tell(tokens.slice(at, end), targets.slice(at, end));
      }
    }
  } finally {
    session.close();
  }
}

/** Says now and then how far it is. */
function progressTo(terminal: Terminal, total: number): (done: number) => void {
  let last = performance.now();
  return (done) => {
    if (performance.now() - last < PROGRESS_MS) return;
    last = performance.now();
    terminal.error(`${grouped(done)} of ${grouped(total)} tokens\n`);
  };
}
