/** variant: how products are made, of the ways there are for a type of weights. */
import type { WeightType } from "../../../format/blocks.ts";
import { CODE_FORMATS, type RoundedProducts } from "./codes.ts";
import { halfProducts } from "./halves.ts";
import { packedProducts } from "./packed.ts";

/** f32 throughout, of bytes four at a time, or of half floats. */
export type Variant = "plain" | "packed" | "f16";

/** null: inputs are taken as they are, as for all types that have no codes. */
export function roundedProducts(type: WeightType, variant: Variant): RoundedProducts | null {
  const format = CODE_FORMATS[type];
  if (format === undefined || variant === "plain") return null;
  return variant === "packed" ? packedProducts(format) : halfProducts(format);
}
