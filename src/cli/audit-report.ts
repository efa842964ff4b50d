/** How the rows of a text came about, in a few numbers: what `--audit` adds to the JSON of `generate`. */
import type { FuseAudit } from "../decoding/fuse.ts";

export interface AuditSummary {
  /** Rows that were fused. */
  rows: number;
  /** By source: rows that it went into, and its mean entropy there, in nats. */
  sources: Record<string, { rows: number; entropy: number }>;
  /** Mean of the result's. */
  entropy: number;
  /** By path in the plan: means of the weights. */
  weights: Record<string, number[]>;
  /** How often each row was taken. */
  routes: Record<string, number[]>;
  /** How often each expert was active, and the mean α. */
  matches: Record<string, { experts: number[]; alpha: number }>;
}

export function auditSummary(audits: readonly FuseAudit[]): AuditSummary {
  const names = [...new Set(audits.flatMap(({ sources }) => sources))];
  const entropyOf = (name: string) => audits.flatMap(({ entropies }) => entropies[name] ?? []);
  return {
    rows: audits.length,
    sources: Object.fromEntries(
      names.map((name) => [name, { rows: entropyOf(name).length, entropy: mean(entropyOf(name)) }]),
    ),
    entropy: mean(audits.map(({ entropy }) => entropy)),
    weights: byPath(
      audits.flatMap(({ weights }) => weights),
      (all) => columns(all.map(({ weights }) => weights)).map(mean),
    ),
    routes: byPath(
      audits.flatMap(({ routes }) => routes),
      (all) => counts(all.map(({ choice }) => choice)),
    ),
    matches: byPath(
      audits.flatMap(({ matches }) => matches),
      (all) => ({
        experts: counts(all.map(({ expert }) => expert)),
        alpha: mean(all.map(({ alpha }) => alpha)),
      }),
    ),
  };
}

function byPath<T extends { path: string }, R>(entries: readonly T[], summarize: (all: T[]) => R) {
  const paths = [...new Set(entries.map(({ path }) => path))];
  return Object.fromEntries(
    paths.map((path): [string, R] => [path, summarize(entries.filter((entry) => entry.path === path))]),
  );
}

function columns(rows: readonly (readonly number[])[]): number[][] {
  return rows[0].map((_, column) => rows.map((row) => row[column]));
}

function counts(choices: readonly number[]): number[] {
  return Array.from(
    { length: Math.max(...choices) + 1 },
    (_, index) => choices.filter((choice) => choice === index).length,
  );
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
