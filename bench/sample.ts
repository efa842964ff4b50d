/**
 * What does a row cost once it is computed: the sampler chain, its normaliser, a round of verification?
 *
 *   node --import ./bench/register.mjs bench/sample.ts [--builds simd,relaxed] [--quick] [--json]
 *
 * V = 151,936, one thread. Rows are where the head leaves them, in Wasm memory; calls take turns with nine of them. The
 * chain is llama.cpp's (penalties over 64 tokens, top-k 40, top-p, min-p, temperature, draw). Draws from whole rows are what
 * OpenAI requests ask for by default, and with "top_p": 0.9; also at V = 32,000. A round verifies 8 drafted
 * tokens against 9 target rows and as many draft rows, all of them probabilities in Wasm memory; the definition in f64
 * does the same on the same rows.
 */
import { parseArgs } from "node:util";
import type { Backend, Floats } from "../src/backend/backend.ts";
import { referenceRowMath } from "../src/backend/reference/row-math.ts";
import type { Row, RowMath } from "../src/backend/row-math.ts";
import { createWasmBackend } from "../src/backend/wasm/index.ts";
import type { Build } from "../src/backend/wasm/instantiate.ts";
import {
  createPipeline,
  presetSteps,
  type SamplingContext,
  type SamplingKernels,
  type Step,
} from "../src/decoding/pipeline.ts";
import { seededRandom } from "../src/decoding/verify/random.ts";
import type { Verdict } from "../src/decoding/verify/types.ts";
import { verify } from "../src/decoding/verify/verify.ts";
import { grouped, UnsupportedError } from "../src/errors.ts";
import { kernelModules } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, type Comparison, measure, speedOver } from "./harness.ts";
import { type Missing, print } from "./report.ts";
import { ROOFLINE, streamingRead } from "./roofline.ts";

const VOCAB = 151_936;
const SMALL_VOCAB = 32_000;
const GAMMA = 8;
const ROW_BYTES = VOCAB * 4;
const MAX_BYTES = 256 * 2 ** 20;
/** How far the draft model's logits are from the target's, in standard deviations of a row. */
const DISAGREEMENT = 0.15;
const VERIFIERS = ["token", "block", "gumbel"] as const;

const { values: options } = parseArgs({
  options: {
    builds: { type: "string", default: "simd,relaxed" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const missing: Missing[] = [];
const warmupMilliseconds = options.quick ? 100 : 500;

/** Logits of the shape that language models give: nearly normal, with a few that stand out. */
const random = createRandom(7);
const targets = Array.from({ length: GAMMA + 1 }, () => {
  const row = Float32Array.from({ length: VOCAB }, () => 2 * random.normal());
  for (let i = 0; i < 12; i++) row[random.below(VOCAB)] = 12 + random.normal() * 2;
  return row;
});
const drafts = targets.map((row) => row.map((logit) => logit + DISAGREEMENT * random.normal()));

/** Drafts, drawn from the draft rows. */
const drafted = Array.from({ length: 20 }, () =>
  drafts
    .slice(0, GAMMA)
    .map((row) => referenceRowMath.draw(referenceRowMath.tempered(row, 0.8), random.uniform())),
);

const backends = new Map<Build, Backend>();
const modules = await kernelModules();
for (const build of options.builds.split(",") as Build[]) {
  const backend = await ifSupported(build, missing, () => {
    const module = modules[build];
    if (module === undefined) throw new UnsupportedError("This engine has no relaxed SIMD");
    return createWasmBackend(module, { build, maxBytes: MAX_BYTES });
  });
  if (backend !== null) backends.set(build, backend);
}

await compareRows();
for (const vocab of [VOCAB, SMALL_VOCAB]) await compareDraws(vocab);
await compareRounds();

/** The chain, and what it is made of. */
async function compareRows(): Promise<void> {
  const steps = presetSteps("llamacpp", {
    temperature: 0.8,
    topK: 40,
    topP: 0.95,
    minP: 0.05,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.1,
    presencePenalty: 0.1,
  });
  const history = Array.from({ length: 200 }, () => random.below(VOCAB));
  const context = (position: number): SamplingContext => ({
    history,
    promptLength: 100,
    position,
    seed: 11,
  });
  const pipeline = createPipeline(steps);
  let call = 0;
  const candidates: Candidate[] = [
    await streamingRead(ROW_BYTES),
    {
      name: "llama.cpp chain, no kernels",
      bytes: ROW_BYTES,
      run: () => void pipeline.sample(targets[call++ % targets.length], context(call)),
    },
  ];
  for (const [build, backend] of backends) {
    const rows = targets.map((row) => {
      const floats = backend.floats(VOCAB);
      backend.write(floats, row);
      return floats;
    });
    const own = createPipeline(steps);
    const sample = (index: number, position: number) => {
      const kernels = kernelsOf(backend, rows[index], VOCAB);
      return own.sample(backend.read(rows[index]) as Float32Array, { ...context(position), kernels });
    };
    candidates.push(
      {
        name: `${build}, llama.cpp chain`,
        bytes: ROW_BYTES,
        check() {
          for (let position = 0; position < 50; position++) {
            const index = position % rows.length;
            const { token } = sample(index, position);
            expectEqual("token", token, pipeline.sample(targets[index], context(position)).token);
          }
        },
        run: () => void sample(call++ % rows.length, call),
      },
      {
        name: `${build}, top 40`,
        bytes: ROW_BYTES,
        check() {
          for (const [index, row] of targets.entries()) {
            const { ids } = backend.top(rows[index], VOCAB, 40) as { ids: Uint32Array };
            expectEqual(
              "top 40",
              ids.join(),
              [...row.keys()]
                .sort((a, b) => row[b] - row[a] || a - b)
                .slice(0, 40)
                .join(),
            );
          }
        },
        run: () => void backend.top(rows[call++ % rows.length], VOCAB, 40),
      },
      {
        name: `${build}, log-sum-exp`,
        bytes: ROW_BYTES,
        check() {
          for (const [index, row] of targets.entries()) {
            const found = backend.logSumExp(rows[index], VOCAB) as number;
            const expected = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
            if (Math.abs(found - expected) <= 1e-6) continue;
            throw new RangeError(`log-sum-exp must be ${expected} within 1e-6, is ${found}`);
          }
        },
        run: () => void backend.logSumExp(rows[call++ % rows.length], VOCAB),
      },
    );
  }
  const report = await measure("a row of logits, 1 thread", candidates, {
    shape: `V ${grouped(VOCAB)}`,
    comparisons: [speedOver(ROOFLINE, "GB/s / R")],
    missing,
    warmupMilliseconds,
  });
  print(report, options.json);
}

/** Chains without top-k, which look at every token. */
async function compareDraws(vocab: number): Promise<void> {
  const bytes = vocab * 4;
  const chains: Record<string, readonly Step[]> = {
    "temperature 1": [],
    "top-p 0.9": [{ step: "top-p", p: 0.9 }],
  };
  const rows = targets.map((row) => row.slice(0, vocab));
  const candidates: Candidate[] = [await streamingRead(bytes)];
  const inBackends = [...backends].map(([build, backend]) => ({
    build,
    backend,
    held: rows.map((row) => {
      const floats = backend.floats(vocab);
      backend.write(floats, row);
      return floats;
    }),
  }));
  for (const [chain, steps] of Object.entries(chains)) {
    const pipeline = createPipeline(steps);
    const context = (position: number): SamplingContext => ({
      history: [],
      promptLength: 0,
      position,
      seed: 11,
    });
    let call = 0;
    candidates.push({
      name: `no kernels, ${chain}`,
      bytes,
      run: () => void pipeline.sample(rows[call++ % rows.length], context(call)),
    });
    for (const { build, backend, held } of inBackends) {
      const own = createPipeline(steps);
      const sample = (index: number, position: number) => {
        const kernels = kernelsOf(backend, held[index], vocab);
        return own.sample(backend.read(held[index]) as Float32Array, { ...context(position), kernels });
      };
      candidates.push({
        name: `${build}, ${chain}`,
        bytes,
        check() {
          for (let position = 0; position < 30; position++) {
            const index = position % rows.length;
            const { token, logProbability } = pipeline.sample(rows[index], context(position));
            const found = sample(index, position);
            expectEqual("token", found.token, token);
            expectEqual("log-probability", found.logProbability, logProbability);
          }
        },
        run: () => void sample(call++ % rows.length, call),
      });
    }
  }
  const comparisons: Comparison[] = [
    speedOver(ROOFLINE, "GB/s / R"),
    {
      title: "speed / no kernels",
      of: "speed",
      baseline: (name) => (name === ROOFLINE ? undefined : `no kernels, ${name.split(", ").at(-1)}`),
    },
  ];
  const report = await measure("a draw from a whole row, 1 thread", candidates, {
    shape: `V ${grouped(vocab)}`,
    comparisons,
    missing,
    warmupMilliseconds,
  });
  for (const { backend, held } of inBackends) for (const floats of held) backend.free(floats);
  print(report, options.json);
}

function kernelsOf(backend: Backend, row: Floats, vocab: number): SamplingKernels {
  return {
    best: (count) => backend.top(row, vocab, count) as ReturnType<SamplingKernels["best"]>,
    law: backend.lawKernels(row, vocab),
  };
}

/** Rounds of 8 drafted tokens. */
async function compareRounds(): Promise<void> {
  const bytes = 2 * (GAMMA + 1) * ROW_BYTES;
  const candidates: Candidate[] = [await streamingRead(bytes)];
  const played: { readonly name: string; readonly play: (seed: number) => Verdict }[] = [];
  for (const [build, backend] of backends) {
    const [p, q] = [targets, drafts].map((rows) => rows.map((row) => placed(backend, row)));
    // The definition works on copies of the same rows.
    const copies = [p, q].map((rows) => rows.map((row) => row().slice()));
    if (played.length === 0) {
      played.push(...rounds("f64 in TypeScript", referenceRowMath, copies[0].map(of), copies[1].map(of)));
    }
    played.push(...rounds(build, backend.rowMath(), p, q));
  }
  for (const [index, { name, play }] of played.entries()) {
    let seed = 0;
    candidates.push({
      name,
      bytes,
      check() {
        const definition = played[index % VERIFIERS.length];
        for (let i = 0; i < 20; i++) {
          expectEqual("verdict", JSON.stringify(play(i)), JSON.stringify(definition.play(i)));
        }
      },
      run: () => void play(seed++ % 100),
    });
  }
  const comparisons: Comparison[] = [
    speedOver(ROOFLINE, "GB/s / R"),
    {
      title: "speed / f64",
      of: "speed",
      baseline: (name) => (name === ROOFLINE ? undefined : `f64 in TypeScript, ${name.split(", ").at(-1)}`),
    },
  ];
  const report = await measure(`a round of ${GAMMA} drafted tokens, 1 thread`, candidates, {
    shape: `V ${grouped(VOCAB)}; rows of probabilities; bytes: those of all rows, of which a round reads some`,
    comparisons,
    missing,
    warmupMilliseconds,
  });
  print(report, options.json);
}

function rounds(name: string, math: RowMath, p: readonly (() => Row)[], q: readonly (() => Row)[]) {
  return VERIFIERS.map((verifier) => ({
    name: `${name}, ${verifier}`,
    play(seed: number): Verdict {
      const tokens = drafted[seed % drafted.length];
      return verify({
        rows: { count: GAMMA + 1, vocab: VOCAB, row: (index) => p[index]() },
        draft: { tokens, law: { rows: { count: GAMMA + 1, vocab: VOCAB, row: (index) => q[index]() } } },
        start: seed,
        random: seededRandom(seed),
        policy: { verifier },
        math,
      });
    },
  }));
}

/** A row of logits as probabilities in a backend's memory. */
function placed(backend: Backend, logits: Float32Array): () => Float32Array {
  const floats = backend.floats(VOCAB);
  backend.write(floats, Float32Array.from(referenceRowMath.tempered(logits, 0.8).values));
  return () => backend.read(floats) as Float32Array;
}

function of<T>(value: T): () => T {
  return () => value;
}

function expectEqual<T>(what: string, got: T, expected: T): void {
  if (got !== expected) throw new RangeError(`The ${what} must be ${expected}, is ${got}`);
}
