/** The constant data of a plan, as instructions use it. */
import type { Norm, Table, TableKind } from "./plan.ts";

export type TableData<Kind extends TableKind> = Extract<Table, { kind: Kind }>;

/** Largest id of a table, as tables outlive the steps that check them. */
const largestIds = new WeakMap<ArrayLike<number>, number>();

export function expectIdsBelow(
  name: string,
  { ids }: { readonly ids: ArrayLike<number> },
  vocab: number,
): void {
  let largest = largestIds.get(ids);
  if (largest === undefined) {
    largest = -1;
    for (let i = 0; i < ids.length; i++) largest = Math.max(largest, ids[i]);
    largestIds.set(ids, largest);
  }
  if (largest >= vocab)
    throw new RangeError(`"plan.tables.${name}.ids" must be below ${vocab}, got ${largest}`);
}

export interface SparseRow {
  readonly ids: ArrayLike<number>;
  readonly values: ArrayLike<number>;
  /** Multiplies the values. */
  readonly scale: number;
}

/** A sparse table, or the row of a graph that belongs to the last token. By maxnorm, only what is above 0 counts. */
export function sparseRow(
  table: TableData<"sparse" | "graph">,
  last: number | undefined,
  norm: Norm,
  temperature: number,
): SparseRow {
  const { ids, values } = table.kind === "sparse" ? table : graphRow(table, last);
  if (norm !== "maxnorm") return { ids, values, scale: 1 / temperature };
  const positive = Array.from(values, (_, index) => index).filter((index) => values[index] > 0);
  const max = positive.reduce((most, index) => Math.max(most, values[index]), 0);
  return {
    ids: positive.map((index) => ids[index]),
    values: positive.map((index) => values[index]),
    scale: max > 0 ? 1 / max : 0,
  };
}

function graphRow(
  { offsets, ids, values }: TableData<"graph">,
  last: number | undefined,
): Omit<SparseRow, "scale"> {
  if (last === undefined) throw new TypeError('"last" must be given, as the plan has a graph, got undefined');
  if (last + 1 >= offsets.length) return { ids: [], values: [] };
  const [from, to] = [offsets[last], offsets[last + 1]];
  const part = (list: ArrayLike<number>) =>
    Array.from({ length: to - from }, (_, index) => list[from + index]);
  return { ids: part(ids), values: part(values) };
}

/** (⌈vocab / 32⌉) bits of `ids` set, or of all others. */
export function maskOf(ids: readonly number[], vocab: number, set: boolean): Uint32Array {
  const words = new Uint32Array(Math.ceil(vocab / 32)).fill(set ? 0 : 0xffffffff);
  for (const id of ids) {
    if (id >= vocab) continue;
    const bit = 1 << (id & 31);
    if (set) words[id >>> 5] |= bit;
    else words[id >>> 5] &= ~bit;
  }
  return words;
}
