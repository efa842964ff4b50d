/**
 * draw: DrawKernels on the device: tokens of several rows in one go, with 32 bytes read back for each, or 8 per token of a
 * list.
 *
 * Nothing that rounding in f32 might decide is told. That is hardly ever: two scores of a race are closer than CLEAR once in
 * some ten thousand draws, and cuts in doubt once in some thousand, of flat rows more often. Then the list that the cuts are
 * made in is read, as long as the device says that it must be.
 */
import { log } from "../../math.ts";
import { type Floats, stride, type Top } from "../backend.ts";
import {
  type Cut,
  type DrawKernels,
  type Drawn,
  type DrawTask,
  LIST_HEAD_WORDS,
  LIST_ROOM,
  LONGEST_LIST,
  MOST_CUTS,
  type Scanned,
  type ScanTask,
} from "../draw-kernels.ts";
import { changed } from "../reference/draw.ts";
import { changeError, DrawSheet } from "./draw-sheet.ts";
import { wordOf } from "./floats.ts";
import type { Target } from "./recorder.ts";
import type { Scratch } from "./region.ts";
import { scan } from "./scan.ts";
import { runTasks, SheetHost } from "./sheet-host.ts";
import { restError } from "./sum-error.ts";
import { GROUPS } from "./wgsl/row.ts";
import { LISTED, PART_WORDS, TASK_WORDS } from "./wgsl/task.ts";

/** Words of a usual row's sheet. */
export const DRAW_SCRATCH_WORDS = TASK_WORDS + PART_WORDS * GROUPS + 128;
/** Scores of a race closer than this may be the other way round. */
const CLEAR = 1e-4;
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
    const answers = await this.#ask(x, vocab, tasks);
    const lists = tasks.map((task, index) => listTask(task, answers[index], vocab));
    const listed = lists.some((task) => task !== null) ? await this.#ask(x, vocab, lists) : [];
    return answers.map((answer, index) => drawnIn(answer) ?? drawnIn(listed[index]));
  }

  /** One read. Of rows without a task nothing is told. */
  async #ask(x: Floats, vocab: number, tasks: readonly (DrawTask | null)[]): Promise<readonly Answer[]> {
    const rows = tasks.flatMap((asked, index) => {
      const task = asked && withoutIdleCuts(asked);
      const isAsked = task !== null && isWithinReach(task, vocab);
      return isAsked ? [{ index, task, x: wordOf(x) + index * stride(vocab) }] : [];
    });
    const answers: Answer[] = tasks.map(() => ({ drawn: null }));
    if (rows.length === 0) return answers;
    const sheet = new DrawSheet(rows, vocab);
    const put = this.#host.put(sheet);
    runTasks(put, sheet);
    const read = await put.read(sheet.results, sheet.length);
    for (const [i, { index, task }] of rows.entries())
      answers[index] = answerOf(sheet.resultOf(i, read), task, vocab);
    return answers;
  }

  /** The `count` best of a row. */
  async top(x: Floats, vocab: number, count: number): Promise<Top> {
    const list = Math.min(count, vocab);
    if (list === 0) return { ids: new Uint32Array(0), logits: new Float32Array(0) };
    const task = { temperature: 0, seed: 0, position: 0, list };
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
    const isPossible = laws.every((law) => law.temperature > 0 && isWithinReach(law, vocab));
    return isPossible ? await scan(this.#host, x, vocab, laws.map(withoutIdleCuts), task) : null;
  }
}

/** What was drawn; or that cuts are in doubt, and how many tokens the first leaves, 0 if that is not known. */
type Answer = { readonly drawn: Drawn | null } | { readonly doubtAfter: number };

function drawnIn(answer: Answer | undefined): Drawn | null {
  return answer !== undefined && "drawn" in answer ? answer.drawn : null;
}

/**
 * Where cuts are in doubt, the list that the first is made in; null where the row is shorter, in bytes. For top-p it is a long
 * one: the less is left for the rest, the less does it matter how far that may be off.
 */
function listTask(task: DrawTask, answer: Answer, vocab: number): DrawTask | null {
  if ("drawn" in answer || answer.doubtAfter === 0) return null;
  const { cuts, ...others } = withoutIdleCuts(task);
  const [first] = cuts!;
  const temperature = first.cut === "top-k" ? 1 : first.temperature;
  const least = answer.doubtAfter + LIST_ROOM;
  const most = Math.floor(vocab / 2);
  if (least > most) return null;
  const list = first.cut === "top-p" ? Math.min(most, Math.max(2 * least, LONGEST_LIST)) : least;
  return { ...others, temperature, list };
}

/** Without cuts that leave all tokens, or that make no difference as the best token is wanted. */
function withoutIdleCuts({ cuts = [], ...task }: DrawTask): DrawTask {
  const some = task.temperature === 0 ? [] : cuts.filter((cut) => !isIdle(cut));
  return some.length === 0 ? task : { ...task, cuts: some };
}

function isIdle(cut: Cut): boolean {
  return cut.cut !== "top-k" && cut.p === (cut.cut === "top-p" ? 1 : 0);
}

function isWithinReach({ temperature, changes, cuts = [] }: DrawTask, vocab: number): boolean {
  const isFew = cuts.length <= MOST_CUTS && cuts.every((cut) => isPossible(cut));
  const [first] = cuts;
  const isListed = first?.cut !== "top-k" || Math.min(vocab, first.k + LIST_ROOM) <= LISTED;
  return isFew && isListed && isUsual(temperature) && changeError(changes).change <= MOST_CHANGE;
}

function isPossible(cut: Cut): boolean {
  return cut.cut === "top-k" || (cut.temperature > 0 && isUsual(cut.temperature));
}

function isUsual(temperature: number): boolean {
  return temperature === 0 || temperature >= LEAST_TEMPERATURE;
}

/** How far a logit may be from what f64 makes of it, if it is one of those that can win. */
function slackOf({ changes, temperature }: DrawTask, largest: number): number {
  const { rounding, change } = changeError(changes);
  return rounding * (Math.abs(largest) + change + 50 * temperature);
}

function answerOf(result: ArrayBuffer, task: DrawTask, vocab: number): Answer {
  if (task.list) return { drawn: listOf(result, task, vocab) };
  const words = new Uint32Array(result);
  const [token] = words;
  const [, best, next, logit, largest, second, sum] = new Float32Array(result);
  if (!Number.isFinite(largest)) return { drawn: null };
  const slack = slackOf(task, largest);
  if (task.temperature === 0) {
    const isClear = slack === 0 || largest - second > slack;
    return { drawn: isClear ? { token, logProbability: 0 } : null };
  }
  const isClear = best - next > CLEAR + slack / task.temperature;
  if (task.cuts !== undefined && !(isClear && words[5] === 0)) return { doubtAfter: words[7] };
  if (!isClear) return { drawn: null };
  return { drawn: { token, logProbability: (logit - largest) / task.temperature - log(sum) } };
}

function listOf(result: ArrayBuffer, task: DrawTask, vocab: number): Drawn | null {
  const [, largest, rest] = new Float32Array(result);
  if (!Number.isFinite(largest)) return null;
  const { ids, logits } = listedIn(result);
  const bound = ids.length < task.list! ? -Infinity : boundOf(ids, logits, task, largest);
  const slack = slackOf(task, largest);
  const heated = slack === 0 ? 0 : (2 * slack) / task.temperature;
  return { ids, logits, bound, rest, restError: restError(rest, vocab) + heated };
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
  const { rounding, change } = changeError(changes);
  return least + 2 * rounding * (Math.max(Math.abs(largest), Math.abs(least)) + change);
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
