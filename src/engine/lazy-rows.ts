/**
 * lazy-rows: the one row of a call, made when somebody looks at it. Greedy decoding and top-k do not: a head that answers
 * for the row, bit for bit, tells them the best tokens from the state.
 */
import type { Floats } from "../backend/backend.ts";
import type { Head } from "../model/head/head.ts";
import type { Rows } from "./source.ts";

/**
 * @param rows  Where the row will be. Reading of it throws if the call is no longer the session's last.
 * @param state (D) of the row; stays until the next call.
 * @param make  Makes the row.
 */
export function lazyRows(rows: Rows, answers: Head, state: Floats, make: () => void): Rows {
  let isMade = false;
  const expectCurrent = rows.row;
  const makeOnce = (index: number) => {
    expectCurrent(index);
    if (!isMade) make();
    isMade = true;
    return rows;
  };
  return {
    count: rows.count,
    vocab: rows.vocab,
    isLazy: true,
    row: (index) => makeOnce(index).row(index),
    argmax(index) {
      expectCurrent(index);
      return isMade ? rows.argmax(index) : (answers.argmax(state) as number);
    },
    top(index, count) {
      expectCurrent(index);
      return isMade ? rows.top(index, count) : (answers.top(state, count) as ReturnType<Rows["top"]>);
    },
    logSumExp: (index) => makeOnce(index).logSumExp(index),
    ...(rows.law && { law: (index: number) => makeOnce(index).law!(index) }),
  };
}
