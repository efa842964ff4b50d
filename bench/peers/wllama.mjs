/**
 * wllama (llama.cpp compiled to WebAssembly) in headless Chromium as a peer process; the protocol of `llama-cpp.mjs`.
 *
 *   node --import ./bench/register.mjs bench/peers/wllama.mjs model.gguf [--threads 1] [--context 512]
 *
 * | request | answer |
 * |---|---|
 * | `{task: "decode", text, n}` | `{promptTokens, seconds, tokensPerSecond}` |
 * | `{task: "prefill", text}` | `{promptTokens, seconds, tokensPerSecond}` |
 *
 * A prompt is a text, because wllama takes no token ids; the answer says how many tokens it became.
 * Times are the ones llama.cpp's server code takes inside the module: messages between worker and page do not count
 * against it. One thread needs no cross-origin isolation, and the page has none.
 */
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { launchChromium } from "../../test/runtimes/chromium.ts";
import { serve } from "./json-lines.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { threads: { type: "string", default: "1" }, context: { type: "string", default: "512" } },
});
const [modelPath] = positionals;
if (modelPath === undefined) throw new TypeError("Model path is missing: wllama.mjs model.gguf");
const threads = Number(values.threads);
const context = Number(values.context);

const packageFolder = fileURLToPath(new URL("./node_modules/@wllama/wllama/", import.meta.url));
const chromium = await launchChromium({
  folders: { wllama: `${packageFolder}esm`, models: dirname(modelPath) },
  isolated: threads > 1,
});
const { page } = chromium;
page.on("console", (message) => process.stderr.write(`${message.text()}\n`));
page.on("pageerror", (error) => process.stderr.write(`${error}\n`));

const version = await page.evaluate(
  async ({ url, threads, context }) => {
    const { Wllama, LoggerWithoutDebug } = await import("/wllama/index.js");
    const wllama = new Wllama(
      { default: "/wllama/wasm/wllama.wasm" },
      { suppressNativeLog: true, logger: { ...LoggerWithoutDebug, log: () => {} } },
    );
    const model = await (await fetch(url)).blob();
    await wllama.loadModel([model], {
      n_ctx: context,
      n_batch: context,
      n_ubatch: context,
      n_threads: threads,
      n_gpu_layers: 0,
      n_parallel: 1,
    });
    // Greedy, to the last token, and without the cache of the request before. The bias makes it write one letter for
    // ever: wllama crashes when a model with random weights writes half a character.
    globalThis.complete = ({ text, n }) =>
      wllama.createCompletion({
        prompt: text,
        max_tokens: n,
        temperature: 0,
        top_k: 1,
        ignore_eos: true,
        logit_bias: [["e", 1000]],
        cache_prompt: false,
      });
    return Wllama.getLibllamaVersion();
  },
  { url: `/models/${basename(modelPath)}`, threads, context },
);

async function complete(text, n) {
  const { timings } = await page.evaluate((request) => globalThis.complete(request), { text, n });
  if (timings.predicted_n !== n)
    throw new RangeError(`wllama must write ${n} tokens, wrote ${timings.predicted_n}`);
  return timings;
}

async function decode({ text, n }) {
  const timings = await complete(text, n);
  // The first token falls out of the prompt's pass.
  const seconds = timings.predicted_ms / 1000;
  return { promptTokens: timings.prompt_n, seconds, tokensPerSecond: (n - 1) / seconds };
}

async function prefill({ text }) {
  const timings = await complete(text, 1);
  const seconds = timings.prompt_ms / 1000;
  return { promptTokens: timings.prompt_n, seconds, tokensPerSecond: timings.prompt_n / seconds };
}

await serve(
  { decode, prefill },
  { peer: "wllama", version, threads, engine: `Chromium ${chromium.version}` },
);
await chromium[Symbol.asyncDispose]();
