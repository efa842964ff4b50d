/**
 * Times candidates against a baseline so that the ratio survives a noisy machine: every round runs each candidate once
 * (A B C, A B C, ...), a ratio is taken within its round, and the median over rounds is reported.
 */
import { describeMachine } from "./machine.ts";
import type { Measurement, Missing, Report } from "./report.ts";

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

/** A ratio that the report gives for every candidate that can be compared. */
export interface Comparison {
  /** Title of its column. */
  readonly title: string;
  /** Name of the candidate that `name` is divided by, or undefined for none. */
  baseline(name: string): string | undefined;
  /** "speed": bytes, tokens or calls per time, above 1 is faster. "time": of one call, above 1 is slower. */
  readonly of: "speed" | "time";
}

/** Everybody's speed over that of `name`. */
export function speedOver(name: string, title = `speed / ${name}`): Comparison {
  return { title, baseline: () => name, of: "speed" };
}

export interface MeasureOptions {
  /** What a call works on, for example "151,936 x 896 Q8_0". */
  shape: string;
  /** Default: speed over that of the first candidate. */
  comparisons?: readonly Comparison[];
  missing?: readonly Missing[];
  /** At least 9. Default 9. */
  rounds?: number;
  /** Calls are repeated within a round until it lasts this long, so that the clock's grain does not show. Default 20. */
  roundMilliseconds?: number;
  /** Engines compile hot code in steps; every candidate runs this long before the first round. Default 500. */
  warmupMilliseconds?: number;
}

/**
 * Checks, warms up and times the candidates, interleaved.
 *
 *   const report = await measure("head matmul", [await streamingRead(), q8, q4], { shape: "151,936 x 896" });
 *   print(report);
 *
 * @throws Whatever a candidate's `check` throws.
 */
export async function measure(
  question: string,
  candidates: readonly Candidate[],
  options: MeasureOptions,
): Promise<Report> {
  const { shape, rounds = 9, roundMilliseconds = 20, warmupMilliseconds = 500, missing = [] } = options;
  const { comparisons = [speedOver(candidates[0].name)] } = options;
  if (rounds < 9) throw new RangeError(`rounds must be at least 9, got ${rounds}`);

  for (const candidate of candidates) await candidate.check?.();
  const calls = new Map<Candidate, number>();
  for (const candidate of candidates) {
    calls.set(candidate, await warmUp(candidate, warmupMilliseconds, roundMilliseconds));
  }
  const times = new Map<Candidate, number[]>(candidates.map((candidate) => [candidate, []]));
  for (let round = 0; round < rounds; round++) {
    for (const candidate of candidates) {
      const count = calls.get(candidate)!;
      times.get(candidate)!.push((await time(candidate, count)) / count);
    }
  }

  const ratio = (candidate: Candidate, { baseline, of }: Comparison): number | undefined => {
    const base = candidates.find(({ name }) => name === baseline(candidate.name));
    if (base === undefined) return undefined;
    const work = of === "speed" ? relativeWork(candidate, base) : 1;
    if (work === undefined) return undefined;
    const own = times.get(candidate)!;
    return median(
      times
        .get(base)!
        .map((time, round) => (of === "speed" ? (work * time) / own[round] : own[round] / time)),
    );
  };
  const measurements = candidates.map((candidate): Measurement => {
    const { name, bytes, tokens } = candidate;
    const own = times.get(candidate)!;
    const milliseconds = median(own);
    const ratios = comparisons.map((comparison) => [comparison.title, ratio(candidate, comparison)] as const);
    return {
      name,
      milliseconds,
      range: [Math.min(...own), Math.max(...own)],
      bytes,
      gigabytesPerSecond: bytes === undefined ? undefined : bytes / milliseconds / 1e6,
      tokensPerSecond: tokens === undefined ? undefined : (1000 * tokens) / milliseconds,
      ratios: Object.fromEntries(ratios.filter((entry): entry is [string, number] => entry[1] !== undefined)),
    };
  });
  const titles = comparisons.map(({ title }) => title);
  return {
    question,
    shape,
    machine: describeMachine(),
    rounds,
    comparisons: titles,
    measurements,
    missing,
  };
}

/** Work of a call over work of a call of `base`: in tokens if both count them, else in bytes, else in calls. */
function relativeWork(candidate: Candidate, base: Candidate): number | undefined {
  if (candidate.tokens !== undefined && base.tokens !== undefined) return candidate.tokens / base.tokens;
  if (candidate.bytes !== undefined && base.bytes !== undefined) return candidate.bytes / base.bytes;
  const counts = [candidate.bytes, candidate.tokens, base.bytes, base.tokens];
  return counts.every((count) => count === undefined) ? 1 : undefined;
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

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
