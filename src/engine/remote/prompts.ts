/** Servers that tell the row after a prompt: rows of a call are as many prompts. */
import { exp, log } from "../../math.ts";
import { chunks, type KnownTokens, pathsOf, type RowCall, type ServedRow } from "./server.ts";
import type { Speech } from "./speech.ts";

/** Several of theirs may stand for one of ours, which has their probabilities together. */
export function summed(tokens: readonly (readonly [number, number])[]): [number, number][] {
  const sums = new Map<number, number>();
  for (const [id, value] of tokens) {
    const before = sums.get(id) ?? -Infinity;
    const most = Math.max(before, value);
    const least = Math.min(before, value);
    sums.set(id, least === -Infinity ? most : most + log(1 + exp(least - most)));
  }
  return [...sums];
}

/** The rows of a call; where a text cannot be sent, why. */
export async function rowsOf(
  call: RowCall,
  speech: Speech,
  most: number,
  ask: (paths: readonly (readonly number[])[]) => Promise<readonly KnownTokens[]>,
): Promise<ServedRow[]> {
  const paths = pathsOf(call);
  const rows: ServedRow[] = paths.map((path) => {
    const prompt = speech.prompt(path);
    return prompt instanceof RangeError ? prompt : EMPTY;
  });
  const sendable = [...rows.keys()].filter((index) => !(rows[index] instanceof RangeError));
  for (const some of chunks(sendable, most)) {
    const found = await ask(some.map((index) => paths[index]));
    some.forEach((index, i) => {
      rows[index] = found[i];
    });
  }
  return rows;
}

const EMPTY: KnownTokens = { ids: [], logProbabilities: [] };
