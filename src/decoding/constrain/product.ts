/** What two expressions have in common, or what one has and the other has not: their automata, walked together. */
import { type Expr, type Graph, NEVER, type Rule } from "./expr.ts";
import { Machine, type Place } from "./machine.ts";
import { buildProgram } from "./program.ts";

const MAX_PLACES = 8000;
/** What it takes to look at all bytes behind a pair. */
const PAIR_WORK = 20;

/**
 * @param spend Told of the work; may throw.
 * @throws {RangeError} If it is too large.
 */
export function both(a: Expr, b: Expr, name: string, spend: (work: number) => void): Expr {
  return product(
    a,
    b,
    name,
    (one, other) => one !== null && other !== null && one.isEnd && other.isEnd,
    true,
    spend,
  );
}

/** The texts of `a` that are not of `b`. @throws {RangeError} If it is too large. */
export function without(a: Expr, b: Expr, name: string, spend: (work: number) => void): Expr {
  return product(a, b, name, (one, other) => one?.isEnd === true && other?.isEnd !== true, false, spend);
}

function product(
  a: Expr,
  b: Expr,
  name: string,
  isEnd: (a: Place | null, b: Place | null) => boolean,
  needsBoth: boolean,
  spend: (work: number) => void,
): Expr {
  if (a === NEVER || b === NEVER) return needsBoth || a === NEVER ? NEVER : a;
  const [left, right] = [machineOf(a, name), machineOf(b, name)];
  const ids = new Map<Place, Map<Place | null, number>>();
  const pairs: (readonly [Place, Place | null])[] = [];
  const idOf = (one: Place, other: Place | null): number => {
    let row = ids.get(one);
    if (row === undefined) {
      row = new Map();
      ids.set(one, row);
    }
    let id = row.get(other);
    if (id === undefined) {
      if (pairs.length >= MAX_PLACES) {
        throw new RangeError(`"${name}" must be simpler: its parts together are too large`);
      }
      id = pairs.length;
      row.set(other, id);
      pairs.push([one, other]);
    }
    return id;
  };
  idOf(left.start, right.start);
  const edges: [number, number, number, number][] = [];
  const finals: number[] = [];
  for (let id = 0, worked = 0; id < pairs.length; id++) {
    spend(PAIR_WORK + left.worked + right.worked - worked);
    worked = left.worked + right.worked;
    const [one, other] = pairs[id];
    if (isEnd(one, other)) finals.push(id);
    let last: [number, number, number, number] | undefined;
    for (let byte = 0; byte < 256; byte++) {
      const next = left.step(one, byte);
      const beside = other && right.step(other, byte);
      if (next === null || (needsBoth && beside === null)) continue;
      const to = idOf(next, beside);
      if (last !== undefined && last[3] === to && last[2] === byte - 1) last[2] = byte;
      else {
        last = [id, byte, byte, to];
        edges.push(last);
      }
    }
  }
  const graph: Graph = { states: pairs.length, edges, finals };
  return finals.length === 0 ? NEVER : { kind: "graph", graph };
}

function machineOf(expr: Expr, name: string): Machine {
  const rule: Rule = { expr };
  return new Machine(buildProgram(rule, name), 0);
}
