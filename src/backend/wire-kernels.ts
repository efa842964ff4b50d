/**
 * What encodes and decodes rows over whole vocabularies. Interface and definition stand with the format, which works without
 * a backend; wasm/wire.ts does it in linear memory.
 */
export { plainWireKernels } from "../format/wire/definition.ts";
export type { RowMass, WireKernels } from "../format/wire/kernels.ts";
