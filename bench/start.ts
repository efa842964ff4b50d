/**
 * How large is everything, and how long does it take until the first token?
 *
 *   node --import ./bench/register.mjs bench/start.ts [--quick] [--json]
 *
 * Sizes of the kernels and of what `wrangler deploy` uploads; time to instantiate the kernels and to load the embedded
 * model here; time to the first token of the worker in workerd, each time in a new process with a new isolate.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { type Build, instantiate } from "../src/backend/wasm/instantiate.ts";
import { loadModel } from "../src/node.ts";
import { dryRun, runWorker, type Upload } from "../test/worker/miniflare.ts";
import { median } from "./harness.ts";
import { describeMachine } from "./machine.ts";
import { printTable } from "./report.ts";

const EMBEDDED = fileURLToPath(new URL("../models/edgewise-stories-q8_0.gguf", import.meta.url));

interface Row {
  readonly what: string;
  readonly unit: "bytes" | "ms";
  /** The median, of times. */
  readonly value: number;
  readonly range?: readonly [number, number];
  /** What is aimed at, at most. */
  readonly limit?: number;
}

const { values: options } = parseArgs({
  options: { quick: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});
const samples = options.quick ? 9 : 21;

const rows: Row[] = [];
for (const build of ["simd", "relaxed"] as const) await measureKernels(build);
rows.push(timed("load the embedded model in this engine", await repeat(samples, loadEmbedded)));
const uploads = await dryRun();
addBundle(uploads);
await measureColdStart(uploads);
report();

async function measureKernels(build: Build): Promise<void> {
  const bytes = new Uint8Array(await readFile(new URL(`../build/${build}.wasm`, import.meta.url)));
  rows.push({ what: `${build}.wasm`, unit: "bytes", value: bytes.length, limit: 65_536 });
  rows.push({ what: `${build}.wasm, gzip`, unit: "bytes", value: gzipSync(bytes, { level: 9 }).length });
  if (!WebAssembly.validate(bytes)) return;
  const compile = await repeat(samples, async (sample) => {
    const fresh = withSection(bytes, sample);
    return clock(() => WebAssembly.compile(fresh));
  });
  rows.push(timed(`compile ${build}.wasm`, compile));
  const start = await repeat(samples, async (sample) => {
    const module = await WebAssembly.compile(withSection(bytes, samples + sample));
    return clock(() => instantiate(module, build));
  });
  rows.push(timed(`instantiate and probe ${build}.wasm`, start, 5));
}

/** The same module with a custom section, so that the engine has not compiled it before. */
function withSection(bytes: Uint8Array, id: number): Uint8Array<ArrayBuffer> {
  // Section 0, 4 bytes long: a name of 1 byte, then data.
  return Uint8Array.from([...bytes, 0, 4, 1, 0x69, id & 255, (id >> 8) & 255]);
}

async function loadEmbedded(): Promise<number> {
  const start = performance.now();
  const model = await loadModel(EMBEDDED);
  const elapsed = performance.now() - start;
  model.close();
  return elapsed;
}

function addBundle(uploads: readonly Upload[]): void {
  const sizes = uploads.map(({ name, bytes }) => ({ name, gzip: gzipSync(bytes, { level: 9 }).length }));
  for (const { name, gzip } of sizes) {
    rows.push({ what: `worker: ${name.replace(/^[0-9a-f]{40}-/, "")}, gzip`, unit: "bytes", value: gzip });
  }
  const total = sizes.reduce((sum, { gzip }) => sum + gzip, 0);
  rows.push({ what: "worker bundle with its model, gzip", unit: "bytes", value: total, limit: 3_000_000 });
}

/**
 * workerd makes the isolate before it listens, so a new process is timed twice: from start to listening, less the same of
 * a worker that gets the same bytes and looks at none of them (40 ms here for Miniflare to hand them over); and from the
 * first request to the first text. Their sum is the cold start.
 */
async function measureColdStart(uploads: readonly Upload[]): Promise<void> {
  const isolates: number[] = [];
  const requests: number[] = [];
  const sums: number[] = [];
  for (let sample = 0; sample < 9; sample++) {
    const idle = await startWorker(idleWorker(uploads));
    // The first fetch of a process loads the client.
    await (await fetch(idle.url)).text();
    await idle.worker.dispose();
    const cold = await startWorker(uploads);
    const request = await firstText(cold.url);
    await cold.worker.dispose();
    isolates.push(cold.milliseconds - idle.milliseconds);
    requests.push(request);
    sums.push(cold.milliseconds - idle.milliseconds + request);
  }
  rows.push(timed("workerd: isolate, over that of an idle worker", isolates));
  rows.push(timed("workerd: first request to first token", requests));
  rows.push(timed("workerd: both, cold start to first token", sums, 100));
}

function idleWorker(uploads: readonly Upload[]): Upload[] {
  const script = Buffer.from("export default { fetch() { return new Response('') } }");
  const unused = uploads.map(({ name, bytes }) => ({ name: name.replace(/\.js$/, ".txt"), bytes }));
  return [{ name: "idle.js", bytes: script }, ...unused];
}

async function startWorker(uploads: readonly Upload[]) {
  const start = performance.now();
  const worker = runWorker(uploads);
  const url = await worker.ready;
  return { worker, url, milliseconds: performance.now() - start };
}

/** Milliseconds until a stream of completions brings its first text. */
async function firstText(url: URL): Promise<number> {
  const body = JSON.stringify({ prompt: "Once upon a time", temperature: 0, max_tokens: 8, stream: true });
  const start = performance.now();
  const response = await fetch(new URL("/v1/completions", url), { method: "POST", body });
  let answer = "";
  let elapsed = Number.NaN;
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    answer += piece;
    if (Number.isNaN(elapsed) && /"text":"[^"]/.test(answer)) elapsed = performance.now() - start;
  }
  if (Number.isNaN(elapsed)) throw new Error(`The worker must answer with text, answered ${answer}`);
  return elapsed;
}

async function repeat(count: number, run: (sample: number) => Promise<number>): Promise<number[]> {
  const times: number[] = [];
  for (let sample = 0; sample < count; sample++) times.push(await run(sample));
  return times;
}

async function clock(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function timed(what: string, times: readonly number[], limit?: number): Row {
  return {
    what,
    unit: "ms",
    value: median(times),
    range: [Math.min(...times), Math.max(...times)],
    limit,
  };
}

function report(): void {
  const machine = describeMachine();
  if (options.json) {
    console.log(JSON.stringify({ question: "start", machine, rows }));
    return;
  }
  const show = (value: number | undefined, unit: Row["unit"]) =>
    value === undefined ? "" : unit === "ms" ? value.toFixed(2) : value.toLocaleString("en-US");
  console.log(`\nstart: sizes in bytes, times in milliseconds`);
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.runtime}; times are medians of at least 9`);
  printTable([
    ["", "unit", "value", "range", "limit"],
    ...rows.map(({ what, unit, value, range, limit }) => [
      what,
      unit,
      show(value, unit),
      range?.map((bound) => show(bound, unit)).join(" - ") ?? "",
      show(limit, unit),
    ]),
  ]);
}
