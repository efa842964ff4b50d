/** What a measurement gives, and how it is shown. */
import type { Machine } from "./machine.ts";

/** What cannot be measured here, as a row of the table. */
export interface Missing {
  readonly name: string;
  /** Why, and what to do about it. */
  readonly reason: string;
}

export interface Measurement {
  readonly name: string;
  /** Median over rounds of one call. */
  readonly milliseconds: number;
  /** Fastest and slowest round. */
  readonly range: readonly [number, number];
  readonly bytes?: number;
  readonly gigabytesPerSecond?: number;
  readonly tokensPerSecond?: number;
  /** By title of the comparison: median over rounds of the ratio within a round. */
  readonly ratios: Readonly<Record<string, number>>;
}

export interface PeerFacts {
  readonly name: string;
  readonly version: string;
  /** Instruction sets in use. */
  readonly system?: string;
}

export interface Report {
  readonly question: string;
  readonly shape: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly comparisons: readonly string[];
  readonly measurements: readonly Measurement[];
  readonly missing: readonly Missing[];
  /** What the peers say about themselves. */
  readonly peers?: readonly PeerFacts[];
}

/** Prints a report as a table, or as one line of JSON. */
export function print(report: Report, json = false): void {
  if (json) {
    console.log(JSON.stringify(report));
    return;
  }
  const { question, shape, machine, rounds, comparisons, measurements, missing, peers = [] } = report;
  console.log(`\n${question}: ${shape}`);
  console.log(
    `${machine.cpu}, ${machine.cores} cores, ${machine.runtime}; median of ${rounds} interleaved rounds`,
  );
  const column = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? "";
  const rows = measurements.map((measurement) => [
    measurement.name,
    column(measurement.milliseconds, 3),
    measurement.range.map((bound) => bound.toFixed(3)).join(" - "),
    measurement.bytes?.toLocaleString("en-US") ?? "",
    column(measurement.gigabytesPerSecond, 2),
    column(measurement.tokensPerSecond, 1),
    ...comparisons.map((title) => column(measurement.ratios[title], 3)),
  ]);
  printTable([["", "ms", "range", "bytes", "GB/s", "tokens/s", ...comparisons], ...rows]);
  for (const { name, reason } of missing) console.log(`${name}: ${reason}`);
  for (const { name, version, system = "" } of peers) {
    const flags = [...system.matchAll(/(\w+) = 1/g)].map(([, flag]) => flag);
    console.log([`${name}: ${version}`, ...flags].join(" "));
  }
}

/** Rows of cells, the first column to the left and the others to the right; columns without any content are left out. */
export function printTable([head, ...rows]: readonly (readonly string[])[]): void {
  const filled = head.map((_, i) => i).filter((i) => rows.some((row) => row[i] !== ""));
  const widths = filled.map((i) => Math.max(...[head, ...rows].map((row) => row[i].length)));
  for (const row of [head, ...rows]) {
    const cells = filled.map((i, n) => (n === 0 ? row[i].padEnd(widths[n]) : row[i].padStart(widths[n])));
    console.log(cells.join("  ").trimEnd());
  }
}
