/**
 * expr: what a text may be, as an expression over bytes.
 *
 * Regular expressions and JSON schemas both become one. A rule is an expression with a name of its own: it may contain
 * itself, which is what JSON needs beyond a regular expression.
 */
export type Expr =
  /** One byte of the ranges: first, last, first, last, … */
  | { readonly kind: "bytes"; readonly ranges: readonly number[] }
  | { readonly kind: "seq"; readonly parts: readonly Expr[] }
  | { readonly kind: "alt"; readonly parts: readonly Expr[] }
  | { readonly kind: "repeat"; readonly part: Expr; readonly min: number; readonly max: number }
  | { readonly kind: "call"; readonly rule: Rule }
  | { readonly kind: "graph"; readonly graph: Graph };

/** Set after it was made, so that it can contain itself. */
export interface Rule {
  expr: Expr;
}

/** A deterministic automaton; it begins in state 0. */
export interface Graph {
  readonly states: number;
  /** (from, first byte, last byte, to) each. */
  readonly edges: readonly (readonly [number, number, number, number])[];
  readonly finals: readonly number[];
}

/** Only the empty text. */
export const EMPTY: Expr = { kind: "seq", parts: [] };
/** No text at all. */
export const NEVER: Expr = { kind: "alt", parts: [] };

export function bytes(...ranges: number[]): Expr {
  return { kind: "bytes", ranges };
}

/** A text as it stands. */
export function literal(text: string): Expr {
  return seq(...Array.from(new TextEncoder().encode(text), (byte) => bytes(byte, byte)));
}

/** One of some texts; what they begin with alike is there once. */
export function oneOf(texts: readonly string[]): Expr {
  const words = [...new Set(texts)].map((text) => new TextEncoder().encode(text));
  words.sort((a, b) => {
    const at = a.findIndex((byte, i) => byte !== b[i]);
    return at < 0 || at >= b.length ? a.length - b.length : a[at] - b[at];
  });
  return behind(words, 0, words.length, 0);
}

/** Words first … last − 1, sorted, without their first `depth` bytes, in which they agree. */
function behind(words: readonly Uint8Array[], first: number, last: number, depth: number): Expr {
  if (last === first) return NEVER;
  let shared = depth;
  while (shared < words[first].length && words[first][shared] === words[last - 1][shared]) shared++;
  const start = seq(...Array.from(words[first].subarray(depth, shared), (byte) => bytes(byte, byte)));
  const branches: Expr[] = [];
  for (let from = first; from < last; ) {
    let to = from + 1;
    if (words[from].length === shared) branches.push(EMPTY);
    else {
      while (to < last && words[to][shared] === words[from][shared]) to++;
      const next = bytes(words[from][shared], words[from][shared]);
      branches.push(seq(next, behind(words, from, to, shared + 1)));
    }
    from = to;
  }
  return seq(start, alt(...branches));
}

export function seq(...parts: Expr[]): Expr {
  if (parts.includes(NEVER)) return NEVER;
  const flat = parts.flatMap((part) => (part.kind === "seq" ? part.parts : [part]));
  return flat.length === 1 ? flat[0] : flat.length === 0 ? EMPTY : { kind: "seq", parts: flat };
}

export function alt(...parts: Expr[]): Expr {
  const flat = parts.flatMap((part) => (part.kind === "alt" ? part.parts : [part]));
  const called = new Set<Rule>();
  const kept = flat.filter((part) => {
    if (part.kind !== "call") return true;
    if (called.has(part.rule)) return false;
    called.add(part.rule);
    return true;
  });
  return kept.length === 1 ? kept[0] : kept.length === 0 ? NEVER : { kind: "alt", parts: kept };
}

/** @param max May be Infinity. */
export function repeat(part: Expr, min: number, max: number): Expr {
  if (max === 0) return EMPTY;
  if (part === NEVER) return min === 0 ? EMPTY : NEVER;
  // Whatever repeats nothing can be left out, and nothing is counted twice.
  if (isNullable(part)) return repeat(nonEmpty(part), 0, max);
  return min === 1 && max === 1 ? part : { kind: "repeat", part, min, max };
}

export function maybe(part: Expr): Expr {
  return alt(part, EMPTY);
}

export function call(rule: Rule): Expr {
  return { kind: "call", rule };
}

/** Whether the empty text is one of them. Rules that call each other without end have none. */
export function isNullable(expr: Expr, open: ReadonlySet<Rule> = new Set()): boolean {
  switch (expr.kind) {
    case "bytes":
      return false;
    case "seq":
      return expr.parts.every((part) => isNullable(part, open));
    case "alt":
      return expr.parts.some((part) => isNullable(part, open));
    case "repeat":
      return expr.min === 0 || isNullable(expr.part, open);
    case "call":
      return !open.has(expr.rule) && isNullable(expr.rule.expr, new Set([...open, expr.rule]));
    case "graph":
      return expr.graph.finals.includes(0);
  }
}

/** The same texts without the empty one. Repeated are only parts of regular expressions: they call nothing. */
function nonEmpty(expr: Expr): Expr {
  if (!isNullable(expr)) return expr;
  switch (expr.kind) {
    case "seq": {
      const [first, ...rest] = expr.parts;
      if (first === undefined) return NEVER;
      const tail = seq(...rest);
      return alt(seq(nonEmpty(first), tail), nonEmpty(tail));
    }
    case "alt":
      return alt(...expr.parts.map(nonEmpty));
    case "repeat":
      return repeat(nonEmpty(expr.part), 1, expr.max);
    case "graph":
      return { kind: "graph", graph: begun(expr.graph) };
    default:
      throw new TypeError(`A ${expr.kind} that may be empty cannot be repeated`);
  }
}

/** With a beginning of its own, at which nothing ends. */
function begun({ states, edges, finals }: Graph): Graph {
  const behind = edges.map(([from, low, high, to]) => [from + 1, low, high, to + 1] as const);
  const first = edges
    .filter(([from]) => from === 0)
    .map(([, low, high, to]) => [0, low, high, to + 1] as const);
  return { states: states + 1, edges: [...first, ...behind], finals: finals.map((state) => state + 1) };
}
