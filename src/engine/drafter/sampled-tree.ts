import type { Draft } from "../../decoding/draft.ts";
import type { ShapeNode } from "../../decoding/drafter/tree-shape.ts";
import { type Distribution, draw } from "../../decoding/pipeline.ts";
import { STAGE, uniform } from "../../philox.ts";
import type { GrowthOptions } from "./draft-chain.ts";
import { lawRows, rounded } from "./draft-sampler.ts";
import { type GrownNode, only, pathTo, withAncestors } from "./tree-nodes.ts";

/**
 * A tree of tokens drawn from the draft model, with the laws they were drawn from.
 *
 *     drawn          siblings one after the other, none twice: for sequoia and traversal
 *     independent    each from the whole law, perhaps twice: for specinfer
 *
 * The shape is fixed before anything is drawn. A node that its law has no token left for is missing, with all below it,
 * and nothing takes its place: what is drafted at a place depends on the tokens before it alone, which is what the
 * verifiers' proofs need. (Traversal looks at later siblings after all that is below the earlier ones; would a likely
 * token take nodes away from its siblings, their rejection would say something about it.) So `minProbability` may only
 * end a path where no next token is likely enough.
 *
 * One call of the draft model for each layer that has children. The number that a node is drawn with has its place in the
 * shape for an address.
 */
export async function sampledTree(
  { session, sampler, committed, vocab, minProbability }: GrowthOptions,
  shape: readonly ShapeNode[],
  siblings: "drawn" | "independent",
  seed: number,
): Promise<Draft> {
  /** By place in the shape; some may be missing. */
  const grown: GrownNode[] = [];
  /** [i + 1]: law of the children of node i; [0] of the first ones. */
  const laws: (Distribution | undefined)[] = [];
  const hasChildren = new Set(shape.map(({ parent }) => parent));
  const drawBelow = (parent: number, law: Distribution | null) => {
    if (law === null || !law.probabilities.some((probability) => probability >= minProbability)) return;
    laws[parent + 1] = rounded(law);
    let left = laws[parent + 1]!;
    for (const [node, { parent: above }] of shape.entries()) {
      if (above !== parent || left.ids.length === 0) continue;
      const token = draw(left, uniform(seed, committed.length, STAGE.draft, node + 1));
      grown[node] = { token, parent };
      if (siblings === "drawn") left = without(left, token);
    }
  };
  const first = await session.follow(committed);
  drawBelow(-1, sampler.law(first, 0, []));
  let layer = shape.flatMap(({ parent }, node) => (parent < 0 ? [node] : []));
  for (;;) {
    const inner = layer.filter((node) => grown[node] !== undefined && hasChildren.has(node));
    if (inner.length === 0) break;
    const rows = await session.grow(withAncestors(grown, inner), inner.length);
    for (const [row, node] of inner.entries()) {
      drawBelow(node, sampler.law(rows, row, pathTo(grown, node)));
    }
    layer = shape.flatMap(({ parent }, node) => (inner.includes(parent) ? [node] : []));
  }
  const kept = [...shape.keys()].filter((node) => grown[node] !== undefined);
  return {
    ...only(grown, kept),
    law: { rows: lawRows(vocab, [laws[0], ...kept.map((node) => laws[node + 1])]) },
  };
}

function without({ vocab, ids, probabilities }: Distribution, token: number): Distribution {
  return {
    vocab,
    ids: ids.filter((id) => id !== token),
    probabilities: probabilities.filter((_, i) => ids[i] !== token),
  };
}
