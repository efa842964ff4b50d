/**
 * A model on WebGPU, beside the same model on Wasm, in Chromium, Node (Dawn) and Deno (wgpu), and the backend's own tests in
 * Deno, whose compiler of shaders is another. Over SwiftShader all.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { emulatedGpu } from "../support/gpu.ts";
import { launchChromium } from "./chromium.ts";
import { FOLDER, installRuntimes, RUNTIMES } from "./install.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const RUN_MS = 240_000;
const run = promisify(execFile);

/** What meets each kernel, and each way to lose a device. */
const DENO_TESTS = [
  "backend/webgpu-draw",
  "backend/webgpu-faults",
  "backend/webgpu-heads",
  "backend/webgpu-residuals",
  "backend/webgpu-variants",
  "decoding/fuse/webgpu",
  "engine/gpu-model",
];

interface Run {
  readonly backend: string;
  readonly fallback?: string;
  /** Kernels that were ready after the load, of all. */
  readonly compiled: number;
  readonly tokens: number[];
}

/** @param model Expression. @returns JavaScript that ends as the runs on a device, if there is one, and on Wasm. */
const scriptOf = (entry: string, model: string) => `(async () => {
  const { loadModel } = await import(${JSON.stringify(entry)});
  const url = ${JSON.stringify(model)};
  const results = [];
  for (const backend of ["auto", "wasm"]) {
    let compiled = 0;
    const onCompile = (ready, total) => (compiled = ready / total);
    const model = await loadModel(url, { backend, onCompile, contextLength: 128 });
    const tokens = [];
    for await (const { token } of model.generate("Once upon", { maxTokens: 4, temperature: 0 })) tokens.push(token);
    results.push({ backend: model.backend, fallback: model.fallback, compiled, tokens });
    model.close();
  }
  return results;
})()`;

it("decodes in Chromium on WebGPU, or says why not", { timeout: RUN_MS }, async ({ skip }) => {
  const missing = await installRuntimes();
  if (missing !== null) skip(missing);
  const bundles = await mkdtemp(join(tmpdir(), "edgewise-webgpu-"));
  try {
    const entryPoints = [join(ROOT, "src/web.ts")];
    await build({
      entryPoints,
      outdir: bundles,
      bundle: true,
      splitting: true,
      format: "esm",
      target: "es2022",
    });
    const script = scriptOf("/bundles/web.js", "/models/edgewise-stories-q4_0.gguf");
    await using chromium = await launchChromium({
      folders: { build: join(ROOT, "build"), models: join(ROOT, "models"), bundles },
      args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    });
    const [auto, wasm] = (await chromium.page.evaluate(script)) as Run[];
    expect(auto.tokens).toEqual(wasm.tokens);
    if (auto.backend !== "webgpu") skip(`${auto.fallback}`);
    expect(auto).toMatchObject({ backend: "webgpu", compiled: 1 });
  } finally {
    await rm(bundles, { recursive: true });
  }
});

it.for([
  { name: "Node, with the package webgpu", command: [process.execPath], packages: ["webgpu"] },
  {
    name: "Node, without it",
    command: [process.execPath],
    packages: [],
    fallback: /package webgpu is not installed$/,
  },
  { name: "Deno", command: [...RUNTIMES.Deno, "--unstable-webgpu"], packages: [] },
])(
  "decodes in $name",
  { timeout: RUN_MS },
  async ({ command: [file, ...args], packages, fallback }, { skip }) => {
    const missing = await installRuntimes();
    if (missing !== null) skip(missing);
    const folder = await mkdtemp(join(tmpdir(), "edgewise-webgpu-"));
    try {
      await mkdir(join(folder, "node_modules"));
      for (const name of packages)
        await symlink(join(FOLDER, "node_modules", name), join(folder, "node_modules", name));
      await symlink(join(ROOT, "build"), join(folder, "build"));
      const entry = join(folder, "dist/node.mjs");
      await build({
        entryPoints: [join(ROOT, "src/node.ts")],
        outfile: entry,
        bundle: true,
        format: "esm",
        platform: "node",
        target: "es2022",
      });
      const script = scriptOf(entry, join(ROOT, "models/edgewise-stories-q4_0.gguf"));
      const main = join(folder, "main.mjs");
      await writeFile(main, `console.log(JSON.stringify(await ${script}));`);
      // Who holds a device for good would not end by itself.
      const { stdout } = await run(file, [...args, main], { env: await emulatedGpu(), timeout: RUN_MS });
      const [auto, wasm] = JSON.parse(stdout) as Run[];
      expect(auto.tokens).toEqual(wasm.tokens);
      if (fallback !== undefined) expect(auto.fallback).toMatch(fallback);
      else expect(auto).toMatchObject({ backend: "webgpu", compiled: 1 });
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

it("passes its tests in Deno", { timeout: 2 * RUN_MS }, async ({ skip }) => {
  const missing = await installRuntimes();
  if (missing !== null) skip(missing);
  const [deno, ...args] = RUNTIMES.Deno;
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
  const files = DENO_TESTS.map((name) => `test/${name}.test.ts`);
  const { VITEST: _, ...env } = await emulatedGpu();
  const command = [
    ...args,
    "--unstable-webgpu",
    vitest,
    "run",
    "--reporter=json",
    "--maxWorkers=1",
    ...files,
  ];
  const { stdout } = await run(deno, command, { cwd: ROOT, env, timeout: 2 * RUN_MS, maxBuffer: 1 << 26 });
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(
    stdout.slice(stdout.indexOf("{")),
  );
  console.info(`WebGPU in Deno: ${numPassedTests} tests passed, ${numPendingTests} skipped`);
  expect(numFailedTests).toBe(0);
  // A file that skips all of it has found no adapter.
  expect(testResults).toHaveLength(files.length);
  for (const { name, assertionResults } of testResults) {
    const passed = assertionResults.filter(({ status }: { status: string }) => status === "passed");
    expect(passed.length, name).toBeGreaterThan(0);
  }
});

it("is no part of the worker", async () => {
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, "src/service/worker.ts")],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    external: ["*.wasm", "*.gguf"],
  });
  expect(outputFiles[0].text).toContain("loadModel");
  expect(outputFiles[0].text).not.toMatch(/workgroup_size|createComputePipeline/);
});
