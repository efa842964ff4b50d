/**
 * The parts of @huggingface/jinja's tree and values that the budget looks at. The package's own types name files
 * without extension, which nodenext cannot follow.
 */

/** A node of a parsed template. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** What a node evaluates to. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
}

/** Nodes whose evaluation is followed by work that the interpreter does without evaluating anything. */
export interface Marks {
  /** Written out: a list or an object is made JSON of. */
  readonly printed: WeakSet<Node>;
  /** Looped over: every element gets a scope, used or not. */
  readonly iterated: WeakSet<Node>;
  /** Searched for `varargs` and `kwargs` whenever it is defined: how many nodes. */
  readonly searched: WeakMap<Node, number>;
}

export function markNodes(program: Node): Marks {
  const marks: Marks = { printed: new WeakSet(), iterated: new WeakSet(), searched: new WeakMap() };
  visit(program, marks);
  return marks;
}

/** @returns The number of nodes in `node`. */
function visit(node: Node, marks: Marks): number {
  for (const block of [node.body, node.alternate, node.defaultBlock]) {
    if (Array.isArray(block)) for (const child of block) marks.printed.add(child);
  }
  if (node.type === "For") {
    const iterable = node.iterable as Node;
    marks.iterated.add(iterable.type === "SelectExpression" ? (iterable.lhs as Node) : iterable);
  }
  let count = 1;
  for (const child of childrenOf(Object.values(node))) count += visit(child, marks);
  if (node.type === "Macro" || node.type === "CallStatement") marks.searched.set(node, count);
  return count;
}

function* childrenOf(fields: Iterable<unknown>): Generator<Node> {
  for (const field of fields) {
    if (Array.isArray(field) || field instanceof Map) yield* childrenOf(field);
    else if (typeof field === "object" && field !== null && "type" in field && field.type !== undefined) {
      // A token has a type as well, and nothing below it.
      yield field as Node;
    }
  }
}
