import type { ProgramState } from "./program.ts";

/** @throws {RangeError} If a rule can call itself before it took a byte: it would never end. */
export function expectProgress(states: readonly ProgramState[], name: string): void {
  const passes = passable(states);
  const next = ({ free, call, loop }: ProgramState): number[] => [
    ...free,
    ...(call === undefined ? [] : passes[call.start] ? [call.start, call.back] : [call.start]),
    ...(loop === undefined ? [] : loop.min === 0 ? [loop.start, loop.exit] : [loop.start]),
  ];
  // A cycle of free steps alone is harmless, as in (a*)*; one through a call is not.
  const order = components(states.map(next));
  for (const [at, { call }] of states.entries()) {
    if (call !== undefined && order[at] === order[call.start]) {
      throw new RangeError(`"${name}" must not refer to itself with nothing between`);
    }
  }
}

/** From which states a return is reached without a byte. */
function passable(states: readonly ProgramState[]): boolean[] {
  const passes = states.map(({ returns }) => returns);
  for (let changed = true; changed; ) {
    changed = false;
    for (let at = states.length - 1; at >= 0; at--) {
      if (passes[at]) continue;
      const { free, call, loop } = states[at];
      passes[at] =
        free.some((to) => passes[to]) ||
        (call !== undefined && passes[call.start] && passes[call.back]) ||
        (loop !== undefined && loop.min === 0 && passes[loop.exit]);
      changed ||= passes[at];
    }
  }
  return passes;
}

/** The strongly connected component of each node. Tarjan 1972, with a stack of its own: chains are long. */
function components(next: readonly (readonly number[])[]): Int32Array {
  const component = new Int32Array(next.length).fill(-1);
  const index = new Int32Array(next.length).fill(-1);
  const low = new Int32Array(next.length);
  const open: number[] = [];
  let count = 0;
  let found = 0;
  for (let root = 0; root < next.length; root++) {
    if (index[root] >= 0) continue;
    const path = [{ node: root, at: 0 }];
    while (path.length > 0) {
      const top = path[path.length - 1];
      const { node } = top;
      if (top.at === 0) {
        index[node] = low[node] = count++;
        open.push(node);
      } else {
        const child = next[node][top.at - 1];
        if (component[child] < 0) low[node] = Math.min(low[node], low[child]);
      }
      if (top.at < next[node].length) {
        const child = next[node][top.at++];
        if (index[child] < 0) path.push({ node: child, at: 0 });
        continue;
      }
      if (low[node] === index[node]) {
        for (let member = -1; member !== node; ) {
          member = open.pop()!;
          component[member] = found;
        }
        found++;
      }
      path.pop();
    }
  }
  return component;
}
