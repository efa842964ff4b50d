/** drawn-rows: the answer of a call whose rows stay on the device that made them, with what was drawn from them there. */
import type { Drawn, Scanned } from "../backend/draw-kernels.ts";
import type { Call, DrawnRows, Rows } from "./source.ts";

/** @param load Gives the rows. It throws if the call is no longer the session's last. */
export function drawnRows(
  vocab: number,
  drawn: readonly (Drawn | null)[],
  load: () => Promise<Rows>,
  scanned: Scanned | null = null,
): DrawnRows {
  const refuse = () => {
    throw new TypeError("Cannot read rows: they are on another device, and must be loaded first");
  };
  return {
    count: drawn.length,
    vocab,
    drawn,
    scanned,
    load,
    row: refuse,
    argmax: refuse,
    top: refuse,
    logSumExp: refuse,
  };
}

/** What a session that cannot draw answers: nothing is told, and the rows are there. */
export function undrawn(rows: Rows): DrawnRows {
  return drawnRows(rows.vocab, new Array(rows.count).fill(null), async () => rows);
}

/** Makes a call; with tasks, one of `draw`. */
export async function answer({ session, tokens, rows, parents, tasks, scan }: Call): Promise<Rows> {
  if (tasks === undefined) return await session.forward(tokens, rows, parents);
  if (session.draw !== undefined) return await session.draw(tokens, tasks, parents, scan);
  return undrawn(await session.forward(tokens, tasks.length, parents));
}
