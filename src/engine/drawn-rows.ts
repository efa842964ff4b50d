/** drawn-rows: the answer of a call whose rows stay on the device that made them, with what was drawn from them there. */
import type { Floats } from "../backend/backend.ts";
import type { DrawKernels, Drawn, Scanned } from "../backend/draw-kernels.ts";
import type { Ask } from "./session-checks.ts";
import type { Call, DrawnRows, Rows } from "./source.ts";

/** What was drawn from rows, or decided on their draft. */
export interface Draws {
  readonly drawn: readonly (Drawn | null)[];
  readonly scanned: Scanned | null;
}

/** @param x (ask.tasks.length, stride(vocab)) */
export async function drawFrom(
  kernels: DrawKernels,
  x: Floats,
  vocab: number,
  { tasks, scan }: Ask,
): Promise<Draws> {
  if (scan === undefined) return { drawn: await kernels.draw(x, vocab, tasks), scanned: null };
  return { drawn: tasks.map(() => null), scanned: await kernels.scan(x, vocab, tasks, scan) };
}

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
