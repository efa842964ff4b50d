/** A draft to verify, in a request's words and in an answer's. */
import { referenceRowMath } from "../backend/reference/row-math.ts";
import type { Draft, DraftLaw, RowSet } from "../decoding/draft.ts";
import type { Outcome, TextPolicy } from "../decoding/outcome.ts";
import { findVerifier } from "../decoding/verify/registry.ts";
import { checkedByEngine } from "./engine-errors.ts";
import { show } from "./errors.ts";
import { readVerifier } from "./options/speculation.ts";
import { denseRow, isIntegerIn, MAX_ROWS, MAX_VOCAB, readIds, readRow, wrong } from "./rows.ts";
import { MAX_DRAFT } from "./schemas/verify.ts";

/** Logits of all rows of a request. */
const MAX_LOGITS = MAX_ROWS * MAX_VOCAB;

interface DraftFields {
  readonly draft?: unknown;
  readonly parents?: unknown;
  readonly scalars?: unknown;
  readonly rows?: { readonly draft?: unknown } | null;
}

/** @throws {HTTPException} 400 that names the field. */
export function readDraft(body: DraftFields, vocab: number): Draft {
  const tokens = body.draft == null ? [] : readIds("draft", body.draft, MAX_DRAFT, vocab);
  const parents = body.parents == null ? undefined : readParents(body.parents, tokens.length);
  return { tokens, ...(parents && { parents }), law: readLaw(body, tokens.length, parents, vocab) };
}

/** A list of rows, as logits. @throws {HTTPException} 400, if there are too many, or they are of different lengths. */
export function readRowList(param: string, value: unknown, most: number, vocab?: number) {
  if (!Array.isArray(value) || value.length === 0 || value.length > most) {
    const got = Array.isArray(value) ? String(value.length) : show(value);
    throw wrong(param, `must be an array of 1 to ${most} rows, got ${got}`);
  }
  const rows: ReturnType<typeof denseRow>[] = [];
  let expected = vocab;
  for (const [index, one] of value.entries()) {
    const row = denseRow(`${param}[${index}]`, readRow(`${param}[${index}]`, one));
    expected ??= row.length;
    if (row.length !== expected) {
      throw wrong(`${param}[${index}]`, `must have ${expected} logits, as the others, got ${row.length}`);
    }
    if (expected * value.length > MAX_LOGITS) {
      throw wrong(param, `must have at most ${MAX_LOGITS} logits in all, got ${expected * value.length}`);
    }
    rows.push(row);
  }
  return rows;
}

/** Who decides: by default what leaves the text as it is without a draft. @throws {HTTPException} 400. */
export function readPolicy(value: unknown, draft: Draft, vocab: number): TextPolicy {
  const policy = checkedByEngine(() => readVerifier({ vocab }, value)) ?? { verifier: "match" };
  const { shape, laws } = findVerifier(policy.verifier);
  if (shape === "chain" && draft.parents?.length) {
    throw wrong("verifier", `must take trees where there are "parents", got "${policy.verifier}"`);
  }
  const kind = typeof draft.law === "string" ? draft.law : "rows" in draft.law ? "rows" : "scalars";
  if (draft.tokens.length > 0 && !laws.includes(kind)) {
    throw wrong(
      "verifier",
      `must work with the draft's law, which is ${kind}; "${policy.verifier}" takes ${laws.join(" or ")}`,
    );
  }
  return policy as TextPolicy;
}

/** What became of a draft. */
export interface VerificationAnswer {
  /** Draft tokens that are emitted, and the nodes that they are. */
  readonly accepted: number;
  readonly path: readonly number[];
  readonly tokens: readonly number[];
  readonly logprobs: readonly number[];
  /** Index of the target row whose token is still to be drawn, by whoever has the draft's row of that index. */
  readonly pending: number | null;
  readonly stats: { readonly drafted: number; readonly tested: number; readonly accepted: number };
  readonly verifier: string;
  /** Whether the text is the same for any draft; whether it has the target's law. */
  readonly reproducible: boolean;
  readonly lossless: boolean;
}

export function describeOutcome(
  draft: Draft,
  outcome: Outcome,
  { verifier }: TextPolicy,
): VerificationAnswer {
  const { accepted, emitted, tested } = outcome;
  const { reproducible, lossless } = findVerifier(verifier);
  return {
    accepted: accepted.length,
    path: accepted,
    tokens: emitted.map(({ token }) => token),
    logprobs: emitted.map(({ logProbability }) => logProbability),
    pending: emitted.length === accepted.length ? placeOf(outcome) : null,
    stats: { drafted: draft.tokens.length, tested, accepted: accepted.length },
    verifier,
    reproducible,
    lossless,
  };
}

/** Index of the target row that the last token follows from. */
export function placeOf({ accepted }: Pick<Outcome, "accepted">): number {
  return (accepted.at(-1) ?? -1) + 1;
}

function readParents(value: unknown, count: number): readonly number[] {
  if (!Array.isArray(value) || value.length !== count) {
    const got = Array.isArray(value) ? String(value.length) : show(value);
    throw wrong("parents", `must be an array of ${count} nodes, one per token of "draft", got ${got}`);
  }
  const bad = value.findIndex((parent, node) => !isIntegerIn(parent, -1, node - 1));
  if (bad < 0) return value;
  throw wrong(`parents[${bad}]`, `must be an integer from -1 to ${bad - 1}, got ${show(value[bad])}`);
}

function readLaw(
  { scalars, rows }: DraftFields,
  count: number,
  parents: readonly number[] | undefined,
  vocab: number,
): DraftLaw {
  const given = rows?.draft ?? undefined;
  if (scalars != null && given !== undefined) {
    throw wrong("scalars", 'must be left out beside "rows.draft", which tell them');
  }
  if (given !== undefined) {
    const needed = parents === undefined ? count : Math.max(-1, ...parents) + 2;
    const laws = readRowList("rows.draft", given, count + 1, vocab);
    if (laws.length >= needed) return { rows: lawsOf(laws, vocab) };
    throw wrong(
      "rows.draft",
      `must have ${needed} rows, one for each place of the draft, got ${laws.length}`,
    );
  }
  if (scalars == null) return "one-hot";
  if (!Array.isArray(scalars) || scalars.length !== count) {
    throw wrong("scalars", `must be an array of ${count} probabilities, one per token of "draft"`);
  }
  const bad = scalars.findIndex((q) => typeof q !== "number" || !(q >= 0 && q <= 1));
  if (bad >= 0) throw wrong(`scalars[${bad}]`, `must be a number from 0 to 1, got ${show(scalars[bad])}`);
  return { scalars };
}

/** What rows of logits stand for. */
function lawsOf(rows: readonly (Float32Array | Float64Array)[], vocab: number): RowSet {
  return {
    count: rows.length,
    vocab,
    row: (index) => {
      if (rows[index].some((logit) => logit > -Infinity)) {
        return referenceRowMath.tempered(rows[index], 1).values;
      }
      throw wrong(`rows.draft[${index}]`, "must have a logit above −∞, has none");
    },
  };
}
