import type { Round } from "./round.ts";
import { ROOT } from "./tree.ts";
import type { Verdict } from "./types.ts";

/**
 * Lets the target choose token after token, as if there were no draft, for as long as the draft has its choice.
 *
 * What is emitted is the chooser's own text, so the draft, whatever it is, changes nothing but the speed.
 *
 * @param choose The token after `node`, the last of `path`; in [0, vocab).
 */
export function follow(round: Round, choose: (node: number, path: readonly number[]) => number): Verdict {
  const path: number[] = [];
  for (let node = ROOT; ; ) {
    const token = choose(node, path);
    const child = round.tree.children(node).find((candidate) => round.tree.tokens[candidate] === token);
    if (child === undefined) return round.end(path, token);
    path.push(child);
    node = child;
  }
}
