import type { Draft } from "../../decoding/draft.ts";
import { type Distribution, topLogProbabilities } from "../../decoding/pipeline.ts";
import { exp, log } from "../../math.ts";
import { noise } from "../../philox.ts";
import type { GrowthOptions } from "./draft-chain.ts";
import { type GrownNode, only, pathTo, withAncestors } from "./tree-nodes.ts";

export interface DynamicTreeOptions extends GrowthOptions {
  /** Children drafted per node, and nodes of a layer that are gone on from. */
  readonly branches: number;
  /** Longest path. */
  readonly depth: number;
  /** Rank tokens by the target's race under this seed; undefined: by their probability. */
  readonly raceSeed?: number;
}

/** A node while the tree grows. */
interface Candidate extends GrownNode {
  readonly depth: number;
  /** ln of how likely the path to here is. */
  readonly score: number;
}

/**
 * A tree of the most promising paths, most promising first.
 *
 *     layer by layer: the best children of the best nodes, by the probability of the whole path
 *     of all layers: the best `gamma` nodes
 *
 * A layer takes one call of the draft model. A path is never more likely than its beginning, so parents come first, and
 * what is not among the best `gamma` is not gone on from: no descendant of it would be. Ties go to what came first.
 *
 * Source: Li et al. 2024, EAGLE-2, arXiv:2406.16858. Added here: siblings ranked by the race p / E that the target will
 * run with the same noise E, each with its share of Σ p / E as its probability. For verifiers that run it ("match",
 * "gumbel"), at a temperature above 0.
 */
export async function dynamicTree(options: DynamicTreeOptions): Promise<Draft> {
  const { session, sampler, committed, gamma, branches, depth, minProbability } = options;
  const least = minProbability > 0 ? log(minProbability) : -Infinity;
  const candidates: Candidate[] = [];
  const children = (law: Distribution | null, parent: number) => {
    const above = parent < 0 ? { depth: 0, score: 0 } : candidates[parent];
    if (law === null) return;
    for (const { token, logProbability } of best(law, committed.length + above.depth, options)) {
      const score = above.score + logProbability;
      if (score >= least) candidates.push({ token, parent, depth: above.depth + 1, score });
    }
  };
  const first = await session.follow(committed);
  children(sampler.law(first, 0, []), -1);
  for (let layer = 1; layer < depth; layer++) {
    const beam = bestNodes(candidates, gamma)
      .filter((node) => candidates[node].depth === layer)
      .slice(0, branches);
    if (beam.length === 0) break;
    const rows = await session.grow(withAncestors(candidates, beam), beam.length);
    for (const [row, node] of beam.entries()) {
      children(sampler.law(rows, row, pathTo(candidates, node)), node);
    }
  }
  return { ...only(candidates, bestNodes(candidates, gamma)), law: "one-hot" };
}

/** The best children, best first, and ln of how likely each is the right one. */
function best(law: Distribution, position: number, { branches, raceSeed }: DynamicTreeOptions) {
  if (raceSeed === undefined) return topLogProbabilities(law, branches);
  const racers = topLogProbabilities(law, law.ids.length).map(({ token, logProbability }) => ({
    token,
    logProbability: logProbability - log(-log(noise(raceSeed, position, token))),
  }));
  racers.sort((a, b) => b.logProbability - a.logProbability || a.token - b.token);
  const top = racers[0].logProbability;
  const total = top + log(racers.reduce((sum, racer) => sum + exp(racer.logProbability - top), 0));
  return racers
    .slice(0, branches)
    .map(({ token, logProbability }) => ({ token, logProbability: logProbability - total }));
}

/** Indices of the best candidates, best first. A parent is at least as good as its children, and older. */
function bestNodes(candidates: readonly Candidate[], count: number): number[] {
  return candidates
    .map((_, node) => node)
    .sort((a, b) => candidates[b].score - candidates[a].score || a - b)
    .slice(0, count);
}
