/**
 * What do encodings of rows cost, in bytes and in probability, and how long do they take?
 *
 *   node --import ./bench/register.mjs bench/wire.ts [--builds simd,relaxed] [--rows 256] [--quick] [--json]
 *
 * Rows of the story model on held-out text, V = 8,192, and synthetic ones of V = 151,936: nearly normal logits, some that
 * stand out. Bytes are those of a row without the header of its message. Total variation is between the softmax of what goes
 * in and of what comes out, the mean and the most over the rows; "best kept" the share of rows whose likeliest token stays.
 * Codebooks are learned from other rows of the same kind. Times are of one call, by the kernels and, above them, by the
 * definition.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { createWasmBackend } from "../src/backend/wasm/index.ts";
import type { Build } from "../src/backend/wasm/instantiate.ts";
import { grouped, UnsupportedError } from "../src/errors.ts";
import {
  decodeRow,
  type EncodingSpec,
  encodeRow,
  plainWireKernels,
  trainCodebook,
  type WireKernels,
} from "../src/format/wire/index.ts";
import { kernelModules, loadModel } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, measure } from "./harness.ts";
import { type Missing, print, printTable } from "./report.ts";

const { values: options } = parseArgs({
  options: {
    builds: { type: "string", default: "simd,relaxed" },
    rows: { type: "string", default: "256" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const ROWS = options.quick ? 16 : Number(options.rows);
const SYNTHETIC_VOCAB = 151_936;
const SYNTHETIC_ROWS = options.quick ? 2 : 8;
/** Rows that codebooks are learned from. */
const TRAINING_ROWS = 8;

const SHARED = new URL("../../shared/", import.meta.url);
const MODEL = "models/edgewise-stories-q8_0.gguf";
const TEXT = "corpus/held-out-stories.txt";

interface Named {
  readonly name: string;
  readonly spec: EncodingSpec;
}

interface Accuracy {
  readonly name: string;
  readonly bytes: number;
  readonly mean: number;
  readonly most: number;
  readonly bestKept: number;
}

const SPECS: readonly Named[] = [
  { name: "f32", spec: "f32" },
  { name: "f16", spec: "f16" },
  { name: "int8", spec: "int8" },
  { name: "int4", spec: "int4" },
  ...[1024, 256, 64, 20, 8].map((count) => ({
    name: `top-${count}, f16`,
    spec: { encoding: "top-k", count } as const,
  })),
  { name: "top-64, f32", spec: { encoding: "top-k", count: 64, precision: "f32" } },
  { name: "lattice 1/10,000", spec: { encoding: "lattice", resolution: 10_000 } },
  { name: "lattice 1/1,000", spec: { encoding: "lattice", resolution: 1000 } },
  { name: "lattice 1/100 of the best 64", spec: { encoding: "lattice", resolution: 100, count: 64 } },
  { name: "ids, the best", spec: "ids" },
];

const kernels = createWasmBackend((await kernelModules()).simd).wireKernels();

const real = await storyRows();
if (real === null) console.log(`No rows of a model: ../shared has not ${MODEL} and ${TEXT}`);
else report("rows of the story model", real);
const synthetic = syntheticRows(SYNTHETIC_VOCAB, SYNTHETIC_ROWS + TRAINING_ROWS);
report("synthetic rows", synthetic);
await times(synthetic[0], codebookSpecs(synthetic.slice(0, TRAINING_ROWS)));

async function storyRows(): Promise<Float32Array[] | null> {
  if (![MODEL, TEXT].every((path) => existsSync(new URL(path, SHARED)))) return null;
  const model = await loadModel(new URL(MODEL, SHARED));
  const text = await readFile(new URL(TEXT, SHARED), "utf8");
  const tokens = model.tokenizer.encode(text.slice(0, 20_000)).slice(0, ROWS + TRAINING_ROWS);
  const length = 128;
  const rows: Float32Array[] = [];
  const session = model.open({ capacity: length });
  for (let at = 0; at < tokens.length; at += length) {
    const window = tokens.slice(at, at + length);
    session.truncate(0);
    const found = await session.forward(window, window.length);
    for (let i = 0; i < window.length; i++) rows.push(found.row(i).slice());
  }
  model.close();
  return rows;
}

function syntheticRows(vocab: number, count: number): Float32Array[] {
  const random = createRandom(11);
  return Array.from({ length: count }, () => {
    const row = Float32Array.from({ length: vocab }, () => 2 * random.normal());
    for (let i = 0; i < 40; i++) row[random.below(vocab)] = 10 + 3 * random.normal();
    return row;
  });
}

function codebookSpecs(rows: readonly Float32Array[]): Named[] {
  return [
    [1, 8],
    [2, 8],
    [4, 8],
    [2, 4],
  ].map(([stages, dim]) => {
    const codebook = trainCodebook(rows, { stages, dim, count: 256, rounds: options.quick ? 2 : 8 });
    const bits = (8 * stages) / dim;
    return { name: `vq ${stages} x 256, ${bits} bit a token`, spec: { encoding: "vq", codebook } as const };
  });
}

function report(what: string, all: readonly Float32Array[]): void {
  const rows = all.slice(TRAINING_ROWS);
  const [{ length: vocab }] = rows;
  const specs = [...SPECS.slice(0, 4), ...codebookSpecs(all.slice(0, TRAINING_ROWS)), ...SPECS.slice(4)];
  const found = specs.map((named) => accuracyOf(named, rows));
  const title = `${rows.length} ${what}, V ${grouped(vocab)}`;
  if (options.json) {
    console.log(JSON.stringify({ question: "encodings of rows", shape: title, encodings: found }));
    return;
  }
  console.log(`\nEncodings: ${title}`);
  printTable([
    ["encoding", "bytes a row", "total variation", "at most", "best kept"],
    ...found.map(({ name, bytes, mean, most, bestKept }) => [
      name,
      grouped(Math.round(bytes)),
      mean.toExponential(1),
      most.toExponential(1),
      `${(100 * bestKept).toFixed(1)} %`,
    ]),
  ]);
}

function accuracyOf({ name, spec }: Named, rows: readonly Float32Array[]): Accuracy {
  let [bytes, total, most, kept] = [0, 0, 0, 0];
  for (const row of rows) {
    const encoded = encodeRow(row, spec, { kernels });
    const decoded = decodeRow(encoded, { kernels });
    const [p, q] = [lawOf(row), lawOf(decoded)];
    const distance = p.reduce((sum, value, token) => sum + Math.abs(value - q[token]), 0) / 2;
    bytes += encoded.data.length;
    total += distance;
    most = Math.max(most, distance);
    kept += Number(bestOf(row) === bestOf(decoded));
  }
  const { length } = rows;
  return { name, bytes: bytes / length, mean: total / length, most, bestKept: kept / length };
}

function lawOf(row: Float32Array): Float64Array {
  const top = row.reduce((most, z) => Math.max(most, z), -Infinity);
  const law = Float64Array.from(row, (z) => Math.exp(z - top));
  const total = law.reduce((sum, mass) => sum + mass, 0);
  return law.map((mass) => mass / total);
}

function bestOf(row: Float32Array): number {
  return row.reduce((best, z, token) => (z > row[best] ? token : best), 0);
}

async function times(row: Float32Array, codebooks: readonly Named[]): Promise<void> {
  const missing: Missing[] = [];
  const modules = await kernelModules();
  const sides: [string, WireKernels][] = [["definition", plainWireKernels]];
  for (const build of options.builds.split(",") as Build[]) {
    const opened = await ifSupported(build, missing, () => {
      const module = modules[build];
      if (module === undefined) throw new UnsupportedError("This engine has no relaxed SIMD");
      return createWasmBackend(module, { build }).wireKernels();
    });
    if (opened !== null) sides.push([build, opened]);
  }
  const timed = [...SPECS.slice(1, 4), codebooks[0], SPECS[6], SPECS[11]];
  for (const { name, spec } of timed) {
    const expected = encodeRow(row, spec);
    const candidates = sides.flatMap(([side, kernels]): Candidate[] => [
      {
        name: `${side}, encode`,
        check: () => expectSame(encodeRow(row, spec, { kernels }).data, expected.data),
        run: () => void encodeRow(row, spec, { kernels }),
      },
      { name: `${side}, decode`, run: () => void decodeRow(expected, { kernels }) },
    ]);
    const report = await measure(name, candidates, {
      shape: `V ${grouped(row.length)}`,
      comparisons: [
        {
          title: "speed / definition",
          of: "speed",
          baseline: (candidate) => `definition, ${candidate.split(", ")[1]}`,
        },
      ],
      missing,
      roundMilliseconds: 5,
      warmupMilliseconds: options.quick ? 50 : 200,
    });
    print(report, options.json);
  }
}

function expectSame(got: Uint8Array, expected: Uint8Array): void {
  const at = got.findIndex((byte, i) => byte !== expected[i]);
  if (got.length !== expected.length || at >= 0)
    throw new RangeError(`Bytes must be the definition's, byte ${at} is not`);
}
