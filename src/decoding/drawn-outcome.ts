/**
 * drawn-outcome: from what a device drew for the places of a draft to the tokens that are emitted; outcome.ts does the same
 * of rows. The tokens are those of the rows: where a device cannot tell, it says so, and they are looked at.
 */
import type { Drawn, DrawTask, Scanned, ScanTask } from "../backend/draw-kernels.ts";
import type { Draft, Row } from "./draft.ts";
import { type DraftRows, keepsText, type Outcome, type Verification } from "./outcome.ts";
import type { Choice, PipelineState } from "./pipeline.ts";

/** Rows that lie elsewhere, and what was drawn from them there; null: of that row nothing could be told. */
export interface DrawnRows {
  readonly vocab: number;
  readonly drawn: readonly (Drawn | null)[];
  /** What was decided by laws, where that was asked for; null: it takes the rows. */
  readonly scanned?: Scanned | null;
  /** The rows, for whom that is not enough. */
  load(): Promise<DraftRows>;
}

/** What a device is asked that will have the rows of a draft: row 0 follows the emitted text, row i + 1 draft node i. */
export interface Question {
  readonly tasks: readonly DrawTask[];
  /** Of verifiers that compare laws. */
  readonly scan?: ScanTask;
  /** The draft, to be gone on with: its rows were asked for, which may be done once. */
  readonly draft: Draft;
}

/** @returns null if rows are needed: the verifier, or the pipeline, looks at more than a device tells. */
export function questionOf(
  draft: Draft,
  start: number,
  vocab: number,
  { sampler, policy, seed }: Verification,
): Question | null {
  const { verifier } = policy;
  const isScan = verifier === "token" || verifier === "block";
  if (!isScan && !keepsText(policy)) return null;
  if (isScan && !isScannable(draft)) return null;
  const tasks: DrawTask[] = [];
  const paths: (readonly number[])[] = [[]];
  for (let node = 0; node < draft.tokens.length; node++) {
    paths.push([...paths[parentOf(draft, node) + 1], draft.tokens[node]]);
  }
  for (const path of paths) {
    const task = sampler.drawTask(vocab, path);
    if (task === null || (isScan && (task.list !== undefined || task.temperature === 0))) return null;
    tasks.push(task);
  }
  if (!isScan) return { tasks, draft };
  const held = withRows(draft);
  const rows = rowsOf(held);
  if (rows === null) return null;
  return { tasks, draft: held, scan: { verifier, tokens: draft.tokens, rows, start, seed } };
}

/** A chain, drawn from rows or chosen. */
function isScannable({ tokens, parents, law }: Draft): boolean {
  const isChain = parents === undefined || Array.from(parents).every((parent, node) => parent === node - 1);
  return isChain && (law === "one-hot" || tokens.length === 0 || "rows" in law);
}

/** The same draft, with the rows that tokens were drawn from in memory. */
function withRows(draft: Draft): Draft {
  const { tokens, law } = draft;
  if (typeof law === "string" || !("rows" in law)) return draft;
  const { count, vocab } = law.rows;
  const rows = Array.from({ length: tokens.length }, (_, i) => law.rows.row(i));
  return { ...draft, law: { rows: { count, vocab, row: (index) => rows[index] } } };
}

/** Undefined if the tokens were chosen; null if a row is encoded, which verifiers read. */
function rowsOf({ tokens, law }: Draft): Row[] | undefined | null {
  if (tokens.length === 0 || typeof law === "string" || !("rows" in law)) return undefined;
  const rows = Array.from({ length: tokens.length }, (_, i) => law.rows.row(i));
  return rows.every((row) => row instanceof Float32Array || row instanceof Float64Array) ? rows : null;
}

/** As `decide` in outcome.ts; null if a row is needed. */
export function decideDrawn(
  draft: Draft,
  { drawn, vocab, scanned }: DrawnRows,
  { sampler, endTokens }: Verification,
): Outcome | null {
  if (scanned) return outcomeOf(draft, scanned, sampler.state, endTokens);
  const accepted: number[] = [];
  const emitted: Choice[] = [];
  let tested = 0;
  for (let node = -1; ; ) {
    const found = drawn[node + 1];
    const path = emitted.map(({ token }) => token);
    const choice = found && sampler.chooseDrawn(found, vocab, path);
    if (choice === null) return null;
    emitted.push(choice);
    const children = childrenOf(draft, node);
    if (children.length > 0) tested++;
    const child = children.find((one) => draft.tokens[one] === choice.token);
    if (child === undefined) break;
    accepted.push(child);
    if (endTokens.has(choice.token)) break;
    node = child;
  }
  return { accepted, emitted, tested };
}

/** What was decided by laws. Pipelines that are asked for have no memory. */
function outcomeOf(
  { tokens }: Draft,
  { accepted, token, logProbabilities }: Scanned,
  state: PipelineState,
  endTokens: ReadonlySet<number>,
): Outcome {
  const all = [...Array.from(tokens).slice(0, accepted), token];
  const end = all.findIndex((one) => endTokens.has(one));
  const emitted = (end < 0 ? all : all.slice(0, end + 1)).map((one, i) => ({
    token: one,
    logProbability: logProbabilities[i],
    top: [],
    state,
  }));
  const tested = accepted + (accepted < tokens.length ? 1 : 0);
  return {
    accepted: Array.from({ length: Math.min(accepted, emitted.length) }, (_, node) => node),
    emitted,
    tested: Math.min(tested, emitted.length),
  };
}

function childrenOf(draft: Draft, node: number): number[] {
  return Array.from({ length: draft.tokens.length }, (_, i) => i).filter(
    (one) => parentOf(draft, one) === node,
  );
}

function parentOf({ parents }: Draft, node: number): number {
  return parents === undefined ? node - 1 : parents[node];
}
