/** A request to fuse rows in the words of the library; what is wrong is found before anything is computed. */

import { passesOf } from "../decoding/fuse/explain.ts";
import { readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import {
  compilePlan,
  type FuseContext,
  type Program,
  planFingerprint,
  type Table,
} from "../decoding/fuse.ts";
import { nextTask } from "../decoding/next-task.ts";
import { apiError } from "./errors.ts";
import { checkedPaths, type Rename, rootOf } from "./path-errors.ts";
import { readBitmask, readPlace } from "./row-place.ts";
import { type GivenRow, MAX_ROWS, MAX_VOCAB, readRow, wrong } from "./rows.ts";
import type { FuseBody } from "./schemas/fuse.ts";

/** Tokens that operations over the vocabulary may read, and write, in one request: about a second, and 64 MiB. */
const MAX_READS = 1 << 25;
const MAX_WRITES = 1 << 23;

/** What paths of errors may begin with; they are spelled as in the body. */
const ROOTS = ["plan", "rows", "state", "step", "position", "seed", "last", "inputs", "tables", "bitmask"];

export interface FuseRequest {
  readonly program: Program;
  readonly fingerprint: string;
  readonly rows: Readonly<Record<string, GivenRow>>;
  readonly context: FuseContext & { readonly seed: number };
  readonly history: readonly number[];
  readonly promptLength: number;
  /** For errors of the library. */
  readonly rename: Rename;
}

/** @throws {HTTPException} 400 that names the path in the body. */
export async function readFuseRequest(body: FuseBody): Promise<FuseRequest> {
  const rename = renameFor(body.plan);
  const { program, fingerprint } = checkedPaths(rename, () => {
    const plan = readPlanOrPreset(body.plan);
    return { program: compilePlan(plan), fingerprint: planFingerprint(plan) };
  });
  const rows = await readRows(program, body.rows);
  expectAffordable(program, rows);
  const { history, promptLength, position, seed } = readPlace(body);
  const bitmask = readBitmask(body.bitmask);
  const last = body.last ?? history.at(-1);
  const context = {
    step: body.step ?? history.length - promptLength,
    position,
    seed,
    ...(last !== undefined && { last }),
    inputs: expectNames("inputs", body.inputs ?? {}, program.inputs) as Record<string, number[]>,
    tables: readTables(program, body.tables ?? {}),
    ...(bitmask !== undefined && { bitmask }),
    ...(body.state != null && { state: body.state as unknown as FuseContext["state"] }),
    audit: (body.return ?? ["audit"]).includes("audit"),
  };
  return { program, fingerprint, rows, context, history, promptLength, rename };
}

/** In a preset's plan, paths lead nowhere in the body. */
function renameFor(plan: object): Rename {
  const isPreset = Object.hasOwn(plan, "preset");
  return (path) => {
    if (!ROOTS.includes(rootOf(path))) return undefined;
    const isInside = /^plan\.(?!preset|options)/.test(path);
    return isPreset && isInside ? "plan" : path;
  };
}

async function readRows(program: Program, given: object): Promise<Record<string, GivenRow>> {
  const entries = Object.entries(expectNames("rows", given, namesOf(program)));
  if (entries.length > MAX_ROWS) {
    throw wrong("rows", `must have at most ${MAX_ROWS} rows, got ${entries.length}`);
  }
  const rows: Record<string, GivenRow> = {};
  for (const [name, row] of entries) {
    rows[name] = readRow(`rows.${name}`, row);
    await nextTask();
  }
  return rows;
}

function namesOf(program: Program): Record<string, unknown> {
  return Object.fromEntries(program.sources.map(({ name }) => [name, null]));
}

/** An object all of whose names the plan declares. */
function expectNames(param: string, given: object, declared: object): Readonly<Record<string, unknown>> {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(declared, name));
  if (unknown === undefined) return given as Record<string, unknown>;
  const names = Object.keys(declared).join(", ") || "no name, as the plan declares none";
  const path = `${param}.${unknown.slice(0, 64)}`;
  throw apiError(400, `"${path}" must be named as the plan has it: ${names}`, {
    param: path,
    code: "unknown_parameter",
  });
}

function readTables(program: Program, given: object): Record<string, Table> {
  const isGiven = Object.entries(program.tables).filter(([, { kind }]) => kind === "given");
  const tables = expectNames("tables", given, Object.fromEntries(isGiven)) as Record<string, Table>;
  for (const [name, table] of Object.entries(tables)) expectSmall(`tables.${name}`, table);
  for (const [name, table] of Object.entries(program.tables)) expectSmall(`plan.tables.${name}`, table);
  return tables;
}

/** Rows that a projection makes are as long as it says. */
function expectSmall(path: string, table: unknown): void {
  const vocab = (table as { vocab?: unknown } | null)?.vocab;
  if (typeof vocab !== "number" || vocab <= MAX_VOCAB) return;
  throw wrong(`${path}.vocab`, `must be at most ${MAX_VOCAB}, got ${vocab}`);
}

/** A plan may have a thousand operations, each over the whole vocabulary. */
function expectAffordable(program: Program, rows: Readonly<Record<string, GivenRow>>): void {
  const tables = Object.values(program.tables).map((table) => ("vocab" in table ? table.vocab : 0));
  const sizes = Object.values(rows).map((row) => ("ids" in row ? row.vocab : row.length));
  const vocab = Math.max(1, ...sizes, ...tables);
  const operations = passesOf(program).flatMap((pass) => pass.operations);
  const total = (count: (operation: (typeof operations)[number]) => number) =>
    operations.reduce((sum, operation) => sum + count(operation), 0) * vocab;
  const reads = total(({ bytesRead, exps }) => bytesRead / 4 + exps);
  const writes = total(({ bytesWritten }) => bytesWritten / 4);
  if (reads <= MAX_READS && writes <= MAX_WRITES) return;
  throw wrong(
    "plan",
    `must read at most ${MAX_READS} logits and write at most ${MAX_WRITES}, with rows of ${vocab} it reads ${reads} and writes ${writes}`,
  );
}
