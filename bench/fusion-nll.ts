/**
 * Does a fusion change the text the way its method promises?
 *
 *   node --import ./bench/register.mjs bench/fusion-nll.ts [--windows 16] [--quick] [--json]
 *
 * A target model and a small draft were trained on stories; the draft was tuned on tales, and so was, as an upper bound,
 * the target. What a fusion of target + tuned draft − draft makes of tales without touching the target, and what that costs
 * on stories, is the mean of −ln p of held-out tokens: windows of 256 tokens, every row of every fused source looked at.
 *
 * Methods that cut tokens give some no chance: those are left out of the mean, also of the target's that it is compared with,
 * and counted.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import {
  type FuseAudit,
  fuse,
  fusePreset,
  loadModel,
  type Model,
  type Plan,
  type Source,
} from "../src/node.ts";
import { printTable } from "./report.ts";

const { values: options } = parseArgs({
  options: {
    windows: { type: "string", default: "16" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const WINDOWS = options.quick ? 2 : Number(options.windows);
const LENGTH = 256;

const SHARED = new URL("../../shared/", import.meta.url);
const FILES = {
  target: "models/edgewise-stories-f16.gguf",
  draft: "models/edgewise-draft-f16.gguf",
  tuned: "models/edgewise-draft-tales-f16.gguf",
  bound: "models/edgewise-tales-f16.gguf",
};
const TEXTS = { stories: "corpus/held-out-stories.txt", tales: "corpus/held-out-tales.txt" };
type Domain = keyof typeof TEXTS;
const DOMAINS = Object.keys(TEXTS) as Domain[];

interface Score {
  /** Mean −ln p, in nats per token, of tokens that had a chance. */
  readonly nll: number;
  /** The same less that of the target. */
  readonly change: number;
  /** Share of tokens that had a chance. */
  readonly kept: number;
  /** Mean and deviation, of methods that have one. */
  readonly alpha?: readonly [mean: number, deviation: number];
}

const missing = [...Object.values(FILES), ...Object.values(TEXTS)].filter(
  (path) => !existsSync(new URL(path, SHARED)),
);
if (missing.length > 0) console.log(`fusion-nll: nothing to measure, ../shared has no ${missing.join(", ")}`);
else await compare();

async function compare(): Promise<void> {
  const load = (path: string) => loadModel(new URL(path, SHARED));
  const target = await load(FILES.target);
  const [draft, tuned, bound] = [await load(FILES.draft), await load(FILES.tuned), await load(FILES.bound)];
  const windows = await Promise.all(DOMAINS.map((domain) => windowsOf(target, TEXTS[domain])));
  const first: Losses[] = [];
  const scores: Record<string, Score[]> = {};
  for (const [name, source] of methods({ target, draft, tuned, bound })) {
    scores[name] = [];
    for (const domain of DOMAINS.keys()) {
      const losses = await lossesOf(source, windows[domain]);
      first[domain] ??= losses;
      scores[name].push(scoreOf(losses, first[domain]));
    }
  }
  for (const model of [target, draft, tuned, bound]) model.close();
  if (options.json) {
    console.log(JSON.stringify({ question: "fusion-nll", windows: WINDOWS, length: LENGTH, scores }));
    return;
  }
  console.log(
    `\nNLL in nats per token of held-out text, ${WINDOWS} windows of ${LENGTH} tokens per domain; beside it the change against the target, the tokens that have a chance where not all have, and α`,
  );
  const rows = Object.entries(scores).map(([name, all]) => [name, ...all.flatMap(cells)]);
  printTable([["", ...DOMAINS.flatMap((domain) => [domain, "change", "kept", "α"])], ...rows]);
}

function methods(models: Record<"target" | "draft" | "tuned" | "bound", Model>): readonly [string, Source][] {
  const { target, draft, tuned, bound } = models;
  const offset = { base: target, expert: tuned, anti: draft };
  const both = { a: target, b: tuned };
  const fused = (name: string, plan: Plan, sources: Record<string, Model>): [string, Source] => [
    name,
    fuse(plan, sources),
  ];
  return [
    ["target", target],
    ["draft", draft],
    ["draft tuned on tales", tuned],
    ["target tuned on tales (bound)", bound],
    fused("proxy tuning, α 1", fusePreset("proxy-tuning"), offset),
    fused("proxy tuning, α 0.5", fusePreset("proxy-tuning", { alpha: 0.5 }), offset),
    fused("Dynamic Logits Fusion, 21 points", fusePreset("dlf"), offset),
    fused("Dynamic Logits Fusion, continuous", fusePreset("dlf", { solver: "continuous" }), offset),
    fused("product, 1/2 each", fusePreset("product"), both),
    fused("mixture, 1/2 each", fusePreset("mixture"), both),
    fused("sampled mixture", fusePreset("sampled-mixture"), both),
    fused("memory decoder, λ 0.3", fusePreset("memory-decoder"), { base: target, memory: tuned }),
    fused("nudging, 0.3", fusePreset("nudging"), { base: target, tuned }),
    fused("contrastive, target − draft", fusePreset("contrastive"), { expert: target, amateur: draft }),
    fused("contrastive on logits", fusePreset("contrastive-logits"), { expert: target, amateur: draft }),
  ];
}

/** Evenly spread over the text. */
async function windowsOf({ tokenizer }: Model, path: string): Promise<number[][]> {
  const tokens = tokenizer.encode(await readFile(new URL(path, SHARED), "utf8"), { special: false });
  const whole = Math.floor(tokens.length / LENGTH);
  if (!(WINDOWS >= 1 && WINDOWS <= whole)) {
    throw new RangeError(`"--windows" must be from 1 to ${whole}, got ${WINDOWS}`);
  }
  return Array.from({ length: WINDOWS }, (_, i) => {
    const start = Math.floor((i * whole) / WINDOWS) * LENGTH;
    return tokens.slice(start, start + LENGTH);
  });
}

interface Losses {
  /** −ln p of each token; ∞ where it was cut. */
  readonly nlls: readonly number[];
  readonly alphas: readonly number[];
}

async function lossesOf(source: Source, windows: readonly (readonly number[])[]): Promise<Losses> {
  const nlls: number[] = [];
  const alphas: number[] = [];
  for (const window of windows) {
    const session = source.open({ audit: true });
    const count = window.length - 1;
    const rows = await session.forward(window.slice(0, count), count);
    for (let i = 0; i < count; i++) nlls.push(rows.logSumExp(i) - rows.row(i)[window[i + 1]]);
    alphas.push(...(session.audits?.() ?? []).flatMap(alphasOf));
    session.close();
  }
  return { nlls, alphas };
}

function scoreOf({ nlls, alphas }: Losses, target: Losses): Score {
  const kept = [...nlls.keys()].filter((token) => nlls[token] < Number.POSITIVE_INFINITY);
  const nll = mean(kept.map((token) => nlls[token]));
  return {
    nll,
    change: nll - mean(kept.map((token) => target.nlls[token])),
    kept: kept.length / nlls.length,
    ...(alphas.length > 0 && { alpha: spread(alphas) }),
  };
}

function cells({ nll, change, kept, alpha }: Score): string[] {
  return [
    nll.toFixed(3),
    change === 0 ? "" : `${change < 0 ? "" : "+"}${change.toFixed(3)}`,
    kept === 1 ? "" : `${(100 * kept).toFixed(1)} %`,
    alpha === undefined ? "" : `${alpha[0].toFixed(2)} ± ${alpha[1].toFixed(2)}`,
  ];
}

function alphasOf({ matches }: FuseAudit): number[] {
  return matches.map(({ alpha }) => alpha);
}

function spread(values: readonly number[]): [mean: number, deviation: number] {
  const center = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return [center, Math.sqrt(squares / Math.max(1, values.length - 1))];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
