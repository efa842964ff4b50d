/** The kernels of the wire format give the bits of its definition, in both builds. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import type { Build } from "../../../src/backend/wasm/instantiate.ts";
import { decodeRow, encodeRow, plainWireKernels } from "../../../src/format/wire/index.ts";
import { createRandom, holds, maskedRow, modelRow, SPECS } from "./support.ts";

const BUILDS: readonly Build[] = ["simd", "relaxed"];
const bytesOf = (build: Build) => readFileSync(new URL(`../../../build/${build}.wasm`, import.meta.url));

/** Around every edge of vectors, blocks and groups. */
const SIZES = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 1000, 1025];

/** As bytes, so that zeros have signs and NaN is one; at once, as a million single expectations take seconds. */
function expectSame(got: Float32Array | Uint8Array, expected: Float32Array | Uint8Array, what = ""): void {
  const [a, b] = [got, expected].map(({ buffer, byteOffset, byteLength }) => {
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  });
  expect(a.equals(b), what).toBe(true);
}

function rowsOf(vocab: number): Float32Array[] {
  const random = createRandom(vocab);
  const constant = new Float32Array(vocab).fill(-3.25);
  const extreme = Float32Array.from({ length: vocab }, () => (random.uniform() - 0.5) * 1e5);
  extreme[random.below(vocab)] = 50_000;
  const banned = modelRow(random, vocab).map((z) => (random.uniform() < 0.5 ? -1e30 : z));
  banned[random.below(vocab)] = 1;
  const tiny = Float32Array.from({ length: vocab }, () => random.normal() * 1e-6);
  const coarse = Float32Array.from({ length: vocab }, () => Math.round(random.normal() * 2));
  const alone = new Float32Array(vocab).fill(-Infinity);
  alone[vocab - 1] = -0;
  return [
    modelRow(random, vocab),
    maskedRow(random, vocab),
    maskedRow(random, vocab, 0.97),
    constant,
    extreme,
    banned,
    tiny,
    coarse,
    alone,
  ];
}

it("is one object, and the definition's where there are no kernels", () => {
  const backend = createReferenceBackend();
  expect(backend.wireKernels()).toBe(plainWireKernels);
});

for (const build of BUILDS) {
  const usable = WebAssembly.validate(bytesOf(build));
  if (!usable) console.info(`Wire kernels, ${build} build: skipped, this engine has not its instructions`);
  describe.skipIf(!usable)(`${build} build`, () => {
    if (!usable) return;
    const backend = createWasmBackend(new WebAssembly.Module(bytesOf(build)), { build });
    const kernels = backend.wireKernels();

    it("is one object", () => expect(backend.wireKernels()).toBe(kernels));

    it.each(SIZES)("encodes and decodes %d tokens as the definition does", (vocab) => {
      for (const [index, row] of rowsOf(vocab).entries()) {
        for (const spec of SPECS.filter((spec) => holds(spec, row))) {
          const what = `row ${index}, ${JSON.stringify({ ...spec, codebook: undefined })}`;
          const expected = encodeRow(row, spec);
          const encoded = encodeRow(row, spec, { kernels });
          expectSame(encoded.data, expected.data, what);
          expectSame(decodeRow(encoded, { kernels }), decodeRow(encoded), what);
        }
      }
    });

    it("takes rows that lie in its own memory, which may grow", () => {
      const small = createWasmBackend(new WebAssembly.Module(bytesOf(build)), { build });
      const row = modelRow(createRandom(5), 40_000);
      const x = small.floats(row.length);
      small.write(x, row);
      const view = small.read(x) as Float32Array;
      const { data } = encodeRow(view, "int8", { kernels: small.wireKernels() });
      expectSame(data, encodeRow(row, "int8").data);
      expectSame(small.read(x) as Float32Array, row);
    });

    it("finds the largest logit, and what is none", () => {
      for (const vocab of [1, 4, 5, 64, 77]) {
        for (let token = 0; token < vocab; token++) {
          const row = modelRow(createRandom(vocab), vocab);
          row[token] = NaN;
          expect(kernels.highest(row)).toBeNaN();
          row[token] = Infinity;
          expect(kernels.highest(row)).toBe(Infinity);
          row[token] = 1e20;
          expect(kernels.highest(row)).toBe(Math.fround(1e20));
        }
      }
      expect(kernels.highest(new Float32Array(9).fill(-Infinity))).toBe(-Infinity);
    });

    it("converts every half and back", () => {
      const all = Float32Array.from({ length: 65_536 }, (_, half) => half);
      const halves = new Uint8Array(Uint16Array.from(all).buffer);
      const row = kernels.fromHalves(halves, 65_536);
      // One NaN is as good as another.
      const oneNaN = (values: Float32Array) => values.map((z) => (Number.isNaN(z) ? NaN : z));
      expectSame(oneNaN(row), oneNaN(plainWireKernels.fromHalves(halves, 65_536)));
      const finite = row.map((z) => (Number.isNaN(z) || z === Infinity ? 1 : z));
      const again = kernels.toHalves(finite);
      expectSame(again, plainWireKernels.toHalves(finite));
      expectSame(kernels.fromHalves(again, 65_536), finite);
      // Between two halves, at the middle and beside it.
      const steps = Float32Array.from([...row].filter(Number.isFinite).flatMap((z) => [z, z, z]));
      const bitsOf = new Uint32Array(steps.buffer);
      for (let i = 0; i < steps.length; i++) bitsOf[i] += 0x1000 + (i % 3) - 1;
      const inside = steps.map((z) => (Math.abs(z) > 65_504 ? 1 : z));
      expectSame(kernels.toHalves(inside), plainWireKernels.toHalves(inside));
    });
  });
}
