/** One round as a verifier sees it: the draft, its rows as distributions, and numbers to decide by. */

import { referenceRowMath } from "../../backend/reference/row-math.ts";
import { probability, type RowMath, type VerifyRandom, type Weights } from "../../backend/row-math.ts";
import { decodeRow, type EncodedRow, isEncodedRow } from "../../format/wire/index.ts";
import { STAGE } from "../../philox.ts";
import type { DraftLaw, LawKind, Row, RowSet } from "../draft.ts";
import { type DraftTree, ROOT } from "./tree.ts";
import type { Verdict, VerifyRequest } from "./types.ts";

/** Farther from 1 no row of probabilities is, not even one in half floats; logits are. */
const MASS_TOLERANCE = 1e-3;

export class Round {
  readonly tree: DraftTree;
  readonly math: RowMath;
  readonly random: VerifyRandom;
  readonly start: number;
  readonly #rows: RowSet;
  readonly #law: DraftLaw;
  readonly #targets: Weights[] = [];
  readonly #proposals: Weights[] = [];
  /** Laws that took the place of others. */
  readonly #later = new Set<Weights>();

  constructor(request: Omit<VerifyRequest, "policy">, tree: DraftTree) {
    this.tree = tree;
    this.math = request.math ?? referenceRowMath;
    this.random = request.random;
    this.start = request.start;
    this.#rows = request.rows;
    this.#law = request.draft.law;
  }

  get vocab(): number {
    return this.#rows.vocab;
  }

  get law(): LawKind {
    return lawKind(this.#law);
  }

  /** The target's row after `node`, as it came, without padding. */
  row(node: number): Row {
    return readRow(this.#rows, node + 1, "rows");
  }

  /** p after `node`. */
  target(node: number): Weights {
    this.#targets[node + 1] ??= readWeights(this.math, this.row(node), node + 1, "rows");
    return this.#targets[node + 1];
  }

  /** q that the children of `node` were drawn from. */
  proposal(node: number): Weights {
    if (typeof this.#law === "string" || !("rows" in this.#law)) {
      throw new TypeError(`"draft.law" must have rows here, got ${this.law}`);
    }
    const name = "draft.law.rows";
    this.#proposals[node + 1] ??= readWeights(
      this.math,
      readRow(this.#law.rows, node + 1, name),
      node + 1,
      name,
    );
    return this.#proposals[node + 1];
  }

  /** q of the token of `node`. */
  draftProbability(node: number): number {
    if (this.#law === "one-hot") return 1;
    if ("scalars" in this.#law) return this.#law.scalars[node];
    return probability(this.proposal(this.tree.parents[node]), this.tree.tokens[node]);
  }

  /** The number that decides on `node`, in [0, 1). */
  coin(node: number): number {
    return this.random.uniform(this.start, STAGE.accept, node + 1);
  }

  /** Whether `node` survives, by its coin: probability min(1, p/q). */
  accepts(node: number, p: number, q: number): boolean {
    return this.math.accepts(this.coin(node), p, q);
  }

  /**
   * The law of the next token once `node`, proposed where the target has p, is rejected.
   *
   * Null if that takes a draft row that is elsewhere. A token that its own law gives no chance was not drawn from it;
   * then, as when p and q are equal but for rounding, p itself is the only right law left.
   */
  correction(node: number, p: Weights): Weights | null {
    if (this.draftProbability(node) === 0) return p;
    if (this.#law === "one-hot") return orElse(this.math, this.math.without(p, [this.tree.tokens[node]]), p);
    if ("scalars" in this.#law) return null;
    return residualOf(this.math, p, this.proposal(this.tree.parents[node]));
  }

  /** Goes on with `later` in place of `law`, whose row is given back unless it is a row of the request. */
  replace(law: Weights, later: Weights): Weights {
    if (later === law) return law;
    if (this.#later.delete(law)) this.math.free(law);
    this.#later.add(later);
    return later;
  }

  /** Ends the round: accepts `path` and draws the token that follows it. */
  draw(path: readonly number[], weights: Weights): Verdict {
    const u = this.random.uniform(this.start, STAGE.residual, 0);
    return this.end(path, this.math.draw(weights, u));
  }

  /** Ends the round: accepts `path`, which `token` follows; null leaves that token to the holder of the draft rows. */
  end(path: readonly number[], token: number | null): Verdict {
    const last = path.at(-1) ?? ROOT;
    const bonus = this.tree.children(last).length === 0;
    const tokens = path.map((node) => this.tree.tokens[node]);
    return {
      accepted: path,
      emitted: token === null ? tokens : [...tokens, token],
      pending: token === null ? last + 1 : null,
      stats: {
        drafted: this.tree.drafted,
        tested: path.length + (bonus ? 0 : 1),
        accepted: path.length,
        bonus,
      },
    };
  }
}

export function lawKind(law: DraftLaw): LawKind {
  if (typeof law === "string") return law;
  return "scalars" in law ? "scalars" : "rows";
}

/** (scale·p − q)+, or p where nothing is left: a rejection is then rounding, and p the law that it must not change. */
export function residualOf(math: RowMath, p: Weights, q: Weights, scale = 1): Weights {
  return orElse(math, math.residual(p, q, scale), p);
}

function orElse(math: RowMath, weights: Weights, fallback: Weights): Weights {
  if (weights.mass > 0 && weights.mass < Infinity) return weights;
  math.free(weights);
  return fallback;
}

/** @throws {RangeError} If the row is not one of probabilities. */
export function readWeights(math: RowMath, values: Row, index: number, name: string): Weights {
  const weights = math.read(values);
  const { mass } = weights;
  if (!(Math.abs(mass - 1) <= MASS_TOLERANCE)) {
    const got = Number.isNaN(mass) ? "a negative number or NaN among them" : `a sum of ${mass}`;
    throw new RangeError(`Row ${index} of "${name}" must be probabilities that sum to 1, got ${got}`);
  }
  return weights;
}

/** What an encoded row stands for. */
function lawOf(row: EncodedRow, path: string): Row {
  return referenceRowMath.tempered(decodeRow(row, { path }), 1).values;
}

/** Row `index` without padding. */
function readRow(rows: RowSet, index: number, name: string): Row {
  const given = rows.row(index);
  const row = isEncodedRow(given) ? lawOf(given, `${name}[${index}]`) : given;
  if (!(row instanceof Float32Array || row instanceof Float64Array)) {
    throw new TypeError(
      `Row ${index} of "${name}" must be a Float32Array or Float64Array, got ${typeof row}`,
    );
  }
  if (row.length < rows.vocab) {
    throw new RangeError(`Row ${index} of "${name}" must have ${rows.vocab} values, got ${row.length}`);
  }
  return row.length === rows.vocab ? row : row.subarray(0, rows.vocab);
}
