/**
 * Does a whole model decode at native llama.cpp's speed on one core, and how far is wllama?
 *
 *   node --import ./bench/register.mjs bench/decode.ts [--types Q8_0,Q4_0] [--peers llama.cpp,wllama] [--quick] [--json]
 *
 * Greedy, batch 1, after a prompt of 16 tokens. A call goes from one token to the STEPS-th after it: forward pass, head
 * and argmax over V on every side.
 */
import { parseArgs } from "node:util";
import type { Model } from "../src/engine/model.ts";
import { type Candidate, measure, speedOver } from "./harness.ts";
import { llama135m, loadBuilds, promptTokens, SHAPE, Truth, type WeightType } from "./llama-135m.ts";
import { Peer } from "./peer.ts";
import { type Missing, print } from "./report.ts";
import { ROOFLINE, streamingRead } from "./roofline.ts";

const PROMPT = 16;
const CONTEXT = 512;

const { values: options } = parseArgs({
  options: {
    types: { type: "string", default: "Q8_0,Q4_0" },
    peers: { type: "string", default: "llama.cpp,wllama" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const peers = options.peers.split(",");
const STEPS = options.quick ? 16 : 64;
/** wllama takes about 0.1 s per token. */
const WLLAMA_STEPS = 16;

for (const type of options.types.split(",") as WeightType[]) await compareDecode(type);

async function compareDecode(type: WeightType): Promise<void> {
  const path = await llama135m(type);
  const missing: Missing[] = [];
  const context = ["--context", String(CONTEXT)];
  await using llama = peers.includes("llama.cpp")
    ? await Peer.startIfInstalled("llama-cpp", [path, ...context], missing)
    : null;
  await using wllama = peers.includes("wllama")
    ? await Peer.startIfInstalled("wllama", [path, ...context], missing)
    : null;
  const models = await loadBuilds(path, missing);
  const truth = await Truth.of(path, type);

  const candidates: Candidate[] = [];
  for (const model of models) candidates.push(await decoding(model, truth));
  if (llama !== null) {
    candidates.push({
      name: "llama.cpp",
      tokens: STEPS,
      check: () => truth.checkPeer(llama),
      run: () => llama.request("decode", { tokens: promptTokens(PROMPT), n: STEPS + 1 }),
    });
  }
  if (wllama !== null) {
    candidates.push({
      name: "wllama",
      tokens: WLLAMA_STEPS,
      run: () => wllama.request("decode", { text: "Once upon a time", n: WLLAMA_STEPS + 1 }),
    });
  }
  candidates.push(await streamingRead(models[0].weightBytes));
  const comparisons = [llama, wllama].flatMap((peer) => (peer === null ? [] : [speedOver(peer.about.peer)]));
  const report = await measure(`decode, ${type}, 1 thread`, candidates, {
    shape: SHAPE,
    comparisons: [...comparisons, speedOver(ROOFLINE, "GB/s / R")],
    missing,
    warmupMilliseconds: options.quick ? 100 : 500,
  });
  print({ ...report, peers: [llama, wllama].flatMap((peer) => peer?.facts() ?? []) }, options.json);
  for (const model of models) model.close();
}

async function decoding(model: Model, truth: Truth): Promise<Candidate> {
  const session = model.open({ capacity: CONTEXT });
  const first = (await session.forward(promptTokens(PROMPT))).argmax(0);
  return {
    name: `edgewise ${model.build}`,
    tokens: STEPS,
    bytes: model.weightBytes * STEPS,
    check: () => truth.check(model),
    async run() {
      session.truncate(PROMPT);
      let token = first;
      for (let step = 0; step < STEPS; step++) token = (await session.forward([token])).argmax(0);
      return undefined;
    },
  };
}
