/**
 * What does it cost to make one row of several: linear fusion, a mixture, a step of Dynamic Logits Fusion?
 *
 *   node --import ./bench/register.mjs bench/fuse.ts [--builds simd,relaxed] [--quick] [--json]
 *
 * V = 131,072, one thread. Rows are where the heads leave them, in Wasm memory; calls take turns with nine sets of them,
 * which no first- or second-level cache holds. Bytes are those read and written: four rows for linear fusion of three,
 * three for a mixture of two. R reads as many. It reads them twice: from memory, as everywhere in these benchmarks, and
 * over the very rows that are fused, which is the stricter of the two. A step runs a plan from the rows to a row in the
 * backend's memory, the search for α included. The definition in f64, which is scalar JavaScript, does the same.
 */
import { parseArgs } from "node:util";
import type { RowKernels } from "../src/backend/fuse-kernels.ts";
import { referenceKernels } from "../src/backend/reference/fuse.ts";
import { Arena } from "../src/backend/wasm/arena.ts";
import { WasmFuseKernels } from "../src/backend/wasm/fuse.ts";
import { type Build, instantiate } from "../src/backend/wasm/instantiate.ts";
import { compilePlan, fusePreset, Step } from "../src/decoding/fuse.ts";
import { grouped, UnsupportedError } from "../src/errors.ts";
import { kernelModules } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, type Comparison, measure, speedOver } from "./harness.ts";
import { type Missing, print } from "./report.ts";
import { ROOFLINE, streamingRead } from "./roofline.ts";

const VOCAB = 131_072;
const ROW_BYTES = VOCAB * 4;
const SETS = 9;
const MAX_BYTES = 128 * 2 ** 20;
const NAMES = ["base", "expert", "anti"] as const;

const { values: options } = parseArgs({
  options: {
    builds: { type: "string", default: "simd,relaxed" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const missing: Missing[] = [];
const warmupMilliseconds = options.quick ? 100 : 500;

/** Logits as models give them: nearly normal, a few that stand out; the small ones a tuning apart. */
const random = createRandom(7);
const normals = (spread: number) => Float32Array.from({ length: VOCAB }, () => spread * random.normal());
const sets = Array.from({ length: SETS }, () => {
  const base = normals(2);
  for (let i = 0; i < 12; i++) base[random.below(VOCAB)] = 12 + random.normal() * 2;
  const anti = base.map((z) => 0.8 * z + 0.6 * random.normal());
  const expert = anti.map((z) => z + 0.5 * random.normal());
  return { base, expert, anti };
});

/** What is measured, over one set of rows; gives a few values of the result, to be compared. */
interface Work {
  readonly name: string;
  readonly bytes: number;
  run(set: number): ArrayLike<number>;
}

function workOf<R>(
  kernels: RowKernels<R>,
  rows: (set: number) => Record<(typeof NAMES)[number], ArrayLike<number>>,
  out: () => Float32Array | undefined,
): Work[] {
  const program = compilePlan(fusePreset("dlf"));
  const taken = sets.map((_, set) => NAMES.map((name) => kernels.take(rows(set)[name], VOCAB, name)));
  const keep = (row: R) => {
    const values = kernels.read(row);
    kernels.free(row);
    return values;
  };
  return [
    {
      name: "linear, 3 rows",
      bytes: 4 * ROW_BYTES,
      run: (set) =>
        keep(
          kernels.lin(
            VOCAB,
            [1, 0.7, -0.7].map((scale, i) => ({ row: taken[set][i], scale, offset: 0 })),
            [],
          ),
        ),
    },
    {
      name: "mixture, 2 rows",
      bytes: 3 * ROW_BYTES,
      run: (set) =>
        keep(
          kernels.mix(
            VOCAB,
            [-3, -4].map((offset, i) => ({ row: taken[set][i], scale: 1, offset })),
          ),
        ),
    },
    {
      name: "dlf step, 21 points",
      bytes: 4 * ROW_BYTES,
      run(set) {
        const step = new Step(program, kernels);
        step.provide(rows(set));
        return step.finish(out()).row;
      },
    },
  ];
}

const definition = workOf(
  referenceKernels,
  (set) => sets[set],
  () => undefined,
);
const modules = await kernelModules();
const works = new Map<string, Work>();
const streams = new Map<string, Candidate[]>();
for (const build of options.builds.split(",") as Build[]) {
  const opened = await ifSupported(build, missing, () => {
    const module = modules[build];
    if (module === undefined) throw new UnsupportedError("This engine has no relaxed SIMD");
    return open(module, build);
  });
  for (const work of opened ?? []) works.set(`${build}, ${work.name}`, work);
}

/** All sets in the memory of one instance, as the backend would have them. */
function open(module: WebAssembly.Module, build: Build): Work[] {
  const exports = instantiate(module, build);
  const arena = new Arena(exports.memory, exports.heap_base(), MAX_BYTES);
  arena.reserve(64 * 2 ** 20);
  const view = (address: number) => new Float32Array(exports.memory.buffer, address, VOCAB);
  const placed = sets.map((set) => {
    // One after the other, so that the streaming read can go over them in a straight line.
    const address = arena.allocate(4 * ROW_BYTES);
    NAMES.forEach((name, i) => {
      view(address + i * ROW_BYTES).set(set[name]);
    });
    return address;
  });
  const rows = (set: number) => {
    const [base, expert, anti] = NAMES.map((_, i) => view(placed[set] + i * ROW_BYTES));
    return { base, expert, anti };
  };
  const out = arena.allocate(ROW_BYTES);
  const works = workOf(new WasmFuseKernels(exports, arena), rows, () => view(out));
  for (const { bytes } of works) {
    let call = 0;
    const name = `${build}, streaming read of them`;
    streams.set(`${build} ${bytes}`, [
      { name, bytes, run: () => void exports.stream_read(placed[call++ % SETS], bytes) },
    ]);
  }
  return works;
}

for (const [index, { name, bytes, run }] of definition.entries()) {
  let call = 0;
  const scalar = `scalar JavaScript, ${name}`;
  const candidates: Candidate[] = [
    await streamingRead(bytes),
    { name: scalar, bytes, run: () => void run(call++ % SETS) },
  ];
  for (const build of options.builds.split(",")) {
    const work = works.get(`${build}, ${name}`);
    if (work === undefined) continue;
    candidates.push(...streams.get(`${build} ${bytes}`)!, {
      name: `${build}, ${name}`,
      bytes,
      check() {
        for (let set = 0; set < SETS; set++) expectClose(work.run(set), definition[index].run(set));
      },
      run: () => void work.run(call++ % SETS),
    });
  }
  const comparisons: Comparison[] = [
    speedOver(ROOFLINE, "GB/s / R"),
    {
      title: "/ read of them",
      of: "speed",
      baseline: (candidate) =>
        works.has(candidate) ? `${candidate.split(",")[0]}, streaming read of them` : undefined,
    },
    speedOver(scalar, "speed / scalar"),
  ];
  const report = await measure(`${name}, 1 thread`, candidates, {
    shape: `V ${grouped(VOCAB)}; bytes read and written`,
    comparisons,
    missing,
    warmupMilliseconds,
  });
  print(report, options.json);
}

/** Of a row of f32, whose terms were rounded where the definition's were not. */
function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>): void {
  for (let id = 0; id < VOCAB; id++) {
    const allowed = 4e-6 * Math.max(1, Math.abs(expected[id]));
    if (Math.abs(got[id] - expected[id]) <= allowed) continue;
    throw new RangeError(`Logit ${id} must be ${expected[id]} within ${allowed}, is ${got[id]}`);
  }
}
