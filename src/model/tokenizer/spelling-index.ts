/**
 * spelling-index: all places where any of some thousand spellings stand in a text, by one pass over it.
 *
 * Where places overlap, the spelling that comes first in the order of preference wins, wherever it stands, and of its own
 * places the leftmost: as if the text was split by each spelling in turn. That itself would read the text once for each.
 */

export interface Spelling {
  readonly id: number;
  readonly text: string;
}

export interface Occurrence {
  readonly position: number;
  /** In UTF-16 units. */
  readonly length: number;
  readonly id: number;
}

export class SpellingIndex {
  /** Sorted by UTF-16 units: those that begin alike stand together, the shortest first. */
  readonly #texts: readonly string[];
  readonly #ids: readonly number[];
  /** Their indices, most preferred first. */
  readonly #order: readonly number[];
  /** Unit -> from where to where the spellings that begin with it stand. */
  readonly #byFirst = new Map<number, { readonly low: number; high: number }>();
  /** For each the longest other that it begins with; −1 for none. */
  readonly #shorter: Int32Array;

  /** @param spellings Most preferred first; none empty or twice, and none before one that begins with it. */
  constructor(spellings: readonly Spelling[]) {
    const sorted = spellings
      .map(({ id, text }, rank) => ({ id, text, rank }))
      .sort((a, b) => (a.text < b.text ? -1 : 1));
    this.#texts = sorted.map(({ text }) => text);
    this.#ids = sorted.map(({ id }) => id);
    this.#order = [...sorted.keys()].sort((a, b) => sorted[a].rank - sorted[b].rank);
    this.#shorter = new Int32Array(spellings.length).fill(-1);
    const begun: number[] = [];
    this.#texts.forEach((text, index) => {
      const range = this.#byFirst.get(text.charCodeAt(0));
      if (range === undefined) this.#byFirst.set(text.charCodeAt(0), { low: index, high: index + 1 });
      else range.high = index + 1;
      while (begun.length > 0 && !text.startsWith(this.#texts[begun[begun.length - 1]])) begun.pop();
      if (begun.length > 0) this.#shorter[index] = begun[begun.length - 1];
      begun.push(index);
    });
  }

  /** In the order of their positions; none overlap. */
  find(text: string): Occurrence[] {
    const candidates = this.#candidates(text);
    if (candidates.size === 0) return [];
    const taken = new Uint8Array(text.length);
    const found: Occurrence[] = [];
    for (const index of this.#order) {
      const { length } = this.#texts[index];
      for (const position of candidates.get(index)?.sort((a, b) => a - b) ?? []) {
        if (taken[position] === 1) continue;
        if (taken.subarray(position, position + length).includes(1)) {
          // What it begins with may still fit in.
          if (this.#shorter[index] >= 0) append(candidates, this.#shorter[index], position);
          continue;
        }
        taken.fill(1, position, position + length);
        found.push({ position, length, id: this.#ids[index] });
      }
    }
    return found.sort((a, b) => a.position - b.position);
  }

  /** Positions by the longest spelling that stands there. */
  #candidates(text: string): Map<number, number[]> {
    const candidates = new Map<number, number[]>();
    for (let position = 0; position < text.length; position++) {
      const index = this.#longestAt(text, position);
      if (index >= 0) append(candidates, index, position);
    }
    return candidates;
  }

  #longestAt(text: string, position: number): number {
    const range = this.#byFirst.get(text.charCodeAt(position));
    if (range === undefined) return -1;
    let { low, high } = range;
    let longest = -1;
    for (let depth = 1; ; depth++) {
      if (this.#texts[low].length === depth) longest = low++;
      if (low === high || position + depth === text.length) return longest;
      const unit = text.charCodeAt(position + depth);
      // Mostly all begin alike as far as they do at all.
      if (this.#unitOf(low, depth) === unit && this.#unitOf(high - 1, depth) === unit) continue;
      low = this.#firstFrom(unit, depth, low, high);
      high = this.#firstFrom(unit + 1, depth, low, high);
      if (low === high) return longest;
    }
  }

  /** The first of low … high − 1 whose unit at `depth` is at least `unit`; `high` if none is. */
  #firstFrom(unit: number, depth: number, low: number, high: number): number {
    let [below, from] = [low - 1, high];
    while (from - below > 1) {
      const middle = (below + from) >> 1;
      if (this.#unitOf(middle, depth) < unit) below = middle;
      else from = middle;
    }
    return from;
  }

  #unitOf(index: number, depth: number): number {
    return this.#texts[index].charCodeAt(depth);
  }
}

function append(lists: Map<number, number[]>, key: number, value: number): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
