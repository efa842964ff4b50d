// What Workers bundlers make of binary imports: a compiled module, and the bytes.
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

declare module "*.gguf" {
  const bytes: ArrayBuffer;
  export default bytes;
}

// What `npm run build` makes of `openapi/`.
declare module "*/build/openapi.js" {
  /** The OpenAPI document. */
  export const documentJson: string;
  /** The same to be read: one page of HTML. */
  export const documentPage: string;
}
