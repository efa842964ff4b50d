/** formats: all heads that a file may have beside the dense one. */
import { certifiedFormat } from "./certified-format.ts";
import { productFormat } from "./product-format.ts";
import type { HeadFormat } from "./stored-head.ts";
import { vqFormat } from "./vq-format.ts";

export const HEAD_FORMATS: readonly HeadFormat[] = [vqFormat, productFormat, certifiedFormat];
