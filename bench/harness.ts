/**
 * Times candidates against a baseline so that the ratio survives a noisy machine: every round runs each candidate once
 * (A B C, A B C, ...), a ratio is taken within its round, and the median over rounds is reported.
 */
import { describeMachine, type Machine } from "./machine.ts";

/** What a peer in another process or page answers: the time by its own clock, without the way there and back. */
export interface Timed {
  readonly seconds: number;
}

export interface Candidate {
  readonly name: string;
  /** The work of one call. The call is timed from outside, unless it gives the time it took. */
  run(): undefined | Timed | Promise<Timed | undefined>;
  /** Throws if the result is wrong. Called before anything is timed: a wrong kernel has no speed. */
  check?(): void | Promise<void>;
  /** Bytes of weights one call reads, for GB/s (1e9). */
  readonly bytes?: number;
  /** Tokens one call processes, for tokens per second. */
  readonly tokens?: number;
}

export interface MeasureOptions {
  /** What a call works on, for example "151,936 x 896 Q8_0". */
  shape: string;
  /** Name of the candidate that the others are divided by. Default: the first. */
  baseline?: string;
  /** At least 9. Default 9. */
  rounds?: number;
  /** Calls are repeated within a round until it lasts this long, so that the clock's grain does not show. Default 20. */
  roundMilliseconds?: number;
  /** Engines compile hot code in steps; every candidate runs this long before the first round. Default 500. */
  warmupMilliseconds?: number;
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
  /** Median over rounds of this candidate's speed (bytes, tokens or calls per time) over the baseline's; above 1 is faster. */
  readonly ratio: number;
}

export interface Report {
  readonly question: string;
  readonly shape: string;
  readonly machine: Machine;
  readonly baseline: string;
  readonly rounds: number;
  readonly measurements: readonly Measurement[];
}

/**
 * Checks, warms up and times the candidates, interleaved.
 *
 *   const report = await measure("head matmul", [streamingRead(kernels), q8, q4], { shape: "151,936 x 896" });
 *   print(report);
 *
 * @throws Whatever a candidate's `check` throws.
 */
export async function measure(
  question: string,
  candidates: readonly Candidate[],
  options: MeasureOptions,
): Promise<Report> {
  const { shape, rounds = 9, roundMilliseconds = 20, warmupMilliseconds = 500 } = options;
  if (rounds < 9) throw new RangeError(`rounds must be at least 9, got ${rounds}`);
  const baseline = options.baseline ?? candidates[0].name;
  if (!candidates.some(({ name }) => name === baseline)) {
    throw new RangeError(`baseline must be a candidate's name, got "${baseline}"`);
  }

  for (const candidate of candidates) await candidate.check?.();
  const calls = new Map<Candidate, number>();
  for (const candidate of candidates) {
    calls.set(candidate, await warmUp(candidate, warmupMilliseconds, roundMilliseconds));
  }
  const times = new Map<string, number[]>(candidates.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const candidate of candidates) {
      const count = calls.get(candidate)!;
      times.get(candidate.name)!.push((await time(candidate, count)) / count);
    }
  }

  const work = commonWork(candidates);
  const base = candidates.find(({ name }) => name === baseline)!;
  const baseSpeeds = times.get(baseline)!.map((milliseconds) => work(base) / milliseconds);
  const measurements = candidates.map((candidate): Measurement => {
    const { name, bytes, tokens } = candidate;
    const own = times.get(name)!;
    const milliseconds = median(own);
    return {
      name,
      milliseconds,
      range: [Math.min(...own), Math.max(...own)],
      bytes,
      gigabytesPerSecond: bytes === undefined ? undefined : bytes / milliseconds / 1e6,
      tokensPerSecond: tokens === undefined ? undefined : (1000 * tokens) / milliseconds,
      ratio: median(own.map((elapsed, round) => work(candidate) / elapsed / baseSpeeds[round])),
    };
  });
  return { question, shape, machine: describeMachine(), baseline, rounds, measurements };
}

/** Prints a report as a table, or as one line of JSON where the command line says `--json`. */
export function print(report: Report, json = process.argv.includes("--json")): void {
  if (json) {
    console.log(JSON.stringify(report));
    return;
  }
  const { question, shape, machine, baseline, rounds, measurements } = report;
  console.log(`\n${question}: ${shape}`);
  console.log(
    `${machine.cpu}, ${machine.cores} cores, ${machine.runtime}; median of ${rounds} interleaved rounds`,
  );
  const column = (value: number | undefined, digits: number) =>
    value === undefined ? "" : value.toFixed(digits);
  const rows = measurements.map((measurement) => [
    measurement.name,
    column(measurement.milliseconds, 3),
    measurement.range.map((bound) => bound.toFixed(3)).join(" - "),
    measurement.bytes?.toLocaleString("en-US") ?? "",
    column(measurement.gigabytesPerSecond, 2),
    column(measurement.tokensPerSecond, 1),
    column(measurement.ratio, 3),
  ]);
  const head = ["", "ms", "range", "bytes", "GB/s", "tokens/s", `speed / ${baseline}`];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  for (const row of [head, ...rows]) {
    console.log(
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "),
    );
  }
}

/** What every Wasm build exports for the roofline R. */
export interface StreamReader {
  readonly memory: WebAssembly.Memory;
  /** Loads and xors `bytes` bytes from `pointer`, 16 at a time. */
  stream_read(pointer: number, bytes: number): unknown;
}

/**
 * The roofline R: how fast this engine reads memory in a straight line. Put it into the same `measure` as the kernels.
 *
 * @param pointer Start of memory that nobody else writes meanwhile.
 * @param bytes At least 256 MB, so that no cache holds it.
 */
export function streamingRead(kernels: StreamReader, pointer: number, bytes: number): Candidate {
  if (bytes < 256e6) throw new RangeError(`bytes must be at least 256,000,000, got ${bytes}`);
  if (pointer + bytes > kernels.memory.buffer.byteLength) {
    throw new RangeError(
      `Memory must hold ${pointer + bytes} bytes, has ${kernels.memory.buffer.byteLength}`,
    );
  }
  // Pages that were never written all map to one page of zeros, which would be read from the cache.
  new Uint32Array(kernels.memory.buffer, pointer, bytes >> 2).fill(0x9e3779b9);
  return { name: "streaming read", bytes, run: () => void kernels.stream_read(pointer, bytes) };
}

/** What a ratio compares: bytes if every candidate counts them, else tokens, else calls. */
function commonWork(candidates: readonly Candidate[]): (candidate: Candidate) => number {
  if (candidates.every(({ bytes }) => bytes !== undefined)) return ({ bytes }) => bytes!;
  if (candidates.every(({ tokens }) => tokens !== undefined)) return ({ tokens }) => tokens!;
  if (candidates.every(({ bytes, tokens }) => bytes === undefined && tokens === undefined)) return () => 1;
  throw new RangeError("candidates must all count bytes, or all count tokens, or none of both");
}

/** Runs the candidate until it is hot; gives the calls that fill a round. */
async function warmUp(
  candidate: Candidate,
  milliseconds: number,
  roundMilliseconds: number,
): Promise<number> {
  let elapsed = 0;
  let fastest = Number.POSITIVE_INFINITY;
  for (let calls = 0; calls < 3 || elapsed < milliseconds; calls++) {
    const call = await time(candidate, 1);
    elapsed += call;
    fastest = Math.min(fastest, call);
  }
  return Math.max(1, Math.ceil(roundMilliseconds / Math.max(fastest, 1e-3)));
}

/** Milliseconds of `count` calls. */
async function time(candidate: Candidate, count: number): Promise<number> {
  let told: number | null = null;
  const start = performance.now();
  for (let call = 0; call < count; call++) {
    const result = candidate.run();
    // Awaiting what is not a promise would add a turn of the event loop to every call.
    const timed = result instanceof Promise ? await result : result;
    if (timed !== undefined) told = (told ?? 0) + 1000 * timed.seconds;
  }
  return told ?? performance.now() - start;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
