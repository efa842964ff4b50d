/**
 * `npm run build`: the kernels and the service's description to build/, the TypeScript to dist/; each only if something
 * changed since. With "wasm", "openapi" or "ts" as argument, only that one.
 *
 * npm builds more often than one thinks: after `npm install`, and again when `npx edgewise` links the checkout into
 * its cache, which may be while tests read the files.
 */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STAMPS = join(ROOT, "node_modules/.cache/edgewise");
const TOOLS = join(ROOT, "node_modules");

const steps = {
  wasm: {
    inputs: ["assembly", "asconfig.json", "package-lock.json"],
    outputs: ["build/simd.wasm", "build/relaxed.wasm"],
    run: async () => {
      await Promise.all(
        ["simd", "relaxed"].map((target) => node("assemblyscript/bin/asc.js", "--target", target)),
      );
    },
  },
  openapi: {
    inputs: ["src/service", "src/decoding", "scripts/openapi.mjs", "package.json"],
    outputs: ["build/openapi.js"],
    run: () => nodeScript(join(ROOT, "scripts/openapi.mjs")),
  },
  ts: {
    inputs: ["src", "tsconfig.json", "tsconfig.build.json", "package-lock.json"],
    outputs: ["dist/cli/main.js"],
    run: async () => {
      await node("typescript/bin/tsc", "-p", "tsconfig.build.json");
      // The command of the package; tsc writes it as it writes every file.
      chmodSync(join(ROOT, "dist/cli/main.js"), 0o755);
    },
  },
};

const asked = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(steps);
const results = await Promise.allSettled(asked.map((name) => build(name, steps[name])));
for (const { reason } of results.filter(({ status }) => status === "rejected")) {
  console.error(`Cannot build: ${reason.message}`);
  process.exitCode = 1;
}

/** The stamp's time is the start of the last run that succeeded; one that failed may leave outputs too. */
async function build(name, { inputs, outputs, run }) {
  const stamp = join(STAMPS, name);
  const isThere = [stamp, ...outputs.map((path) => join(ROOT, path))].every(existsSync);
  if (isThere && Math.max(...inputs.map(newest)) < statSync(stamp).mtimeMs) return;
  const started = new Date();
  await run();
  mkdirSync(STAMPS, { recursive: true });
  writeFileSync(stamp, "");
  utimesSync(stamp, started, started);
}

/** Milliseconds since 1970 of the last change to a file, or to anything in a folder. */
function newest(path) {
  const file = join(ROOT, path);
  const { mtimeMs } = statSync(file);
  if (!statSync(file).isDirectory()) return mtimeMs;
  return Math.max(mtimeMs, ...readdirSync(file).map((name) => newest(join(path, name))));
}

/** Runs a tool of node_modules. */
function node(script, ...args) {
  return nodeScript(join(TOOLS, script), ...args);
}

function nodeScript(script, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], { cwd: ROOT, stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${script} ended with code ${code}`));
    });
  });
}
