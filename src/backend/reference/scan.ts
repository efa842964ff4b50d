/** What `DrawKernels.scan` means, in f64: the rules of verify/token.ts and verify/block.ts, on a chain. */
import { log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import type { Scanned, ScanTask } from "../draw-kernels.ts";
import { probability, type Weights } from "../row-math.ts";
import { referenceRowMath as math } from "./row-math.ts";

/** @param laws p of each row. */
export function scan(laws: readonly Weights[], task: ScanTask): Scanned {
  const { seed, start } = task;
  const tokens = Array.from(task.tokens);
  const proposals = task.rows?.map((row) => math.read(row));
  const decide = task.verifier === "block" && proposals !== undefined ? byBlock : byToken;
  const { accepted, left } = decide({
    laws,
    proposals,
    tokens,
    coin: (i) => uniform(seed, start, STAGE.accept, i + 1),
  });
  const law = left !== null && left.mass > 0 && left.mass < Infinity ? left : laws[accepted];
  const token = math.draw(law, uniform(seed, start, STAGE.residual, 0));
  const emitted = [...tokens.slice(0, accepted), token];
  return {
    accepted,
    token,
    logProbabilities: Float64Array.from(emitted, (one, i) => log(probability(laws[i], one))),
  };
}

interface Chain {
  readonly laws: readonly Weights[];
  readonly proposals: readonly Weights[] | undefined;
  readonly tokens: readonly number[];
  readonly coin: (index: number) => number;
}

/** How many are kept, and what the next token is drawn from; null: from p. */
interface Decision {
  readonly accepted: number;
  readonly left: Weights | null;
}

function byToken({ laws, proposals, tokens, coin }: Chain): Decision {
  for (const [i, token] of tokens.entries()) {
    const q = proposals ? probability(proposals[i], token) : 1;
    if (math.accepts(coin(i), probability(laws[i], token), q)) continue;
    if (q === 0) return { accepted: i, left: null };
    const left = proposals ? math.residual(laws[i], proposals[i], 1) : math.without(laws[i], [token]);
    return { accepted: i, left };
  }
  return { accepted: tokens.length, left: null };
}

function byBlock({ laws, proposals, tokens, coin }: Chain): Decision {
  const end = tokens.findIndex((token, i) => probability(proposals![i], token) === 0);
  const count = end < 0 ? tokens.length : end;
  const weights = [1];
  let accepted = 0;
  for (let i = 0; i < count; i++) {
    const reached = weights[i] * probability(laws[i], tokens[i]);
    const q = probability(proposals![i], tokens[i]);
    const weight = reached >= q ? 1 : reached / q;
    weights.push(weight);
    let keep = weight;
    if (i + 1 < count) {
      const mass = math.residualMass(laws[i + 1], proposals![i + 1], weight);
      const total = mass + (1 - weight);
      keep = total > 0 ? mass / total : 1;
    }
    if (math.accepts(coin(i), keep, 1)) accepted = i + 1;
  }
  if (accepted === count) return { accepted, left: null };
  return { accepted, left: math.residual(laws[accepted], proposals![accepted], weights[accepted]) };
}
