/** methods: all ways to compress a head. */
import type { HeadMethod } from "../model/head/stored-head.ts";
import { certifiedMethod } from "./certified.ts";
import type { CompressMethod } from "./method.ts";
import { productMethod } from "./product.ts";
import { vqMethod } from "./vq.ts";

export const COMPRESS_METHODS: readonly CompressMethod[] = [vqMethod, productMethod, certifiedMethod];

/** @throws {RangeError} If there is none of that name. */
export function findMethod(name: string): CompressMethod {
  const method = COMPRESS_METHODS.find((one) => one.name === name);
  if (method !== undefined) return method;
  const known: readonly HeadMethod[] = COMPRESS_METHODS.map((one) => one.name);
  throw new RangeError(`"method" must be one of ${known.join(", ")}, got "${name}"`);
}
