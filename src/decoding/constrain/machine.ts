/**
 * machine: where a text stands in a program, byte by byte.
 *
 * A place is a set of configurations, each a state of the program and what it goes back to. Places never change and are
 * kept, with the places that follow them: after some text, a step is one look into a table.
 */
import type { Program } from "./program.ts";

/** What a configuration goes back to. The same list of returns is the same object. */
export class Stack {
  readonly id: number;
  readonly parent: Stack | null;
  /** Where it goes on: the state behind a call, or a loop. */
  readonly state: number;
  /** Of a loop: times that its part was begun. */
  readonly count: number;
  /** Stacks of one kind allow the same next token, and those of one `nearKind` the same short one. */
  readonly kind: number;
  readonly nearKind: number;
  readonly children = new Map<number, Stack>();
  resumed: Place | undefined;

  constructor(
    id: number,
    parent: Stack | null,
    state: number,
    count: number,
    { kind, nearKind }: Pick<Stack, "kind" | "nearKind">,
  ) {
    this.id = id;
    this.parent = parent;
    this.state = state;
    this.count = count;
    this.kind = kind;
    this.nearKind = nearKind;
  }
}

export interface Configuration {
  readonly state: number;
  readonly stack: Stack;
}

export interface Place {
  readonly configurations: readonly Configuration[];
  /** Whether the text may end here. */
  readonly isEnd: boolean;
  /** By class of byte: the next place, null if there is none, undefined if nobody asked. */
  readonly next: (Place | null | undefined)[];
}

/** More at once, and a text is too ambiguous to follow. */
const MAX_CONFIGURATIONS = 1024;
/** Configurations of places, and stacks, that are kept for the next to come by. */
const MAX_KEPT = 500_000;
const COUNTS = 2 ** 16;

export class Machine {
  readonly program: Program;
  readonly bottom = new Stack(0, null, -1, 0, { kind: 0, nearKind: 0 });
  readonly start: Place;
  /** Configurations that had to be worked out. */
  worked = 0;
  /** In bytes: how far ahead masks look. */
  readonly #longestToken: number;
  readonly #shortToken: number;
  readonly #places = new Map<string, Place>();
  readonly #stacks: Stack[] = [];
  readonly #kinds = new Map<string, number>();
  #made = 1;
  #kept = 0;

  /** @param longestToken In bytes: how far ahead a mask looks. @param shortToken How long short tokens are at most. */
  constructor(program: Program, longestToken: number, shortToken: number) {
    this.program = program;
    this.#longestToken = longestToken;
    this.#shortToken = shortToken;
    this.start = this.#reach([{ state: program.start, stack: this.bottom }])!;
  }

  step({ next, configurations }: Place, byte: number): Place | null {
    const known = next[this.program.classes[byte]];
    if (known !== undefined) return known;
    const seeds: Configuration[] = [];
    for (const { state, stack } of configurations) {
      const { edges } = this.program.states[state];
      for (let i = 0; i < edges.length; i += 3) {
        if (byte >= edges[i] && byte <= edges[i + 1]) seeds.push({ state: edges[i + 2], stack });
      }
    }
    const place = this.#reach(seeds);
    next[this.program.classes[byte]] = place;
    return place;
  }

  /** The place of one configuration in its rule, as if nothing were to come back to behind that. */
  alone({ state, stack }: Configuration): Place {
    return this.#intern([{ state, stack: this.within(stack) }], false);
  }

  /** The loops that a configuration is in, within its rule. */
  within(stack: Stack): Stack {
    if (!this.#isLoop(stack)) return this.bottom;
    return this.#push(this.within(stack.parent!), stack.state, stack.count);
  }

  /** Where its rule was called; the bottom if it was not. */
  caller(stack: Stack): Stack {
    let at = stack;
    while (this.#isLoop(at)) at = at.parent!;
    return at;
  }

  #isLoop({ parent, state }: Stack): boolean {
    return parent !== null && this.program.states[state].loop !== undefined;
  }

  /** Where it goes on once what stands on `stack` has ended. */
  resume(stack: Stack): Place | null {
    if (stack.resumed !== undefined) return stack.resumed;
    const place = this.#reach([], stack);
    if (place !== null) stack.resumed = place;
    return place;
  }

  /** All that is reached without a byte. */
  #reach(seeds: readonly Configuration[], ended?: Stack): Place | null {
    const { states } = this.program;
    const found: Configuration[] = [];
    const seen = new Set<number>();
    const waiting = [...seeds].reverse();
    let isEnd = false;
    const goOn = (stack: Stack) => {
      if (stack.parent === null) isEnd = true;
      else if (states[stack.state].loop !== undefined) enter(stack.state, stack.count, stack.parent);
      else waiting.push({ state: stack.state, stack: stack.parent });
    };
    const enter = (state: number, count: number, stack: Stack) => {
      const { start, min, max, exit } = states[state].loop!;
      if (count >= min) waiting.push({ state: exit, stack });
      // Without a highest count it is enough to know that the lowest was reached.
      const more = Math.min(count + 1, max === Infinity ? min : max);
      if (count < max) waiting.push({ state: start, stack: this.#push(stack, state, more) });
    };
    if (ended !== undefined) goOn(ended);
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      const { state, stack } = at;
      const key = stack.id * states.length + state;
      if (seen.has(key)) continue;
      seen.add(key);
      this.worked++;
      const { edges, free, call, loop, returns } = states[state];
      if (edges.length > 0) found.push(at);
      for (let i = free.length - 1; i >= 0; i--) waiting.push({ state: free[i], stack });
      if (returns) goOn(stack);
      if (loop !== undefined) enter(state, 0, stack);
      if (call !== undefined) {
        const { returns: isLast, edges, free, call: more, loop: again } = states[call.back];
        // Nothing is left to do behind it.
        const isTail = isLast && edges.length === 0 && free.length === 0 && !more && !again;
        waiting.push({ state: call.start, stack: isTail ? stack : this.#push(stack, call.back, 0) });
      }
      if (found.length > MAX_CONFIGURATIONS || seen.size > 16 * MAX_CONFIGURATIONS) {
        throw new RangeError("Cannot constrain the text: what it may be is too ambiguous");
      }
    }
    return found.length === 0 && !isEnd ? null : this.#intern(found, isEnd);
  }

  #intern(configurations: readonly Configuration[], isEnd: boolean): Place {
    const key = `${isEnd}${configurations.map(({ state, stack }) => ` ${state}.${stack.id}`).join("")}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      this.#kept += configurations.length + 1;
      if (this.#kept > MAX_KEPT) this.#forget();
      place = { configurations, isEnd, next: new Array(this.program.classCount) };
      this.#places.set(key, place);
    }
    return place;
  }

  #push(parent: Stack, state: number, count: number): Stack {
    const key = state * COUNTS + count;
    let stack = parent.children.get(key);
    if (stack === undefined) {
      const kind = this.#kindOf(parent.kind, state, count, this.#longestToken);
      const nearKind = this.#kindOf(parent.nearKind, state, count, this.#shortToken);
      stack = new Stack(this.#made++, parent, state, count, { kind, nearKind });
      parent.children.set(key, stack);
      this.#stacks.push(stack);
      this.#kept++;
    }
    return stack;
  }

  /** Unlinks all places, so that only those live on at which a text stands. */
  #forget(): void {
    for (const place of this.#places.values()) place.next.fill(undefined);
    for (const stack of [this.bottom, ...this.#stacks]) {
      stack.children.clear();
      stack.resumed = undefined;
    }
    this.#places.clear();
    this.#stacks.length = 0;
    this.#kept = 0;
  }

  /** Of a count a token can only tell how far it is from its limits, if it reaches them. */
  #kindOf(parent: number, state: number, count: number, reach: number): number {
    const { min, max } = this.program.states[state].loop ?? { min: 0, max: 0 };
    const near = (distance: number) => Math.min(Math.max(0, distance), reach + 1);
    const key = `${reach} ${parent} ${state} ${near(min - count)} ${near(max - count)}`;
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = this.#kinds.size + 1;
      this.#kinds.set(key, kind);
    }
    return kind;
  }
}
