/** The ABI of assembly/index.ts as TypeScript sees it. Pointers and counts are numbers; f32 buffers are 16-byte aligned. */
export interface Exports {
  readonly memory: WebAssembly.Memory;
  abi(): number;
  heap_base(): number;
  probe(rounds: number): number;
  stream_read(source: number, bytes: number): number;

  tile_bytes(format: number, cols: number): number;
  input_bytes(format: number, cols: number, columns: number): number;
  pack_tile(format: number, source: number, rowBytes: number, tile: number, cols: number): void;
  unpack_row(format: number, weights: number, row: number, out: number, cols: number): void;
  prepare(format: number, x: number, xStride: number, input: number, cols: number, columns: number): void;
  matmul(
    format: number,
    weights: number,
    input: number,
    out: number,
    outStride: number,
    rows: number,
    cols: number,
    columns: number,
  ): void;

  rms_norm(x: number, weight: number, out: number, size: number, count: number, epsilon: number): void;
  rope(x: number, table: number, heads: number, headDim: number, rotary: number, halfSplit: number): void;
  store_kv(
    key: number,
    value: number,
    keyCache: number,
    valueCache: number,
    position: number,
    capacity: number,
    kvHeads: number,
    headDim: number,
  ): void;
  attention(
    q: number,
    keyCache: number,
    valueCache: number,
    out: number,
    scores: number,
    position: number,
    tokens: number,
    capacity: number,
    heads: number,
    kvHeads: number,
    headDim: number,
    scale: number,
  ): void;
  add(x: number, y: number, count: number): void;
  swiglu(gate: number, up: number, out: number, count: number): void;

  argmax(row: number, vocab: number): number;
  log_sum_exp(row: number, vocab: number): number;
  softmax(row: number, out: number, vocab: number): void;
}

/** What abi() must return. */
export const ABI_VERSION = 1;
