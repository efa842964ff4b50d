/**
 * All benchmarks, one after the other, each in a process of its own: `npm run bench`.
 *
 *   npm run bench -- [--only head,decode] [--quick] [--json] [--node path]
 *
 * `--quick` does less of everything, to see that it runs; its numbers are not for a report. `--json` prints an object per
 * table. `--node` is the engine that the benchmarks run in. Default: this one or, where this one has no relaxed SIMD,
 * the Node 24 of test/runtimes if that is installed.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RUNTIMES } from "../test/runtimes/install.ts";

const BENCHES = [
  "head",
  "compressed-head",
  "screen",
  "certified",
  "decode",
  "prefill",
  "sample",
  "fuse",
  "fusion-nll",
  "wire",
  "speculation",
  "load",
  "start",
  "accuracy",
  "webgpu",
];
const REGISTER = new URL("./register.mjs", import.meta.url).href;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: BENCHES.join(",") },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    node: { type: "string" },
  },
});
const chosen = options.only.split(",");
for (const name of chosen) {
  if (!BENCHES.includes(name)) {
    throw new RangeError(`"--only" must name some of ${BENCHES.join(", ")}, got "${name}"`);
  }
}

const node = options.node ?? (await defaultNode());
const version = execFileSync(node, ["--version"], { encoding: "utf8" }).trim();
const why = node === process.execPath ? "" : ` (${node}, instead of ${process.version})`;
// Standard output has nothing but tables, or nothing but JSON.
console.error(`Benchmarks run in Node ${version}${why}`);
if (options.quick) console.error("Quick: shorter runs, numbers not for a report");

const failed: string[] = [];
for (const name of chosen) {
  if ((await runBench(name)) !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.error(`Failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}

/** Where this Node cannot run the relaxed build, one that can. */
async function defaultNode(): Promise<string> {
  const relaxed = await readFile(new URL("../build/relaxed.wasm", import.meta.url));
  if (WebAssembly.validate(relaxed)) return process.execPath;
  const [newer] = RUNTIMES["Node 24"];
  if (existsSync(newer)) return newer;
  console.error(
    `Node ${process.version} has no relaxed SIMD; npm install --prefix test/runtimes brings Node 24, which has`,
  );
  return process.execPath;
}

/** @returns Its exit code, 1 if it was killed. */
function runBench(name: string): Promise<number> {
  const script = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const flags = [...(options.quick ? ["--quick"] : []), ...(options.json ? ["--json"] : [])];
  const child = spawn(node, ["--import", REGISTER, script, ...flags], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}
