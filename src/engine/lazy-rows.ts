/**
 * lazy-rows: rows of a call that are made when somebody looks at them. Most decoding does not: a head that answers for its
 * rows, bit for bit, tells the best tokens from the states, or draws.
 */
import type { Floats } from "../backend/backend.ts";
import type { SparedRow } from "../decoding/pipeline.ts";
import type { Head, HeadLook } from "../model/head/head.ts";
import type { Rows } from "./source.ts";

/** Single logits of a row after which it is made: each may take some rows of a matrix. */
const MOST_LOGITS = 256;

export interface LazyParts {
  /** Where rows will be. Reading of them throws if the call is no longer the session's last. */
  readonly rows: Rows;
  readonly answers: Head;
  /** (D) of a row; stays until the next call. */
  state(index: number): Floats;
  /** Makes a row. */
  make(index: number): void;
}

export function lazyRows({ rows, answers, state, make }: LazyParts): Rows {
  const made = new Set<number>();
  const looks = new Map<number, HeadLook>();
  const expectCurrent = rows.row;
  const makeOnce = (index: number) => {
    expectCurrent(index);
    if (!made.has(index)) make(index);
    made.add(index);
    return rows;
  };
  const look = (index: number): HeadLook => {
    expectCurrent(index);
    // Backends of this process answer at once.
    const known = looks.get(index) ?? (answers.look!(state(index)) as HeadLook);
    looks.set(index, known);
    return known;
  };
  const top: Rows["top"] = (index, count) =>
    made.has(index) ? rows.top(index, count) : (look(index).top(count) as ReturnType<Rows["top"]>);
  return {
    count: rows.count,
    vocab: rows.vocab,
    row: (index) => makeOnce(index).row(index),
    argmax(index) {
      expectCurrent(index);
      return made.has(index) ? rows.argmax(index) : (answers.argmax(state(index)) as number);
    },
    top,
    logSumExp: (index) => makeOnce(index).logSumExp(index),
    spared(index): SparedRow {
      expectCurrent(index);
      const draw: SparedRow["draw"] = ({ edits, ...place }, most) => look(index).draw!(place, most, edits);
      let asked = 0;
      return {
        vocab: rows.vocab,
        best: (count) => top(index, count),
        logit(token) {
          if (++asked > MOST_LOGITS && answers.draws === "race") makeOnce(index);
          return made.has(index) ? rows.row(index)[token] : look(index).logit(token);
        },
        ...(answers.draws === "own" ? { draw } : { race: (place) => look(index).race?.(place) ?? null }),
      };
    },
    ...(rows.law && { law: (index: number) => makeOnce(index).law!(index) }),
  };
}
