/**
 * Does a whole model decode at native llama.cpp's speed on one core, and how far is wllama?
 *
 *   node --import ./bench/register.mjs bench/decode.ts [--types Q8_0,Q4_0] [--peers llama.cpp,wllama] [--json]
 *
 * Greedy, batch 1, after a prompt of 16 tokens.
 */
import { parseArgs } from "node:util";
import { loadModel } from "../src/node.ts";
import { type Candidate, measure, print } from "./harness.ts";
import { checkRows, llama135m, promptTokens, SHAPE, type WeightType } from "./llama-135m.ts";
import { Peer } from "./peer.ts";

const STEPS = 64;
/** wllama takes about 0.1 s per token. */
const WLLAMA_STEPS = 16;
const CONTEXT = 512;

const { values } = parseArgs({
  options: {
    types: { type: "string", default: "Q8_0,Q4_0" },
    peers: { type: "string", default: "llama.cpp,wllama" },
    json: { type: "boolean", default: false },
  },
});
const peers = values.peers.split(",");

for (const type of values.types.split(",") as WeightType[]) await compareDecode(type);

async function compareDecode(type: WeightType): Promise<void> {
  const path = await llama135m(type);
  const prompt = promptTokens(16);
  await using llama = await Peer.start("llama-cpp", [path, "--context", String(CONTEXT)]);
  await using wllama = peers.includes("wllama") ? await Peer.start("wllama", [path]) : null;
  const model = await loadModel(path);
  const session = model.open({ capacity: CONTEXT });
  const first = (await session.forward(prompt)).argmax(0);

  const candidates: Candidate[] = [
    {
      name: `llama.cpp ${llama.about.version}`,
      tokens: STEPS,
      run: () => llama.request("decode", { tokens: prompt, n: STEPS + 1 }),
    },
    {
      name: `edgewise ${model.build}`,
      tokens: STEPS,
      bytes: model.weightBytes * STEPS,
      check: () => checkRows(model, llama, prompt),
      async run() {
        session.truncate(prompt.length);
        let token = first;
        for (let step = 0; step < STEPS; step++) token = (await session.forward([token])).argmax(0);
        return undefined;
      },
    },
  ];
  if (wllama !== null) {
    candidates.push({
      name: `wllama ${wllama.about.version}`,
      tokens: WLLAMA_STEPS,
      run: () => wllama.request("decode", { text: "Once upon a time", n: WLLAMA_STEPS + 1 }),
    });
  }
  print(await measure(`decode, ${type}, 1 thread`, candidates, { shape: SHAPE }), values.json);
  session.close();
  model.close();
}
