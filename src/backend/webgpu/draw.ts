/**
 * draw: DrawKernels on the device: tokens of several rows in one go, with 32 bytes read back for each, or 8 per token of a
 * list.
 *
 * Nothing that rounding in f32 might decide is told. That is hardly ever: two scores of a race are closer than CLEAR once in
 * some ten thousand draws.
 */
import { log } from "../../math.ts";
import { type Floats, stride, type Top } from "../backend.ts";
import {
  type DrawKernels,
  type Drawn,
  type DrawTask,
  LIST_HEAD_WORDS,
  type Scanned,
  type ScanTask,
} from "../draw-kernels.ts";
import { changed } from "../reference/draw.ts";
import { DrawSheet } from "./draw-sheet.ts";
import { wordOf } from "./floats.ts";
import type { Target } from "./recorder.ts";
import type { Scratch } from "./region.ts";
import { scan } from "./scan.ts";
import { SheetHost } from "./sheet-host.ts";
import { GROUPS } from "./wgsl/row.ts";
import { PART_WORDS, TASK_WORDS } from "./wgsl/task.ts";

/** Words of a usual row's sheet. */
export const DRAW_SCRATCH_WORDS = TASK_WORDS + PART_WORDS * GROUPS + 128;
/** Scores of a race closer than this may be the other way round. */
const CLEAR = 1e-4;
/** How far f32 may be off in a logit that is changed, relative to all numbers that go into it: a few roundings. */
const ROUNDING = 4.76837158203125e-7;
/** How far a sum over a row may be off, relative. */
const SUM_ERROR = 1e-5;
/** Above, f32 says little of a changed logit: rows with such changes are left to who can tell. */
const MOST_CHANGE = 1e4;
/** Below, 1 / T is nothing that f32 has. */
const LEAST_TEMPERATURE = 1e-30;

export class GpuDraws implements DrawKernels {
  readonly #host: SheetHost;

  constructor(target: Target, scratch: Scratch) {
    this.#host = new SheetHost(target, scratch);
  }

  async draw(x: Floats, vocab: number, tasks: readonly DrawTask[]): Promise<readonly (Drawn | null)[]> {
    const drawn: (Drawn | null)[] = tasks.map(() => null);
    const asked = [...tasks.keys()].filter((index) => isWithinReach(tasks[index]));
    if (asked.length === 0) return drawn;
    const sheet = new DrawSheet(
      asked.map((index) => ({ task: tasks[index], x: wordOf(x) + index * stride(vocab) })),
      vocab,
    );
    const put = this.#host.put(sheet);
    if (sheet.hasChanges) put.run("drawChange", [1]);
    put.run("drawLargest", [sheet.groups]);
    put.run("drawRace", [sheet.groups]);
    put.run("drawJoin", [1]);
    if (sheet.hasLists) put.run("drawList", [1]);
    if (sheet.hasChanges) put.run("drawRestore", [1]);
    const read = await put.read(sheet.results, sheet.length);
    for (const [i, { task }] of sheet.rows.entries()) {
      const result = sheet.resultOf(i, read);
      drawn[asked[i]] = task.list ? listOf(result, task) : tokenOf(result, task);
    }
    return drawn;
  }

  /** The `count` best of a row. */
  async top(x: Floats, vocab: number, count: number): Promise<Top> {
    const list = Math.min(count, vocab);
    if (list === 0) return { ids: new Uint32Array(0), logits: new Float32Array(0) };
    const task = { temperature: 1, seed: 0, position: 0, list };
    const sheet = new DrawSheet([{ task, x: wordOf(x) }], vocab);
    const put = this.#host.put(sheet);
    put.run("drawList", [1]);
    const { ids, logits } = listedIn(await put.read(sheet.results, sheet.length));
    const order = [...ids.keys()].sort((a, b) => logits[b] - logits[a] || ids[a] - ids[b]);
    return {
      ids: Uint32Array.from(order, (i) => ids[i]),
      logits: Float32Array.from(order, (i) => logits[i]),
    };
  }

  async scan(x: Floats, vocab: number, laws: readonly DrawTask[], task: ScanTask): Promise<Scanned | null> {
    const isPossible = laws.every((law) => law.temperature > 0 && isWithinReach(law));
    return isPossible ? await scan(this.#host, x, vocab, laws, task) : null;
  }
}

function isWithinReach(task: DrawTask): boolean {
  const { temperature } = task;
  return (temperature === 0 || temperature >= LEAST_TEMPERATURE) && largestChange(task) <= MOST_CHANGE;
}

/** The largest number that goes into a changed logit, beside the row's. */
function largestChange({ changes }: DrawTask): number {
  if (changes === undefined) return 0;
  let largest = 0;
  for (let i = 0; i < changes.tokens.length; i++) {
    const [before, penalty, after] = [
      changes.changes[3 * i],
      changes.changes[3 * i + 1],
      changes.changes[3 * i + 2],
    ];
    if (after === -Infinity) continue;
    largest = Math.max(largest, Math.abs(before) * Math.max(penalty, 1 / penalty) + Math.abs(after));
  }
  return largest;
}

/** How far a logit may be from what f64 makes of it, if it is one of those that can win. */
function slackOf(task: DrawTask, largest: number): number {
  return task.changes === undefined
    ? 0
    : ROUNDING * (Math.abs(largest) + largestChange(task) + 50 * task.temperature);
}

function tokenOf(result: ArrayBuffer, task: DrawTask): Drawn | null {
  const [token] = new Uint32Array(result);
  const [, best, next, logit, largest, second, sum] = new Float32Array(result);
  if (!Number.isFinite(largest)) return null;
  const slack = slackOf(task, largest);
  if (task.temperature === 0) {
    const isClear = task.changes === undefined || largest - second > slack;
    return isClear ? { token, logProbability: 0 } : null;
  }
  if (!(best - next > CLEAR + slack / task.temperature)) return null;
  return { token, logProbability: (logit - largest) / task.temperature - log(sum) };
}

function listOf(result: ArrayBuffer, task: DrawTask): Drawn | null {
  const [, largest, total] = new Float32Array(result);
  if (!Number.isFinite(largest)) return null;
  const { ids, logits } = listedIn(result);
  const bound = ids.length < task.list! ? -Infinity : boundOf(ids, logits, task, largest);
  const totalError = SUM_ERROR + (2 * slackOf(task, largest)) / task.temperature;
  return { ids, logits, bound, total, totalError };
}

/** What no other token is above: the least of the list, and what rounding may have done to it and to them. */
function boundOf(ids: Uint32Array, logits: Float32Array, task: DrawTask, largest: number): number {
  const { changes } = task;
  if (changes === undefined) return logits.reduce((least, logit) => Math.min(least, logit), Infinity);
  const numbers = new Map(Array.from(changes.tokens, (token, i) => [token, i]));
  let least = Infinity;
  for (const [i, id] of ids.entries()) {
    const number = numbers.get(id);
    least = Math.min(least, number === undefined ? logits[i] : changed(logits[i], changes, number));
  }
  return least + 2 * ROUNDING * (Math.max(Math.abs(largest), Math.abs(least)) + largestChange(task));
}

function listedIn(result: ArrayBuffer): { ids: Uint32Array; logits: Float32Array } {
  const words = new Uint32Array(result);
  const numbers = new Float32Array(result);
  const count = words[0];
  return {
    ids: Uint32Array.from({ length: count }, (_, i) => words[LIST_HEAD_WORDS + 2 * i]),
    logits: Float32Array.from({ length: count }, (_, i) => numbers[LIST_HEAD_WORDS + 2 * i + 1]),
  };
}
