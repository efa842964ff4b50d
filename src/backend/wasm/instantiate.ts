/**
 * instantiate: from a compiled module to its typed exports, after checks that it is ours, current, and right here.
 *
 * Which build to use is decided by behaviour: a relaxed module that this engine compiles is still run on known
 * operands, long enough to see both of its compilers, before anything is computed with it.
 */
import { instantiateSync } from "@assemblyscript/loader";
import { UnsupportedError } from "../../errors.ts";
import { ABI_VERSION, type Exports } from "./exports.ts";

export type Build = "simd" | "relaxed";

/** Rounds of the probe: one short call, then enough work for the optimising compiler to take over, then again. */
const PROBE_ROUNDS = [3, 1, 2, 4000, 4000, 4000, 7];

/** @throws {UnsupportedError} If the module is not ours, of another version, or its relaxed dot is wrong on this engine. */
export function instantiate(module: WebAssembly.Module, build: Build): Exports {
  const exports = instantiateSync<Record<string, unknown>>(module, {}).exports as unknown as Exports;
  if (typeof exports.abi !== "function") {
    throw new UnsupportedError(`Cannot use the ${build} build: the module has no export "abi"`);
  }
  const version = exports.abi();
  if (version !== ABI_VERSION) {
    throw new UnsupportedError(
      `Cannot use the ${build} build: its ABI version must be ${ABI_VERSION}, got ${version}; rebuild or clear the cache`,
    );
  }
  if (build === "relaxed" && !PROBE_ROUNDS.every((rounds) => exports.probe(rounds) > 0)) {
    throw new UnsupportedError(
      "Cannot use the relaxed build: relaxed_dot is missing or wrong on this engine",
    );
  }
  return exports;
}

/** Whether the relaxed build is right on this engine, and faster than the other: it has one instruction for a dot. */
export function prefersRelaxed(module: WebAssembly.Module): boolean {
  try {
    return instantiate(module, "relaxed").probe(1) === 2;
  } catch (error) {
    if (error instanceof UnsupportedError) return false;
    throw error;
  }
}
