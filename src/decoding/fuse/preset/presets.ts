/** Methods by name, with the constants of their papers. */
import type { Plan } from "../plan.ts";
import { amu, logitMask, lpReg, minP, steer } from "./adjust.ts";
import { dexperts, offsetUnlearning, proxyTuning, trimix, uld } from "./arithmetic.ts";
import { logitAdjustment, margin, marginCalibration } from "./calibrate.ts";
import { fudge, gedi } from "./classifier.ts";
import { alignDistil, cad, cfg, contrastive, contrastiveLogits } from "./contrast.ts";
import type { Preset } from "./define.ts";
import { dlf, dlfMulti } from "./dynamic.ts";
import { memoryDecoder, mixture, product, sampledMixture, standardized } from "./ensemble.ts";
import { grad } from "./graph.ts";
import { coLlm, confidenceGate, earlyExit, fusionRoute, modeSwitch, nudging } from "./route.ts";
import { eva, gac, unite, xToken } from "./vocabulary.ts";

export const FUSE_PRESETS = {
  "align-distil": alignDistil,
  amu,
  cad,
  cfg,
  "co-llm": coLlm,
  "confidence-gate": confidenceGate,
  contrastive,
  "contrastive-logits": contrastiveLogits,
  dexperts,
  dlf,
  "dlf-multi": dlfMulti,
  "early-exit": earlyExit,
  eva,
  fudge,
  "fusion-route": fusionRoute,
  gac,
  gedi,
  grad,
  "logit-adjustment": logitAdjustment,
  "logit-mask": logitMask,
  "lp-reg": lpReg,
  margin,
  "margin-calibration": marginCalibration,
  "memory-decoder": memoryDecoder,
  "min-p": minP,
  mixture,
  "mode-switch": modeSwitch,
  nudging,
  "offset-unlearning": offsetUnlearning,
  product,
  "proxy-tuning": proxyTuning,
  "sampled-mixture": sampledMixture,
  standardized,
  steer,
  trimix,
  uld,
  unite,
  "x-token": xToken,
} as const;

export type FusePresetName = keyof typeof FUSE_PRESETS;
export type FusePresetOptions<Name extends FusePresetName> = NonNullable<
  Parameters<(typeof FUSE_PRESETS)[Name]>[0]
>;

/**
 * The plan of a method.
 *
 * @param options Names of sources, and constants; what is left out is as in the paper.
 * @throws {TypeError | RangeError} If the method is unknown or an option wrong.
 *
 * @example
 * ```ts
 * fusePreset("cfg", { gamma: 2 }).lin; // [{ source: "prompted", weight: 2 }, { source: "plain", weight: -1 }]
 * ```
 */
export function fusePreset<Name extends FusePresetName>(name: Name, options?: FusePresetOptions<Name>): Plan {
  if (!Object.hasOwn(FUSE_PRESETS, name)) {
    throw new RangeError(`"preset" must be one of ${Object.keys(FUSE_PRESETS).join(", ")}, got "${name}"`);
  }
  return (FUSE_PRESETS[name] as Preset<object>)(options);
}
