/** Characters as bytes: sets of code points in UTF-8, as they stand or as JSON writes them in a string. */
import { alt, bytes, type Expr, literal, seq } from "./expr.ts";

/** Code points: first, last, first, last, …; sorted, apart from each other, none of them a surrogate. */
export type Characters = readonly number[];

export const ALL_CHARACTERS: Characters = [0, 0xd7ff, 0xe000, 0x10ffff];

/** Sorts and joins; what is no character is dropped. */
export function characters(...ranges: number[]): Characters {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i], ranges[i + 1]]);
  pairs.sort((a, b) => a[0] - b[0]);
  const joined: number[] = [];
  for (const [first, last] of pairs) {
    const end = joined.length - 1;
    if (end > 0 && first <= joined[end] + 1) joined[end] = Math.max(joined[end], last);
    else joined.push(first, last);
  }
  return intersect(joined, ALL_CHARACTERS);
}

/** Every character that is not among them. */
export function complement(set: Characters): Characters {
  const gaps: number[] = [];
  let next = 0;
  for (let i = 0; i < set.length; i += 2) {
    if (set[i] > next) gaps.push(next, set[i] - 1);
    next = set[i + 1] + 1;
  }
  if (next <= 0x10ffff) gaps.push(next, 0x10ffff);
  return intersect(gaps, ALL_CHARACTERS);
}

export function intersect(a: Characters, b: Characters): Characters {
  const both: number[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const first = Math.max(a[i], b[j]);
    const last = Math.min(a[i + 1], b[j + 1]);
    if (first <= last) both.push(first, last);
    if (a[i + 1] < b[j + 1]) i += 2;
    else j += 2;
  }
  return both;
}

/** One of the characters, in UTF-8. */
export function utf8(set: Characters): Expr {
  const parts: Expr[] = [];
  const single: number[] = [];
  for (let i = 0; i < set.length; i += 2) {
    for (const range of equalLengths(set[i], set[i + 1])) {
      const [first, last] = range.map((point) => new TextEncoder().encode(String.fromCodePoint(point)));
      if (first.length === 1) single.push(first[0], last[0]);
      else parts.push(between(first, last));
    }
  }
  return alt(...(single.length > 0 ? [bytes(...single)] : []), ...parts);
}

/** Last code points of one, two, three and four bytes. */
const LONGEST = [0x7f, 0x7ff, 0xffff, 0x10ffff];

function equalLengths(first: number, last: number): [number, number][] {
  const ranges: [number, number][] = [];
  let from = first;
  for (const end of LONGEST) {
    if (from > last) break;
    if (from > end) continue;
    ranges.push([from, Math.min(last, end)]);
    from = end + 1;
  }
  return ranges;
}

/** All characters from one to another, both of as many bytes. */
function between(first: Uint8Array, last: Uint8Array): Expr {
  if (first.length === 1) return bytes(first[0], last[0]);
  const rest = first.length - 1;
  const lowest = new Uint8Array(rest).fill(0x80);
  const highest = new Uint8Array(rest).fill(0xbf);
  const [a, b] = [first[0], last[0]];
  if (a === b) return seq(bytes(a, a), between(first.subarray(1), last.subarray(1)));
  const isWhole = (tail: Uint8Array, whole: Uint8Array) => tail.every((byte, i) => byte === whole[i]);
  const from = isWhole(first.subarray(1), lowest) ? a : a + 1;
  const to = isWhole(last.subarray(1), highest) ? b : b - 1;
  return alt(
    ...(from > a ? [seq(bytes(a, a), between(first.subarray(1), highest))] : []),
    ...(from <= to ? [seq(bytes(from, to), between(lowest, highest))] : []),
    ...(to < b ? [seq(bytes(b, b), between(lowest, last.subarray(1)))] : []),
  );
}

/** What a JSON string may hold as it stands: all but controls, the quotation mark and the backslash. */
export const PLAIN_IN_JSON: Characters = [0x20, 0x21, 0x23, 0x5b, 0x5d, 0xd7ff, 0xe000, 0x10ffff];

/** One of the characters as `JSON.stringify` writes it in a string. */
export function jsonCharacters(set: Characters): Expr {
  const escaped: Expr[] = [];
  const others = intersect(set, complement(PLAIN_IN_JSON));
  for (let i = 0; i < others.length; i += 2) {
    for (let point = others[i]; point <= others[i + 1]; point++) {
      escaped.push(literal(JSON.stringify(String.fromCharCode(point)).slice(1, -1)));
    }
  }
  return alt(utf8(intersect(set, PLAIN_IN_JSON)), ...escaped);
}
