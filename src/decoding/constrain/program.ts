/**
 * program: rules as an automaton with calls. States are numbers; a byte, nothing at all, a call of a rule or a counted
 * repetition leads from one to the next.
 *
 * States from which no text can be finished are cut off, so that whoever follows the automaton never gets stuck.
 */
import { grouped } from "../../errors.ts";
import type { Expr, Rule } from "./expr.ts";
import { expectProgress } from "./progress.ts";

export interface ProgramState {
  /** (first byte, last byte, to) each. */
  readonly edges: number[];
  /** Where it goes on without a byte. */
  readonly free: number[];
  /** The rule that begins at `start` comes first; then it goes on at `back`. */
  call?: { readonly start: number; readonly back: number };
  /** The part from `start` to a return, `min` … `max` times; then on at `exit`. */
  loop?: { readonly start: number; readonly min: number; readonly max: number; readonly exit: number };
  /** Here a rule, or the part of a loop, ends. */
  returns: boolean;
}

export interface Program {
  readonly states: readonly ProgramState[];
  readonly start: number;
  /** (256) bytes that no edge tells apart have one number. */
  readonly classes: Uint8Array;
  readonly classCount: number;
}

const MAX_STATES = 60_000;
/** A repetition of up to so many states is written out, a longer one is counted. */
const WRITTEN_OUT = 64;

/**
 * @param name What the rules came from is called in errors.
 * @throws {RangeError} If it is too large, no text fits it, or a rule begins with itself.
 */
export function buildProgram(root: Rule, name: string): Program {
  const builder = new Builder(name);
  const start = builder.start(root);
  builder.buildRules();
  const { states } = builder;
  const alive = aliveStates(states);
  if (!alive[start]) throw new RangeError(`"${name}" must allow at least one text, it allows none`);
  cutOff(states, alive);
  expectProgress(states, name);
  return { states, start, ...byteClasses(states) };
}

class Builder {
  readonly states: ProgramState[] = [];
  readonly #name: string;
  readonly #starts = new Map<Rule, number>();
  readonly #waiting: Rule[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  start(rule: Rule): number {
    let start = this.#starts.get(rule);
    if (start === undefined) {
      start = this.#add();
      this.#starts.set(rule, start);
      this.#waiting.push(rule);
    }
    return start;
  }

  buildRules(): void {
    for (let rule = this.#waiting.pop(); rule !== undefined; rule = this.#waiting.pop()) {
      this.#build(rule.expr, this.start(rule), this.#addReturn());
    }
  }

  #build(expr: Expr, from: number, to: number): void {
    switch (expr.kind) {
      case "bytes":
        for (let i = 0; i < expr.ranges.length; i += 2) {
          this.states[from].edges.push(expr.ranges[i], expr.ranges[i + 1], to);
        }
        return;
      case "seq": {
        let at = from;
        for (const [i, part] of expr.parts.entries()) {
          const next = i === expr.parts.length - 1 ? to : this.#add();
          this.#build(part, at, next);
          at = next;
        }
        if (expr.parts.length === 0) this.states[from].free.push(to);
        return;
      }
      case "alt":
        for (const part of expr.parts) this.#build(part, from, to);
        return;
      case "repeat":
        this.#buildRepeat(expr, from, to);
        return;
      case "call": {
        const state = this.#add();
        this.states[from].free.push(state);
        this.states[state].call = { start: this.start(expr.rule), back: to };
        return;
      }
      case "graph": {
        const first = this.states.length;
        for (let i = 0; i < expr.graph.states; i++) this.#add();
        this.states[from].free.push(first);
        for (const [at, low, high, next] of expr.graph.edges) {
          this.states[first + at].edges.push(low, high, first + next);
        }
        for (const final of expr.graph.finals) this.states[first + final].free.push(to);
      }
    }
  }

  #buildRepeat({ part, min, max }: Extract<Expr, { kind: "repeat" }>, from: number, to: number): void {
    const copies = max === Infinity ? min : max;
    if (copies > 1 && copies * sizeOf(part) > WRITTEN_OUT) {
      const start = this.#add();
      const state = this.#add();
      this.states[from].free.push(state);
      this.states[state].loop = { start, min, max, exit: to };
      this.#build(part, start, this.#addReturn());
      return;
    }
    // A state of its own, as the one that is given may be part of another repetition.
    let at = this.#add();
    this.states[from].free.push(at);
    for (let i = 0; i < copies; i++) {
      const next = this.#add();
      if (i >= min) this.states[at].free.push(to);
      this.#build(part, at, next);
      at = next;
    }
    if (max === Infinity) {
      const again = this.#add();
      this.states[at].free.push(again);
      this.#build(part, again, again);
      at = again;
    }
    this.states[at].free.push(to);
  }

  #add(): number {
    if (this.states.length >= MAX_STATES) {
      throw new RangeError(`"${this.#name}" must need at most ${grouped(MAX_STATES)} states, it needs more`);
    }
    this.states.push({ edges: [], free: [], returns: false });
    return this.states.length - 1;
  }

  #addReturn(): number {
    const state = this.#add();
    this.states[state].returns = true;
    return state;
  }
}

/** States of an expression, about. */
function sizeOf(expr: Expr): number {
  switch (expr.kind) {
    case "seq":
    case "alt":
      return expr.parts.reduce((sum, part) => sum + sizeOf(part), 0);
    case "repeat":
      return sizeOf(expr.part) * (expr.max === Infinity ? expr.min + 1 : expr.max);
    case "graph":
      return expr.graph.states;
    default:
      return 1;
  }
}

/** From which states a return can be reached: the least solution, by going back from what is alive. */
function aliveStates(states: readonly ProgramState[]): boolean[] {
  const alive: boolean[] = states.map(() => false);
  const before: number[][] = states.map(() => []);
  for (const [at, { edges, free, call, loop }] of states.entries()) {
    for (let i = 2; i < edges.length; i += 3) before[edges[i]].push(at);
    for (const to of free) before[to].push(at);
    for (const to of [call?.start, call?.back, loop?.start, loop?.exit])
      if (to !== undefined) before[to].push(at);
  }
  const isAlive = ({ edges, free, call, loop, returns }: ProgramState) =>
    returns ||
    edges.some((to, i) => i % 3 === 2 && alive[to]) ||
    free.some((to) => alive[to]) ||
    (call !== undefined && alive[call.start] && alive[call.back]) ||
    (loop !== undefined && alive[loop.exit] && (loop.min === 0 || alive[loop.start]));
  const waiting = [...states.keys()].reverse();
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (alive[at] || !isAlive(states[at])) continue;
    alive[at] = true;
    waiting.push(...before[at]);
  }
  return alive;
}

function cutOff(states: readonly ProgramState[], alive: readonly boolean[]): void {
  for (const state of states) {
    for (let i = state.edges.length - 3; i >= 0; i -= 3) {
      if (!alive[state.edges[i + 2]]) state.edges.splice(i, 3);
    }
    for (let i = state.free.length - 1; i >= 0; i--) if (!alive[state.free[i]]) state.free.splice(i, 1);
    const { call, loop } = state;
    if (call !== undefined && !(alive[call.start] && alive[call.back])) state.call = undefined;
    if (loop !== undefined && !alive[loop.start]) {
      state.loop = undefined;
      if (loop.min === 0) state.free.push(loop.exit);
    }
  }
}

function byteClasses(states: readonly ProgramState[]): { classes: Uint8Array; classCount: number } {
  const isBoundary = new Uint8Array(257);
  for (const { edges } of states) {
    for (let i = 0; i < edges.length; i += 3) {
      isBoundary[edges[i]] = 1;
      isBoundary[edges[i + 1] + 1] = 1;
    }
  }
  const classes = new Uint8Array(256);
  let current = 0;
  for (let byte = 1; byte < 256; byte++) {
    current += isBoundary[byte];
    classes[byte] = current;
  }
  return { classes, classCount: current + 1 };
}
