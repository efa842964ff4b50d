/**
 * Does speculation give the speed that its cost model promises?
 *
 *   node --import ./bench/register.mjs bench/speculation.ts [--quick] [--json]
 *
 * A drafter that knows the text guesses each token right with a given chance, as llama.cpp's `--spec-synth-rates` does,
 * and the speed-up over plain decoding is compared with Leviathan's formula, with costs that were measured in the same
 * rounds: c(n) of a call of n tokens, and o of all that a token takes beside its call (sampling, the loop).
 *
 *     speed-up  =  E (c(1) + o) / (c(gamma + 1) + E o)        E: tokens per round
 *
 * Then texts that are copied from their prompts, with the suffix automaton: there the model's rows are computed and then
 * made to say the text of the task. Beside the speed-up stands what the same drafts would give at best.
 */
import { parseArgs } from "node:util";
import { bestDraftLength, expectedTokens } from "../src/decoding/drafter/expected-length.ts";
import type { Model } from "../src/engine/model.ts";
import { loadModel } from "../src/node.ts";
import { ifSupported } from "./builds.ts";
import { COPY_TASKS, copySpeed, hindsight } from "./copy-tasks.ts";
import { type Candidate, measure, median, speedOver } from "./harness.ts";
import { llama135m, SHAPE } from "./llama-135m.ts";
import { type Missing, print, printTable } from "./report.ts";
import { plainTokens, SyntheticDrafter, synthetic, tokenRun, typicalSeed } from "./synthetic-drafter.ts";

const { values: options } = parseArgs({
  options: { quick: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});

const RATES = [0.6, 0.8, 0.9];
/** Title of the column that compares calls. */
const ONE_CALL = "calls / call of 1";
/** Columns of the longest calls that are compared, and of those whose cost is measured: beyond it grows with them. */
const MOST = 8;
const MEASURED = 16;
/** Calls of one size in a row: one alone is a few milliseconds. */
const REPEATS = 8;
/** Positions that the copy tasks take. */
const COPY_CONTEXT = 1024;

const missing: Missing[] = [];
const embedded = new URL("../models/edgewise-stories-q8_0.gguf", import.meta.url);
const models: readonly (readonly [string, string, number, string | URL])[] = [
  ["embedded", "edgewise-stories Q8_0", 200, embedded],
  ["135M Q8_0", SHAPE, 160, await llama135m("Q8_0")],
  ["135M Q4_0", SHAPE, 160, await llama135m("Q4_0")],
];
for (const [name, shape, tokens, path] of models) {
  const model =
    (await ifSupported("relaxed", missing, () => loadModel(path, { build: "relaxed" }))) ??
    (await loadModel(path, { build: "simd" }));
  const full = `${name}, ${model.build}`;
  const costs = await columnCosts(model);
  await compareRates(model, full, shape, options.quick ? tokens / 4 : tokens, costs);
  if (model.contextLength >= COPY_CONTEXT) await compareCopies(model, full, shape, costs);
  else if (!options.json) console.log(`\ncopies, ${full}: left out, its context has ${model.contextLength}`);
  model.close();
}

async function compareRates(
  model: Model,
  name: string,
  shape: string,
  tokens: number,
  costs: readonly number[],
): Promise<void> {
  const truth = await plainTokens(model, tokens);
  const plan = RATES.map((rate) => ({
    rate,
    gamma: bestDraftLength(rate, { target: (n) => costs[n - 1], draft: () => 0 }, MOST - 1),
  }));
  const candidates: Candidate[] = [tokenRun("plain", model, truth), columns(model, 1)];
  for (const { rate, gamma } of plan) {
    const seed = typicalSeed(rate, gamma, tokens);
    const drafter = () => new SyntheticDrafter(truth, rate, model.vocab, seed);
    candidates.push(tokenRun(label(rate, gamma), model, truth, () => synthetic(drafter(), gamma)));
    if (!candidates.some((one) => one.name === columnsName(gamma + 1)))
      candidates.push(columns(model, gamma + 1));
  }
  const report = await measure(`speculation with known acceptance, ${name}`, candidates, {
    shape: `${shape}; ${tokens} tokens after a prompt of 16, timed from the first one on`,
    missing,
    comparisons: [speedOver("plain"), speedOver(columnsName(1), ONE_CALL)],
    roundMilliseconds: 1,
    warmupMilliseconds: options.quick ? 50 : 300,
  });
  print(report, options.json);
  const find = (wanted: string) => report.measurements.find(({ name }) => name === wanted)!;
  /** All in calls of one token. */
  const plain = find("plain").milliseconds / (tokens - 1) / find(columnsName(1)).milliseconds;
  const beside = Math.max(0, plain - 1);
  const rows = plan.map(({ rate, gamma }) => {
    const emitted = expectedTokens(rate, gamma);
    const call = 1 / find(columnsName(gamma + 1)).ratios[ONE_CALL];
    const predicted = (emitted * (1 + beside)) / (call + emitted * beside);
    const measured = find(label(rate, gamma)).ratios[report.comparisons[0]];
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

async function compareCopies(
  model: Model,
  name: string,
  shape: string,
  costs: readonly number[],
): Promise<void> {
  const cost = (n: number) => costs[n - 1] ?? (costs[MEASURED - 1] * n) / MEASURED;
  const rows: string[][] = [];
  for (const task of COPY_TASKS) {
    const rounds = await copySpeed(model, task, options.quick ? 3 : 9);
    const speedup = median(rounds.map(({ plain, drafted }) => plain / drafted));
    const { tokens, summary } = rounds[0];
    rows.push([
      task.name,
      String(tokens),
      String(summary.targetCalls),
      String(summary.drafted),
      String(summary.tested),
      String(summary.accepted),
      summary.tokensPerCall.toFixed(2),
      summary.acceptanceRate.toFixed(2),
      speedup.toFixed(2),
      hindsight(task, model.vocab, cost).toFixed(2),
    ]);
  }
  if (options.json) console.log(JSON.stringify({ question: `copies, ${name}`, rows }));
  else {
    console.log(`\ncopies with the suffix automaton, ${name}: ${shape}`);
    const counts = ["tokens", "calls", "drafted", "tested", "accepted", "tokens per call", "acceptance"];
    printTable([["", ...counts, "speed-up", "in hindsight"], ...rows]);
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
      const began = performance.now();
      for (let call = 0; call < REPEATS; call++) {
        const rows = await session.forward(tokens, count);
        for (let i = 0; i < count; i++) rows.argmax(i);
        session.truncate(64);
      }
      return { seconds: (performance.now() - began) / 1000 / REPEATS };
    },
  };
}

/** Milliseconds of calls of 1 … MEASURED tokens, roughly: to choose draft lengths by. */
async function columnCosts(model: Model): Promise<number[]> {
  const costs: number[] = [];
  for (let count = 1; count <= MEASURED; count++) {
    const { run } = columns(model, count);
    await run();
    const times: number[] = [];
    for (let i = 0; i < (options.quick ? 1 : 3); i++) times.push(1000 * (await run())!.seconds);
    costs.push(median(times));
  }
  return costs;
}
