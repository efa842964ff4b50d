/** A model on WebGPU in a page: Chromium over SwiftShader, beside the same model on Wasm. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { launchChromium } from "./chromium.ts";
import { installRuntimes } from "./install.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const RUN_MS = 240_000;

/** Ends as the value of the page. */
const SCRIPT = `(async () => {
  const { loadModel } = await import("/bundles/web.js");
  const url = "/models/edgewise-stories-q4_0.gguf";
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
    await using chromium = await launchChromium({
      folders: { build: join(ROOT, "build"), models: join(ROOT, "models"), bundles },
      args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    });
    const [auto, wasm] = (await chromium.page.evaluate(SCRIPT)) as {
      backend: string;
      fallback?: string;
      compiled: number;
      tokens: number[];
    }[];
    expect(auto.tokens).toEqual(wasm.tokens);
    if (auto.backend !== "webgpu") skip(`${auto.fallback}`);
    expect(auto).toMatchObject({ backend: "webgpu", compiled: 1 });
  } finally {
    await rm(bundles, { recursive: true });
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
