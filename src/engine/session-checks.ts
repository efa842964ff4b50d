/** What every session checks before it changes anything, in one place as all must refuse the same. */
import { type Cut, type DrawTask, MOST_CUTS, type ScanTask } from "../backend/draw-kernels.ts";
import { expectInteger, expectNumber, grouped } from "../errors.ts";
import { Tree } from "./tree.ts";

/** The last call of a session, until something is truncated: `truncate` keeps nodes of it. */
export interface LastCall {
  /** Position of its first token. */
  readonly start: number;
  readonly tree: Tree | null;
}

/** A call that was checked. */
export interface CheckedCall {
  readonly tokens: readonly number[];
  readonly rows: number;
  readonly tree: Tree | null;
}

/** What is asked of rows where they are. */
export interface Ask {
  readonly tasks: readonly DrawTask[];
  readonly scan?: ScanTask;
}

/** The arguments of `forward`. */
export interface GivenCall {
  readonly tokens: ArrayLike<number>;
  readonly rows?: number;
  readonly parents?: ArrayLike<number>;
}

/** @throws {RangeError | TypeError} If `forward` must refuse the call. */
export function checkCall(
  { length, capacity }: { readonly length: number; readonly capacity: number },
  vocab: number,
  last: LastCall | null,
  { tokens, rows = Math.min(1, tokens.length), parents }: GivenCall,
): CheckedCall {
  for (let i = 0; i < tokens.length; i++) expectInteger(`tokens[${i}]`, tokens[i], 0, vocab - 1);
  expectInteger("rows", rows, 0, tokens.length);
  expectChain("append", last);
  const tree = parents === undefined ? null : Tree.read(parents, tokens.length);
  if (length + tokens.length > capacity) {
    throw new RangeError(
      `Cannot append ${grouped(tokens.length)} tokens: the session holds ${grouped(length)} of at most ${grouped(capacity)}`,
    );
  }
  return { tokens: Array.from(tokens), rows, tree };
}

/** @throws {RangeError | TypeError} If `draw` must refuse: what it is told of tokens decides where a device writes. */
export function checkAsk({ tasks, scan }: Ask, vocab: number): void {
  checkTasks(tasks, vocab);
  if (scan !== undefined) checkScan(scan, tasks.length - 1, vocab);
}

function checkTasks(tasks: readonly DrawTask[], vocab: number): void {
  for (const [i, { temperature, seed, position, list = 0, mask, changes, cuts }] of tasks.entries()) {
    const name = `tasks[${i}]`;
    expectNumber(`${name}.temperature`, temperature, 0, 100);
    expectInteger(`${name}.seed`, seed, 0, Number.MAX_SAFE_INTEGER);
    expectInteger(`${name}.position`, position, 0, 2 ** 32 - 1);
    expectInteger(`${name}.list`, list, 0, vocab);
    if (mask !== undefined)
      expectInteger(`${name}.mask.length`, mask.length, Math.ceil(vocab / 32), Number.MAX_SAFE_INTEGER);
    if (cuts !== undefined) checkCuts(`${name}.cuts`, cuts);
    if (changes === undefined) continue;
    const { length } = changes.tokens;
    expectInteger(`${name}.changes.tokens.length`, length, 0, vocab);
    expectInteger(`${name}.changes.changes.length`, changes.changes.length, 3 * length, 3 * length);
    for (let j = 0; j < length; j++)
      expectInteger(`${name}.changes.tokens[${j}]`, changes.tokens[j], 0, vocab - 1);
  }
}

const CUTS: readonly Cut["cut"][] = ["top-k", "top-p", "min-p"];

function checkCuts(name: string, cuts: readonly Cut[]): void {
  expectInteger(`${name}.length`, cuts.length, 0, MOST_CUTS);
  for (const [i, cut] of cuts.entries()) {
    if (!CUTS.includes(cut.cut)) {
      throw new TypeError(
        `"${name}[${i}].cut" must be one of ${CUTS.join(", ")}, got ${JSON.stringify(cut.cut)}`,
      );
    }
    if (cut.cut === "top-k") {
      expectInteger(`${name}[${i}].k`, cut.k, 1, 2 ** 31 - 1);
      continue;
    }
    expectNumber(`${name}[${i}].p`, cut.p, 0, 1);
    expectNumber(`${name}[${i}].temperature`, cut.temperature, Number.MIN_VALUE, 100);
  }
}

function checkScan({ tokens, rows, start, seed }: ScanTask, drafted: number, vocab: number): void {
  expectInteger("scan.tokens.length", tokens.length, drafted, drafted);
  for (let i = 0; i < drafted; i++) expectInteger(`scan.tokens[${i}]`, tokens[i], 0, vocab - 1);
  expectInteger("scan.start", start, 0, 2 ** 32 - 1);
  expectInteger("scan.seed", seed, 0, Number.MAX_SAFE_INTEGER);
  if (rows === undefined) return;
  expectInteger("scan.rows.length", rows.length, drafted, Number.MAX_SAFE_INTEGER);
  for (let i = 0; i < drafted; i++)
    expectInteger(`scan.rows[${i}].length`, rows[i].length, vocab, Number.MAX_SAFE_INTEGER);
}

/** @param held Tokens of the session. @throws {RangeError | TypeError} If `truncate` must refuse. */
export function checkTruncation(
  held: number,
  last: LastCall | null,
  length: number,
  path: ArrayLike<number>,
): void {
  expectInteger("length", length, 0, last?.tree ? last.start + last.tree.stem : held);
  if (path.length === 0) return;
  if (last === null || length < last.start) {
    throw new RangeError(
      `"path" must be empty: no token at or behind ${grouped(length)} is known to be a node of the last call`,
    );
  }
  const { start, tree } = last;
  let parent = length - start - 1;
  for (let i = 0; i < path.length; i++) {
    const node = expectInteger(`path[${i}]`, path[i], 0, held - start - 1);
    const found = tree === null ? node - 1 : tree.parent(node);
    if (found !== parent)
      throw new RangeError(`"path[${i}]" must be a child of ${parent}, got ${node}, a child of ${found}`);
    parent = node;
  }
}

/** @throws {RangeError} If the session holds a tree. */
export function expectChain(what: string, last: LastCall | null): void {
  if (last?.tree)
    throw new RangeError(`Cannot ${what}: the session holds a tree, truncate it to a path first`);
}
