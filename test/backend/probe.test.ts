import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

const RELAXED = new URL("../../build/relaxed.wasm", import.meta.url).pathname;

/** What probe() answers in a process of its own, with relaxed SIMD switched on where it is behind a flag. */
function probeIn(...flags: string[]): number[] {
  const script = `
    const module = new WebAssembly.Module(require("node:fs").readFileSync(${JSON.stringify(RELAXED)}));
    const { probe } = new WebAssembly.Instance(module, {}).exports;
    console.log(JSON.stringify([3, 1, 2, 4000, 4000, 4000, 7].map((rounds) => probe(rounds))));
  `;
  return JSON.parse(execFileSync(process.execPath, [...flags, "-e", script], { encoding: "utf8" }));
}

const isNode20 = process.versions.node.startsWith("20.");

test.runIf(isNode20)(
  "the probe refuses the flagged relaxed SIMD of Node 20, which adds products twice",
  () => {
    expect(probeIn("--experimental-wasm-relaxed-simd")).toContain(0);
  },
);

test.runIf(isNode20)("the probe sees that only one of its two compilers is wrong", () => {
  const answers = probeIn("--experimental-wasm-relaxed-simd", "--no-liftoff");
  expect(answers).not.toContain(0);
});

test.skipIf(isNode20)("the probe accepts the relaxed SIMD of this engine", () => {
  expect(probeIn()).not.toContain(0);
});
