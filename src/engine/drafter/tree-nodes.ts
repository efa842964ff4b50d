import type { Nodes } from "./draft-session.ts";

/** A node of a draft that is being grown; −1: after the committed tokens. */
export interface GrownNode {
  readonly token: number;
  /** Index of the node before it, which is smaller than its own. */
  readonly parent: number;
}

/** Tokens from the committed ones to `node`, its own included. */
export function pathTo(grown: readonly GrownNode[], node: number): number[] {
  const path: number[] = [];
  for (let at = node; at >= 0; at = grown[at].parent) path.push(grown[at].token);
  return path.reverse();
}

/** Some nodes with all above them, for one call of a session: ancestors first, the nodes last, in their order. */
export function withAncestors(grown: readonly GrownNode[], nodes: readonly number[]): Nodes {
  const above = new Set<number>();
  for (const node of nodes) {
    for (let at = grown[node].parent; at >= 0; at = grown[at].parent) above.add(at);
  }
  return only(grown, [...[...above].sort((a, b) => a - b), ...nodes]);
}

/** The nodes of `order`, numbered anew; their parents are among them, or −1. */
export function only(grown: readonly GrownNode[], order: readonly number[]): Nodes {
  const place = new Map(order.map((node, i) => [node, i]));
  return {
    tokens: order.map((node) => grown[node].token),
    parents: order.map((node) => place.get(grown[node].parent) ?? -1),
  };
}
