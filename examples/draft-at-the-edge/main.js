/**
 * node examples/draft-at-the-edge/main.js [prompt]
 *
 * Drafts with models/edgewise-draft-q8_0.gguf, has the server verify, and compares the text with the server's alone. Options:
 * --url http://127.0.0.1:8787 (see `npm start`), --key KEY, --draft FILE, --tokens 100, --temperature 0.8, --seed 1.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createPipeline, loadModel, presetSteps } from "edgewise";
import { draftAtTheEdge } from "./edge-client.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string", default: "http://127.0.0.1:8787" },
    key: { type: "string" },
    draft: {
      type: "string",
      default: fileURLToPath(new URL("../../models/edgewise-draft-q8_0.gguf", import.meta.url)),
    },
    tokens: { type: "string", default: "100" },
    temperature: { type: "string", default: "0.8" },
    seed: { type: "string", default: "1" },
  },
});
const { url, key } = values;
const prompt = positionals.join(" ") || "Once upon a time";
const seed = Number(values.seed);
const maxTokens = Number(values.tokens);
const steps = presetSteps("edgewise", { temperature: Number(values.temperature), topP: 0.95 });
const model = await loadModel(values.draft);

process.stdout.write(prompt);
const pieces = draftAtTheEdge({ url, key, model, tools: { createPipeline }, prompt, steps, seed, maxTokens });
let text = "";
let stats;
for (;;) {
  const { done, value } = await pieces.next();
  if (done) {
    stats = value;
    break;
  }
  text += value.text;
  process.stdout.write(value.text);
}

const response = await fetch(new URL("/v1/completions", url), {
  method: "POST",
  headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
  body: JSON.stringify({ prompt, pipeline: steps, seed, max_tokens: maxTokens }),
});
const alone = (await response.json()).choices?.[0]?.text;
const per = (bytes, count) => (count === 0 ? "no" : (bytes / count).toFixed(2));
console.log(`

${stats.tokens} tokens in ${stats.rounds} round trips; ${stats.accepted} of ${stats.drafted} drafted tokens stood
${per(stats.bytesUp, stats.drafted)} bytes up per drafted token, ${per(stats.bytesDown, stats.tokens)} bytes down per token of the text,
${per(stats.bytesUp + stats.bytesDown, stats.tokens)} in all per token of the text; HTTP's headers not counted
the server alone gives ${alone === text ? "the same text" : `another text: ${alone}`}`);
model.close();
if (alone !== text) process.exitCode = 1;
