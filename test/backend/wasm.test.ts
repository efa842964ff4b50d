import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Exports } from "../../src/backend/wasm/exports.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import type { Build } from "../../src/backend/wasm/instantiate.ts";
import { describeBackend, type Tolerance } from "../backend.case.ts";
import { expectSame } from "./case/harness.ts";
import { runWorkload } from "./case/workload.ts";

/** Half an f32 ulp at 1: the most that one operation adds. */
const ROUNDING = 2 ** -24;

const tolerance: Tolerance = {
  // As matmul/activation.ts has it; then f32 sums over the blocks.
  inputLevels: (type) => (type === "Q4_0" || type === "Q4_K" ? 127 : 8191),
  quantisedMatmul: 16 * ROUNDING,
  // In theory 16 + blocks roundings, which would have to fall the same way.
  floatMatmul: 16 * ROUNDING,
  // The sum is f64; the factor and two products are rounded.
  norm: 3 * ROUNDING,
  // Two products and their sum.
  rope: 2 * ROUNDING,
  // exp to an ulp (two roundings), a sum, a quotient, a product.
  swiglu: 6 * ROUNDING,
  // A product and a sum for the slope, a product for z, whose constants are rounded too.
  gelu: 5 * ROUNDING,
  // f32 sums over headDim, whose errors exp multiplies by up to the score, and over the positions.
  attention: 32 * ROUNDING,
  // 4 ulp: exp to one, the sum, its inverse, the product.
  softmax: 8 * ROUNDING,
  // The log of a sum that is off by 2e-7, relatively.
  logSumExp: 3e-7,
};

const WASM_MAX_BYTES = 64 * 1024;
const BUILDS: readonly Build[] = ["simd", "relaxed"];

/** Every name of the interface, which the compiler sees to. */
const EXPORTS: Record<keyof Exports, WebAssembly.ImportExportKind> = {
  memory: "memory",
  abi: "function",
  heap_base: "function",
  probe: "function",
  stream_read: "function",
  tile_bytes: "function",
  input_bytes: "function",
  pack_tile: "function",
  unpack_row: "function",
  prepare: "function",
  matmul: "function",
  codebook_snap: "function",
  codebook_row: "function",
  product_tables: "function",
  product_scan: "function",
  gather_tiles: "function",
  raise: "function",
  list_above: "function",
  list_racers: "function",
  rms_norm: "function",
  rope: "function",
  store_kv: "function",
  copy_kv: "function",
  attention: "function",
  add: "function",
  scale: "function",
  swiglu: "function",
  geglu: "function",
  argmax: "function",
  log_sum_exp: "function",
  softmax: "function",
  top: "function",
  lin: "function",
  mix: "function",
  match_tops: "function",
  match_targets: "function",
  match_sweep: "function",
  match_at: "function",
  highest: "function",
  moments: "function",
  deviations: "function",
  partition: "function",
  probabilities: "function",
  distance: "function",
  rank: "function",
  select: "function",
  weigh: "function",
  logarithms: "function",
  race: "function",
  residual: "function",
  draw: "function",
  mass: "function",
  tempered: "function",
  law_range: "function",
  law_buckets: "function",
  law_within: "function",
  law_contest: "function",
  wire_to_halves: "function",
  wire_from_halves: "function",
  wire_to_blocks: "function",
  wire_from_blocks: "function",
  wire_to_codes: "function",
  wire_from_codes: "function",
  wire_total: "function",
  wire_list: "function",
  likelihood_add: "function",
};

const bytesOf = (build: Build) => readFileSync(new URL(`../../build/${build}.wasm`, import.meta.url));
const moduleOf = (build: Build) => new WebAssembly.Module(bytesOf(build));
const unusable = (build: Build) =>
  WebAssembly.validate(bytesOf(build)) ? undefined : "this engine does not validate its instructions";

for (const build of BUILDS) {
  const skip = unusable(build);
  if (skip !== undefined) console.info(`Wasm backend, ${build} build: skipped, ${skip}`);
  const create = (options?: { maxBytes?: number }) =>
    createWasmBackend(moduleOf(build), { build, ...options });
  describeBackend(`Wasm backend, ${build} build`, create, { tolerance, skip });

  describe.skipIf(skip !== undefined)(`${build}.wasm`, () => {
    test("takes no imports and at most 72 KiB", () => {
      expect(WebAssembly.Module.imports(moduleOf(build))).toEqual([]);
      expect(bytesOf(build).length).toBeLessThanOrEqual(WASM_MAX_BYTES);
    });

    test("exports what the interface says, and nothing else", () => {
      const found = WebAssembly.Module.exports(moduleOf(build));
      expect(Object.fromEntries(found.map(({ name, kind }) => [name, kind]))).toEqual(EXPORTS);
    });
  });
}

test.skipIf(unusable("relaxed") !== undefined)("both builds give the same bits", async () => {
  const [simd, relaxed] = await Promise.all(
    BUILDS.map((build) => runWorkload(createWasmBackend(moduleOf(build), { build }))),
  );
  expect([...relaxed.keys()]).toEqual([...simd.keys()]);
  for (const [name, values] of simd) expectSame(relaxed.get(name)!, values, name);
});
