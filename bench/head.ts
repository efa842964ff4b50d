/**
 * How near does the output head come to the rate R at which this engine reads memory at all, and what do more columns
 * (positions to verify) cost?
 *
 *   node --import ./bench/register.mjs bench/head.ts [--types Q8_0,Q4_0,Q4_K,Q6_K,F16] [--columns 1,2,4,8]
 *        [--builds simd,relaxed] [--quick] [--json]
 *
 * V = 151,936, D = 896 (1,024 for the K-types, whose blocks are 256 wide), one thread. A call lays out the input and multiplies, as the engine does. Copies of the weights
 * take turns, so that they come from memory and not from a cache. Takes 4 GB of memory.
 */
import { parseArgs } from "node:util";
import { Arena } from "../src/backend/wasm/arena.ts";
import type { Exports } from "../src/backend/wasm/exports.ts";
import { type Build, instantiate } from "../src/backend/wasm/instantiate.ts";
import { FORMAT_IDS, PackingWriter } from "../src/backend/wasm/matrix.ts";
import { grouped, UnsupportedError } from "../src/errors.ts";
import { blockSize } from "../src/format/blocks.ts";
import { kernelModules } from "../src/node.ts";
import { createRandom } from "../test/support/random.ts";
import { ifSupported } from "./builds.ts";
import { type Candidate, type Comparison, measure, speedOver } from "./harness.ts";
import { type ExpectedRow, expectedRows, type HeadType, weightRows } from "./head-weights.ts";
import { type Missing, print } from "./report.ts";
import { COLD_BYTES, ROOFLINE, streamingRead } from "./roofline.ts";

const VOCAB = 151_936;
const HIDDEN = 896;
const WIDE_HIDDEN = 1024;
const MOST_COLUMNS = 8;
const MAX_BYTES = 2 ** 32 - 65_536;
const ROWS_AT_ONCE = 4096;

/** The head in one build's memory, as many times as it takes to leave every cache. */
class Head {
  readonly #kernels: Exports;
  readonly #arena: Arena;
  readonly #x: number;
  readonly #out: number;
  #copies: number[] = [];
  #input = 0;
  #format = 0;
  #hidden = HIDDEN;
  #calls = 0;
  /** Bytes of packed weights. */
  bytes = 0;

  constructor(kernels: Exports, x: Float32Array) {
    this.#kernels = kernels;
    this.#arena = new Arena(kernels.memory, kernels.heap_base(), MAX_BYTES);
    this.#x = this.#arena.allocate(x.byteLength);
    this.#out = this.#arena.allocate(MOST_COLUMNS * VOCAB * 4);
    new Float32Array(kernels.memory.buffer, this.#x, x.length).set(x);
  }

  /** Packs the weights and copies them; what was loaded before is forgotten. */
  load(type: HeadType): void {
    for (const address of this.#copies) this.#arena.free(address);
    if (this.#input !== 0) this.#arena.free(this.#input);
    this.#format = FORMAT_IDS[type];
    this.#hidden = hiddenOf(type);
    this.#input = this.#arena.allocate(this.#kernels.input_bytes(this.#format, this.#hidden, MOST_COLUMNS));
    const writer = new PackingWriter(this.#kernels, this.#arena, type, VOCAB, this.#hidden);
    for (let row = 0; row < VOCAB; row += ROWS_AT_ONCE) {
      writer.write(weightRows(type, row, Math.min(ROWS_AT_ONCE, VOCAB - row), this.#hidden));
    }
    const packed = writer.finish() as ReturnType<PackingWriter["finish"]> & { address: number };
    this.bytes = packed.bytes;
    const count = Math.ceil(COLD_BYTES / packed.bytes);
    this.#copies = [packed.address];
    while (this.#copies.length < count) this.#copies.push(this.#arena.allocate(packed.bytes));
    const memory = new Uint8Array(this.#kernels.memory.buffer);
    for (const address of this.#copies.slice(1)) {
      memory.copyWithin(address, packed.address, packed.address + packed.bytes);
    }
  }

  multiply(columns: number): void {
    const weights = this.#copies[this.#calls++ % this.#copies.length];
    const [format, hidden] = [this.#format, this.#hidden];
    this.#kernels.prepare(format, this.#x, hidden * 4, this.#input, hidden, columns);
    this.#kernels.matmul(format, weights, this.#input, this.#out, VOCAB * 4, VOCAB, hidden, columns);
  }

  /** @throws {RangeError} If any copy of the weights gives anything else in the sampled rows. */
  check(columns: number, expected: readonly ExpectedRow[]): void {
    for (let copy = 0; copy < this.#copies.length; copy++) {
      const out = new Float32Array(this.#kernels.memory.buffer, this.#out, columns * VOCAB).fill(Number.NaN);
      this.multiply(columns);
      for (const { row, values, tolerance } of expected) {
        for (let column = 0; column < columns; column++) {
          const got = out[column * VOCAB + row];
          if (Math.abs(got - values[column]) <= tolerance) continue;
          throw new RangeError(
            `Row ${row} of column ${column} must be ${values[column]} within ${tolerance}, is ${got}`,
          );
        }
      }
    }
  }
}

const { values: options } = parseArgs({
  options: {
    types: { type: "string" },
    columns: { type: "string" },
    builds: { type: "string", default: "simd,relaxed" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const types = (options.types ?? (options.quick ? "Q8_0,Q4_0" : "Q8_0,Q4_0,Q4_K,Q6_K,F16")).split(
  ",",
) as HeadType[];
const widths = (options.columns ?? (options.quick ? "1,4" : "1,2,4,8")).split(",").map(Number);

const { normal } = createRandom(1);
const x = Float32Array.from({ length: MOST_COLUMNS * WIDE_HIDDEN }, normal);
const heads = new Map<Build, Head>();
const missing: Missing[] = [];
const modules = await kernelModules();
for (const build of options.builds.split(",") as Build[]) {
  const head = await ifSupported(build, missing, () => {
    const module = modules[build];
    if (module === undefined) throw new UnsupportedError("This engine has no relaxed SIMD");
    return new Head(instantiate(module, build), x);
  });
  if (head !== null) heads.set(build, head);
}

const comparisons: Comparison[] = [
  speedOver(ROOFLINE, "GB/s / R"),
  {
    title: "time / 1 column",
    of: "time",
    baseline: (name) => (name === ROOFLINE ? undefined : nameOf(name.split(",")[0], 1)),
  },
];

for (const type of types) await compareHead(type);

async function compareHead(type: HeadType): Promise<void> {
  const hidden = hiddenOf(type);
  const expected = expectedRows(type, VOCAB, hidden, x.subarray(0, MOST_COLUMNS * hidden));
  const candidates = [...heads].flatMap(([build, head]) => {
    head.load(type);
    return widths.map(
      (columns): Candidate => ({
        name: nameOf(build, columns),
        bytes: head.bytes,
        check: () => head.check(columns, expected),
        run: () => void head.multiply(columns),
      }),
    );
  });
  const bytes = candidates[0].bytes!;
  const report = await measure(`head, ${type}, 1 thread`, [await streamingRead(bytes), ...candidates], {
    shape: `V ${grouped(VOCAB)} x D ${grouped(hidden)}`,
    comparisons,
    missing,
    warmupMilliseconds: options.quick ? 100 : 500,
  });
  print(report, options.json);
}

function hiddenOf(type: HeadType): number {
  return blockSize(type).weights > 32 ? WIDE_HIDDEN : HIDDEN;
}

function nameOf(build: string, columns: number): string {
  return `${build}, ${columns} ${columns === 1 ? "column" : "columns"}`;
}
