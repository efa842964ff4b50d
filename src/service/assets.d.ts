// What Workers bundlers make of binary imports: a compiled module, and the bytes.
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

declare module "*.gguf" {
  const bytes: ArrayBuffer;
  export default bytes;
}
