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

/** Tells whether a text is one of an expression's. @throws {RangeError} If it is too large. */
export function matcherOf(expr: Expr, name: string): (text: string) => boolean {
  if (expr === NEVER) return () => false;
  const machine = machineOf(expr, name);
  return (text) => {
    let place: Place | null = machine.start;
    for (const byte of new TextEncoder().encode(text)) place = place && machine.step(place, byte);
    return place?.isEnd === true;
  };
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
  const ranges = commonRanges(left, right);
  const edges: [number, number, number, number][] = [];
  const finals: number[] = [];
  for (let id = 0, worked = 0; id < pairs.length; id++) {
    spend(PAIR_WORK + left.worked + right.worked - worked);
    worked = left.worked + right.worked;
    const [one, other] = pairs[id];
    if (isEnd(one, other)) finals.push(id);
    let last: [number, number, number, number] | undefined;
    for (const [low, high] of ranges) {
      const next = left.step(one, low);
      const beside = other && right.step(other, low);
      if (next === null || (needsBoth && beside === null)) continue;
      const to = idOf(next, beside);
      if (last !== undefined && last[3] === to && last[2] === low - 1) last[2] = high;
      else {
        last = [id, low, high, to];
        edges.push(last);
      }
    }
  }
  const graph: Graph = { states: pairs.length, edges, finals };
  return finals.length === 0 ? NEVER : { kind: "graph", graph };
}

/** Bytes, first and last of each range, that neither machine tells apart. */
function commonRanges(left: Machine, right: Machine): [number, number][] {
  const ranges: [number, number][] = [[0, 0]];
  const isLike = (byte: number, { program: { classes } }: Machine) => classes[byte] === classes[byte - 1];
  for (let byte = 1; byte < 256; byte++) {
    if (isLike(byte, left) && isLike(byte, right)) ranges[ranges.length - 1][1] = byte;
    else ranges.push([byte, byte]);
  }
  return ranges;
}

function machineOf(expr: Expr, name: string): Machine {
  const rule: Rule = { expr };
  return new Machine(buildProgram(rule, name), 0, 0);
}
