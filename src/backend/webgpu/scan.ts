/**
 * scan: `DrawKernels.scan` on the device: 16 bytes read back, and 4 for each drafted token. Rows that tokens were drawn from
 * go there, which is quicker than rows that come back.
 */
import { MemoryError } from "../../errors.ts";
import { log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import { type Floats, stride } from "../backend.ts";
import type { DrawTask, Scanned, ScanTask } from "../draw-kernels.ts";
import { DrawSheet, type ScanPlace } from "./draw-sheet.ts";
import { wordOf } from "./floats.ts";
import { type PutSheet, runTasks, type SheetHost } from "./sheet-host.ts";
import { groupsOf } from "./wgsl/row.ts";
import { SCAN_HEAD_WORDS, scanWords } from "./wgsl/scan.ts";
import { NONE } from "./wgsl/task.ts";

/** Farther from 1 no row of probabilities is. */
const MASS_TOLERANCE = 1e-3;

export async function scan(
  host: SheetHost,
  x: Floats,
  vocab: number,
  laws: readonly DrawTask[],
  task: ScanTask,
): Promise<Scanned | null> {
  const { seed, start, rows } = task;
  const masses = rows?.map((row) => massOf(row.subarray(0, vocab)));
  // Who looks at the rows says what is wrong.
  if (masses?.some((mass) => !(Math.abs(mass - 1) <= MASS_TOLERANCE))) return null;
  const count = chainLength(task);
  const isBlock = task.verifier === "block" && rows !== undefined;
  const groups = groupsOf(vocab);
  const own = scanWords(count, groups);
  const rowWords = stride(vocab);
  const sheetOf = (qAt: number) => {
    const places = Array.from({ length: count + 1 }, (_, i): ScanPlace => {
      const token = task.tokens[i] ?? 0;
      const coin = down(uniform(seed, start, STAGE.accept, i + 1));
      if (rows === undefined || i === count) return { token, coin, q: NONE, qScale: 0, qToken: 1 };
      return {
        token,
        coin,
        q: qAt + i * rowWords,
        qScale: 1 / masses![i],
        qToken: rows[i][token] / masses![i],
      };
    });
    const drawRows = places.map((place, i) => ({ task: laws[i], x: wordOf(x) + i * rowWords, place }));
    return new DrawSheet(drawRows, vocab, own + (rows === undefined ? 0 : count * rowWords));
  };
  const sheet = sheetOf(sheetOf(0).extra + own);
  const put = putIfPossible(host, sheet);
  if (put === null) return null;
  if (rows !== undefined)
    for (let i = 0; i < count; i++)
      put.write(sheet.extra + own + i * rowWords, Float32Array.from(rows[i].subarray(0, vocab)));
  const params = {
    scan: put.origin + sheet.extra,
    tokens: count,
    isBlock: isBlock ? 1 : 0,
    u: down(uniform(seed, start, STAGE.residual, 0)),
  };
  runTasks(put, sheet, () => {
    put.run("scanWeights", [1, 1], params);
    if (isBlock && count > 0) put.run("scanMass", [groups, count], params);
    put.run("scanDecide", [1, 1], params);
    put.run("scanSums", [groups, 1], params);
    put.run("scanPick", [1, 1], params);
  });
  const read = await put.read(sheet.extra, sheet.extra + SCAN_HEAD_WORDS + count);
  const [accepted, token, , odd] = new Uint32Array(read);
  if (odd > 0) return null;
  const numbers = new Float32Array(read);
  const kept = numbers.subarray(SCAN_HEAD_WORDS, SCAN_HEAD_WORDS + accepted);
  return { accepted, token, logProbabilities: Float64Array.from([...kept, numbers[2]], log) };
}

/** Null where there is no room for all rows. */
function putIfPossible(host: SheetHost, sheet: DrawSheet): PutSheet | null {
  try {
    return host.put(sheet);
  } catch (error) {
    if (error instanceof MemoryError) return null;
    throw error;
  }
}

/** Tokens that can be kept: block verification ends before one that its own row gives no chance. */
function chainLength({ verifier, tokens, rows }: ScanTask): number {
  if (verifier === "token" || rows === undefined) return tokens.length;
  const end = rows.findIndex((row, i) => !(row[tokens[i]] > 0));
  return end < 0 ? tokens.length : end;
}

/** NaN if any value is negative or NaN. */
function massOf(row: Float32Array | Float64Array): number {
  let sum = 0;
  for (let id = 0; id < row.length; id++) sum += row[id] >= 0 ? row[id] : NaN;
  return sum;
}

/** A number below 1 in the 24 bits that f32 has: never 1. */
function down(u: number): number {
  return Math.floor(u * 16_777_216) / 16_777_216;
}
