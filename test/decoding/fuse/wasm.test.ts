/** The kernels of the Wasm backend, f32 rows, in both builds: what is asked of the definition, and what it gives. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { SummaryGroup } from "../../../src/backend/fuse-kernels.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import type { Build } from "../../../src/backend/wasm/instantiate.ts";
import { testDecisions } from "./decisions.case.ts";
import { testDynamic } from "./dynamic.case.ts";
import { testKernels } from "./kernels.case.ts";
import { testRowMemory } from "./kernels-memory.case.ts";
import { createRandom, randomRow } from "./support.ts";
import { testVectors } from "./vectors.case.ts";

const BUILDS: readonly Build[] = ["simd", "relaxed"];

const bytesOf = (build: Build) => readFileSync(new URL(`../../../build/${build}.wasm`, import.meta.url));
const isUsable = (build: Build) => WebAssembly.validate(bytesOf(build));
const opener = (build: Build) => {
  const module = new WebAssembly.Module(bytesOf(build));
  return (maxBytes?: number) => createWasmBackend(module, { build, maxBytes });
};

for (const build of BUILDS) {
  const usable = isUsable(build);
  const title = usable ? `${build} build` : `${build} build: skipped, this engine has not its instructions`;
  if (!usable) console.info(`Wasm fuse kernels, ${title}`);
  describe.skipIf(!usable)(title, () => {
    if (!usable) return;
    const open = opener(build);
    testVectors(open().fuseKernels(), 1e-6);
    testDynamic(open().fuseKernels(), 1e-6);
    testDecisions(open().fuseKernels(), 1e-6);
    testKernels(open());
    testRowMemory(open);
  });
}

it.skipIf(!BUILDS.every(isUsable))("both builds give the same bits", () => {
  const [simd, relaxed] = BUILDS.map(resultsOf);
  expect(simd.length).toBeGreaterThan(12);
  expect(relaxed).toEqual(simd);
});

/** Of every kernel. */
function resultsOf(build: Build): unknown[] {
  const vocab = 5003;
  const random = createRandom(vocab);
  const kernels = opener(build)().fuseKernels();
  const [a, b, c] = Array.from({ length: 3 }, (_, i) =>
    kernels.take(Float32Array.from(randomRow(random, vocab)), vocab, `row ${i}`),
  );
  const terms = [a, b, c].map((row, i) => ({ row, scale: [1, 0.7, -0.7][i], offset: i / 3 }));
  const positive = terms.map((term) => ({ ...term, scale: 1.1 }));
  const ids = [5, 77, 5, 4001];
  const offsets = Array.from({ length: vocab + 1 }, (_, i) => i);
  const columns = offsets.slice(1).map((i) => i % 40);
  const floor = kernels.topK(b, 1000);
  const made = [
    kernels.lin(vocab, terms, [[{ kind: "floor", row: b, floor }]]),
    kernels.mix(vocab, positive),
    kernels.scatter(a, ids, [1, 2, 3, 4], 0.3),
    kernels.project({ row: a, scale: 1, offset: -9 }, 40, offsets, columns, columns),
    kernels.gather(a, ids),
    kernels.multiply(
      b,
      Float64Array.from({ length: vocab }, (_, id) => id / vocab),
    ),
  ];
  const groups = new Set<SummaryGroup>(["extremes", "moments", "partition", "probabilities"]);
  return [
    ...made.map((row) => kernels.read(row).slice()),
    ...made.map((row) => kernels.summary(row, 0.7, groups)),
    floor,
    kernels.topP(a, 0.8, 0.9),
    kernels.rank(a, 17),
    kernels.distance(a, b),
    kernels.matchTargets(a, b, c),
    kernels.tilt(a, b, c, 0, 0.1, 21),
    kernels.tilt(a, b, c, 0.4, 0, 1),
  ];
}
