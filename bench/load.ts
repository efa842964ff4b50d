/**
 * What do many clients at once get of one core, and what does the HTTP service cost beside the bare engine?
 *
 *   node --import ./bench/register.mjs bench/load.ts [--streams 1,8,32,64] [--types Q8_0,Q4_0] [--quick] [--json]
 *
 * A server process with one model; this process is the clients, on the machine's other core. Prompts of 16 tokens, all
 * different, streamed, greedy. Per number of streams: the service, the bare engine in the same process, and llama.cpp
 * with one thread, all streams in one batch, without a service. Rounds are interleaved; medians over rounds, percentiles
 * over all tokens of a round. What the service costs is told twice: in tokens per second, and in the server's own seconds
 * of computing for a token, which other work on the machine disturbs less.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "./harness.ts";
import { llama135m, promptTokens, SHAPE, type WeightType } from "./llama-135m.ts";
import { describeMachine } from "./machine.ts";
import { Peer, type Stream } from "./peer.ts";
import { type Missing, printTable } from "./report.ts";

const { values: options } = parseArgs({
  options: {
    streams: { type: "string", default: "1,8,32,64" },
    types: { type: "string", default: "Q8_0,Q4_0" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const counts = options.streams.split(",").map(Number);
const types = options.types.split(",") as WeightType[];
const TOKENS = options.quick ? 16 : 64;
const ROUNDS = options.quick ? 3 : 9;
const PROMPT = 16;

/** What one round gave. */
interface Round {
  readonly requestsPerSecond: number;
  readonly tokensPerSecond: number;
  readonly first: readonly [p50: number, p99: number];
  readonly gap: readonly [p50: number, p99: number];
  /** Milliseconds of computing per token, of the server. */
  readonly cpuMs: number;
}

for (const type of types) await compare(type);

async function compare(type: WeightType): Promise<void> {
  const path = await llama135m(type);
  const missing: Missing[] = [];
  const most = Math.max(...counts);
  const args = [path, "--context", String(PROMPT + TOKENS), "--sequences", String(most)];
  await using peer = await Peer.startIfInstalled("llama-cpp", args, missing);
  const server = await startServer(path);
  const table = [
    ["", "streams", "requests/s", "tokens/s", "first p50", "p99 ms", "gap p50", "p99 ms", "of bare", "CPU"],
  ];
  for (const count of counts) {
    const prompts = Array.from({ length: count }, (_, i) =>
      promptTokens(PROMPT).map((token) => (token + 31 * i) % 50_000),
    );
    const candidates: [string, () => Promise<readonly Stream[]>][] = [
      ["edgewise, bare", () => bare(server.url, prompts)],
      ["edgewise, HTTP", () => overHttp(server.url, prompts)],
    ];
    if (peer !== null)
      candidates.push([
        "llama.cpp, bare",
        async () => (await peer.request("streams", { prompts, n: TOKENS })).streams,
      ]);
    const rounds = new Map<string, Round[]>(candidates.map(([name]) => [name, []]));
    for (const [, run] of candidates) check(await run(), count);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, run] of candidates) rounds.get(name)!.push(await time(run, count, server.url));
    }
    const base = rounds.get("edgewise, bare")!;
    for (const [name, all] of rounds) {
      const ratio = median(all.map(({ tokensPerSecond }, i) => tokensPerSecond / base[i].tokensPerSecond));
      const of = (value: (round: Round) => number, digits = 1) => median(all.map(value)).toFixed(digits);
      table.push([
        name,
        String(count),
        of((round) => round.requestsPerSecond, 2),
        of((round) => round.tokensPerSecond),
        of((round) => round.first[0]),
        of((round) => round.first[1]),
        of((round) => round.gap[0], 2),
        of((round) => round.gap[1], 2),
        ratio.toFixed(3),
        name.startsWith("edgewise")
          ? median(all.map(({ cpuMs }, i) => cpuMs / base[i].cpuMs)).toFixed(3)
          : "",
      ]);
    }
  }
  server.stop();
  const { cpu, cores, runtime } = describeMachine();
  const question = `load, 135M ${type}`;
  if (options.json) console.log(JSON.stringify({ question, table, missing }));
  else {
    console.log(`\n${question}: ${SHAPE}; ${PROMPT} prompt tokens, ${TOKENS} decoded`);
    console.log(`${cpu}, ${cores} cores, ${runtime}; median of ${ROUNDS} interleaved rounds`);
    printTable(table);
    for (const { name, reason } of missing) console.log(`${name}: ${reason}`);
  }
}

async function startServer(path: string): Promise<{ url: URL; stop(): void }> {
  const script = fileURLToPath(new URL("./load-server.ts", import.meta.url));
  const register = new URL("./register.mjs", import.meta.url).href;
  const child = spawn(process.execPath, ["--import", register, script, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout }))
    return { url: new URL(line), stop: () => child.stdin.end() };
  throw new Error("The server ended before it listened");
}

async function bare(url: URL, prompts: readonly (readonly number[])[]): Promise<readonly Stream[]> {
  const body = JSON.stringify({ prompts, n: TOKENS });
  const response = await fetch(new URL("/bare", url), { method: "POST", body });
  return (await response.json()) as Stream[];
}

/** As a client sees it: from the request on, event by event. */
async function overHttp(url: URL, prompts: readonly (readonly number[])[]): Promise<readonly Stream[]> {
  const started = performance.now();
  return await Promise.all(
    prompts.map(async (prompt) => {
      const body = { prompt, max_tokens: TOKENS, temperature: 0, ignore_eos: true, stream: true };
      const response = await fetch(new URL("/v1/completions", url), {
        method: "POST",
        body: JSON.stringify(body),
      });
      const times: number[] = [];
      const decoder = new TextDecoder();
      for await (const chunk of response.body!) {
        const events = decoder.decode(chunk, { stream: true }).match(/^data: \{/gm)?.length ?? 0;
        for (let i = 0; i < events; i++) times.push(performance.now());
      }
      return { firstMs: times[0] - started, gapsMs: times.slice(1).map((at, i) => at - times[i]) };
    }),
  );
}

/** @throws {RangeError} If streams or tokens are missing: a text may come in fewer events than tokens, never none. */
function check(streams: readonly Stream[], count: number): void {
  if (streams.length !== count || streams.some(({ firstMs }) => !(firstMs > 0)))
    throw new RangeError(`${count} streams must have begun, got ${streams.length}`);
}

async function time(run: () => Promise<readonly Stream[]>, count: number, server: URL): Promise<Round> {
  const computed = await cpuSeconds(server);
  const started = performance.now();
  const streams = await run();
  const seconds = (performance.now() - started) / 1000;
  const cpuMs = (1000 * ((await cpuSeconds(server)) - computed)) / (count * TOKENS);
  const gaps = streams.flatMap(({ gapsMs }) => gapsMs);
  const firsts = streams.map(({ firstMs }) => firstMs);
  return {
    requestsPerSecond: count / seconds,
    tokensPerSecond: (count * TOKENS) / seconds,
    first: [quantile(firsts, 0.5), quantile(firsts, 0.99)],
    gap: [quantile(gaps, 0.5), quantile(gaps, 0.99)],
    cpuMs,
  };
}

async function cpuSeconds(server: URL): Promise<number> {
  return (await (await fetch(new URL("/cpu", server))).json()) as number;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
