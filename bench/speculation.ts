/**
 * Does speculation give the speed that its cost model promises?
 *
 *   node --import ./bench/register.mjs bench/speculation.ts [--quick] [--json]
 *
 * A drafter that knows the text guesses each token right with a given chance, as llama.cpp's `--spec-synth-rates` does,
 * and the speed-up over plain decoding is compared with Leviathan's formula, over the costs of calls of 1 and gamma + 1
 * tokens that were measured in the same rounds. Then texts that are copied from their prompts, with the suffix automaton:
 * there the model's rows are computed and then made to say the text of the task.
 */
import { parseArgs } from "node:util";
import { bestDraftLength, expectedTokens } from "../src/decoding/drafter/expected-length.ts";
import type { Model } from "../src/engine/model.ts";
import { loadModel } from "../src/node.ts";
import { ifSupported } from "./builds.ts";
import { COPY_TASKS, copySpeed } from "./copy-tasks.ts";
import { type Candidate, measure, median } from "./harness.ts";
import { llama135m, SHAPE } from "./llama-135m.ts";
import { type Missing, print, printTable } from "./report.ts";
import { plainTokens, SyntheticDrafter, synthetic, tokenRun } from "./synthetic-drafter.ts";

const { values: options } = parseArgs({
  options: { quick: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});

const RATES = [0.6, 0.8, 0.9];
const MOST = 8;

const missing: Missing[] = [];
const embedded = new URL("../models/edgewise-stories-q8_0.gguf", import.meta.url);
const models: readonly (readonly [string, string, number, string | URL])[] = [
  ["embedded", "edgewise-stories Q8_0", 400, embedded],
  ["135M Q8_0", SHAPE, 160, await llama135m("Q8_0")],
  ["135M Q4_0", SHAPE, 160, await llama135m("Q4_0")],
];
for (const [name, shape, tokens, path] of models) {
  const model =
    (await ifSupported("relaxed", missing, () => loadModel(path, { build: "relaxed" }))) ??
    (await loadModel(path, { build: "simd" }));
  await compareRates(model, `${name}, ${model.build}`, shape, options.quick ? tokens / 4 : tokens);
  // The tasks take some 700 positions.
  if (model.contextLength >= 1024) await compareCopies(model, `${name}, ${model.build}`, shape);
  model.close();
}

async function compareRates(model: Model, name: string, shape: string, tokens: number): Promise<void> {
  const truth = await plainTokens(model, tokens);
  const costs = await columnCosts(model);
  const plan = RATES.map((rate) => ({
    rate,
    gamma: bestDraftLength(rate, { target: (n) => costs[n - 1], draft: () => 0 }, MOST - 1),
  }));
  const candidates: Candidate[] = [tokenRun("plain", model, truth), columns(model, 1)];
  for (const { rate, gamma } of plan) {
    const drafter = () => new SyntheticDrafter(truth, rate, model.vocab);
    candidates.push(tokenRun(label(rate, gamma), model, truth, () => synthetic(drafter(), gamma)));
    if (!candidates.some((one) => one.name === columnsName(gamma + 1)))
      candidates.push(columns(model, gamma + 1));
  }
  const report = await measure(`speculation with known acceptance, ${name}`, candidates, {
    shape: `${shape}; ${tokens} tokens after a prompt of 16`,
    missing,
    roundMilliseconds: 1,
    warmupMilliseconds: options.quick ? 50 : 300,
  });
  print(report, options.json);
  const ms = (wanted: string) => report.measurements.find((one) => one.name === wanted)!.milliseconds;
  const rows = plan.map(({ rate, gamma }) => {
    const predicted =
      (expectedTokens(rate, gamma) * ms(columnsName(1))) / Math.max(ms(columnsName(gamma + 1)), 1e-9);
    const measured = report.measurements.find((one) => one.name === label(rate, gamma))!.ratios[
      report.comparisons[0]
    ];
    return [
      rate.toFixed(1),
      String(gamma),
      predicted.toFixed(3),
      measured.toFixed(3),
      (measured / predicted).toFixed(3),
    ];
  });
  if (options.json) console.log(JSON.stringify({ question: `cost model, ${name}`, rows }));
  else
    printTable([["acceptance", "gamma", "predicted speed-up", "measured", "measured / predicted"], ...rows]);
}

async function compareCopies(model: Model, name: string, shape: string): Promise<void> {
  const rows: string[][] = [];
  for (const task of COPY_TASKS) {
    const rounds = await copySpeed(model, task, options.quick ? 3 : 9);
    const speedup = median(rounds.map(({ plain, drafted }) => plain / drafted));
    const { tokens, summary } = rounds[0];
    rows.push([
      task.name,
      String(tokens),
      summary.tokensPerCall.toFixed(2),
      summary.acceptanceRate.toFixed(2),
      speedup.toFixed(2),
    ]);
  }
  if (options.json) console.log(JSON.stringify({ question: `copies, ${name}`, rows }));
  else {
    console.log(`\ncopies with the suffix automaton, ${name}: ${shape}`);
    printTable([["", "tokens", "tokens per call", "acceptance", "speed-up"], ...rows]);
  }
}

function label(rate: number, gamma: number): string {
  return `acceptance ${rate.toFixed(1)}, gamma ${gamma}`;
}

function columnsName(count: number): string {
  return `call of ${count}`;
}

/** A target call of `count` tokens with all its rows. */
function columns(model: Model, count: number): Candidate {
  const session = model.open({ capacity: 128 });
  const tokens = Array.from({ length: count }, (_, i) => i + 5);
  const ready = session.forward(Array.from({ length: 64 }, (_, i) => i + 3));
  return {
    name: columnsName(count),
    async run() {
      await ready;
      const rows = await session.forward(tokens, count);
      for (let i = 0; i < count; i++) rows.argmax(i);
      session.truncate(64);
      return undefined;
    },
  };
}

/** Milliseconds of calls of 1 … MOST tokens, roughly: only to choose the draft length by. */
async function columnCosts(model: Model): Promise<number[]> {
  const costs: number[] = [];
  for (let count = 1; count <= MOST; count++) {
    const { run } = columns(model, count);
    await run();
    const times: number[] = [];
    for (let i = 0; i < 9; i++) {
      const start = performance.now();
      await run();
      times.push(performance.now() - start);
    }
    costs.push(median(times));
  }
  return costs;
}
