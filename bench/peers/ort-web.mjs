/**
 * ONNX Runtime Web's WebGPU provider as a peer process: the output head as MatMulNBits, and ours beside it in the same page
 * of headless Chromium; the protocol of `llama-cpp.mjs`.
 *
 *   node --import ./bench/register.mjs bench/peers/ort-web.mjs [--vocab 151936] [--hidden 896] [--software]
 *
 * | request | answer |
 * |---|---|
 * | `{task: "head", side, type, columns, calls}` | `{seconds}`: of the calls, results left on the device |
 *
 * side: "edgewise" or "ort-web"; type: "Q8_0" or "Q4_0". A head's results are checked when it is first asked for. With
 * `--software` the page has SwiftShader; else the machine's Vulkan, for which EDGEWISE_GPU must be set.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { launchChromium } from "../../test/runtimes/chromium.ts";
import { serve } from "./json-lines.mjs";

const { values } = parseArgs({
  options: {
    vocab: { type: "string", default: "151936" },
    hidden: { type: "string", default: "896" },
    software: { type: "boolean", default: false },
  },
});
const shape = { vocab: Number(values.vocab), hidden: Number(values.hidden) };

const bundles = await mkdtemp(join(tmpdir(), "edgewise-ort-web-"));
try {
  await build({
    entryPoints: [fileURLToPath(new URL("./ort-web-page.ts", import.meta.url))],
    outdir: bundles,
    bundle: true,
    format: "esm",
    target: "es2022",
  });
  const vulkan = ["--use-angle=vulkan", "--enable-features=Vulkan", "--ignore-gpu-blocklist"];
  const chromium = await launchChromium({
    folders: {
      page: bundles,
      ort: fileURLToPath(new URL("./node_modules/onnxruntime-web/dist", import.meta.url)),
    },
    args: ["--enable-unsafe-webgpu", ...(values.software ? ["--use-webgpu-adapter=swiftshader"] : vulkan)],
  });
  const { page } = chromium;
  page.on("console", (message) => process.stderr.write(`${message.text()}\n`));
  page.on("pageerror", (error) => process.stderr.write(`${error}\n`));
  const about = await page.evaluate(async (shape) => {
    const { Heads } = await import("/page/ort-web-page.js");
    globalThis.heads = await Heads.create(shape, "/ort/ort.webgpu.bundle.min.mjs");
    return globalThis.heads.about;
  }, shape);

  const head = async ({ side, type, columns, calls }) => {
    const seconds = await page.evaluate(
      ({ side, type, columns, calls }) => globalThis.heads.time(side, type, columns, calls),
      { side, type, columns, calls },
    );
    return { seconds };
  };
  await serve({ head }, { ...about, threads: 1, engine: `Chromium ${chromium.version}` });
  await chromium[Symbol.asyncDispose]();
} finally {
  await rm(bundles, { recursive: true });
}
