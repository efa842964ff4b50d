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

  codebook_snap(scores: number, count: number): void;
  codebook_row(scores: number, codes: number, bias: number, out: number, vocab: number): void;

  product_tables(codebook: number, x: number, subs: number, tables: number, work: number): void;
  product_scan(
    codes: number,
    tables: number,
    pairs: number,
    tiles: number,
    scales: number,
    biases: number,
    out: number,
  ): void;
  gather_tiles(tiles: number, bytes: number, indices: number, count: number, to: number): void;
  raise(row: number, error: number, vocab: number, scale: number, slack: number): void;
  list_above(row: number, vocab: number, bar: number, out: number, room: number): number;
  list_racers(
    row: number,
    vocab: number,
    top: number,
    inverse: number,
    score: number,
    key0: number,
    key1: number,
    position: number,
    follow: number,
    out: number,
    room: number,
  ): number;

  rms_norm(x: number, weight: number, out: number, size: number, count: number, epsilon: number): void;
  rope(x: number, table: number, heads: number, headDim: number, rotary: number, halfSplit: number): void;
  store_kv(
    key: number,
    value: number,
    table: number,
    layer: number,
    position: number,
    kvHeads: number,
    headDim: number,
  ): void;
  copy_kv(
    sourceTable: number,
    source: number,
    table: number,
    position: number,
    layer: number,
    kvHeads: number,
    headDim: number,
  ): void;
  attention(
    q: number,
    table: number,
    out: number,
    scores: number,
    layer: number,
    position: number,
    tokens: number,
    heads: number,
    kvHeads: number,
    headDim: number,
    scale: number,
    window: number,
  ): void;
  add(x: number, y: number, count: number): void;
  scale(x: number, factor: number, count: number): void;
  swiglu(gate: number, up: number, out: number, count: number): void;
  geglu(gate: number, up: number, out: number, count: number): void;

  argmax(row: number, vocab: number): number;
  log_sum_exp(row: number, vocab: number): number;
  softmax(row: number, out: number, vocab: number): void;
  top(row: number, vocab: number, count: number, out: number): number;

  likelihood_add(row: number, count: number, state: number): number;
  law_range(row: number, vocab: number, law: number, out: number): number;
  law_buckets(row: number, vocab: number, law: number, most: number, scale: number, out: number): number;
  law_within(
    row: number,
    vocab: number,
    law: number,
    most: number,
    scale: number,
    begin: number,
    end: number,
    out: number,
    room: number,
  ): number;
  law_contest(
    row: number,
    vocab: number,
    law: number,
    most: number,
    bar: number,
    last: number,
    key0: number,
    key1: number,
    position: number,
    out: number,
    room: number,
  ): number;

  lin(groups: number, count: number, bounds: number, boundCount: number, out: number, vocab: number): number;
  mix(groups: number, count: number, out: number, vocab: number): number;
  match_tops(base: number, expert: number, anti: number, vocab: number, out: number): number;
  match_targets(base: number, expert: number, anti: number, vocab: number, tops: number, out: number): void;
  match_sweep(
    base: number,
    expert: number,
    anti: number,
    vocab: number,
    tops: number,
    start: number,
    step: number,
    count: number,
    scratch: number,
    out: number,
  ): void;
  match_at(
    base: number,
    expert: number,
    anti: number,
    vocab: number,
    tops: number,
    alpha: number,
    out: number,
  ): number;
  highest(row: number, vocab: number): number;
  moments(row: number, vocab: number, out: number): void;
  deviations(row: number, vocab: number, mean: number): number;
  partition(row: number, vocab: number, top: number, inverse: number, out: number): void;
  probabilities(row: number, vocab: number, top: number, inverse: number, sum: number, out: number): void;
  distance(
    a: number,
    b: number,
    vocab: number,
    aTop: number,
    bTop: number,
    aShare: number,
    bShare: number,
    out: number,
  ): void;
  rank(row: number, vocab: number, token: number): number;
  select(row: number, weights: number, vocab: number, goal: number, scratch: number): number;
  weigh(row: number, out: number, vocab: number, top: number, scale: number): void;
  logarithms(row: number, vocab: number): void;

  race(row: number, vocab: number, key0: number, key1: number, position: number): number;
  residual(p: number, q: number, out: number, vocab: number, pScale: number, qScale: number): number;
  draw(row: number, vocab: number, goal: number): number;
  mass(row: number, vocab: number): number;
  tempered(row: number, out: number, vocab: number, inverse: number): number;

  wire_to_halves(row: number, vocab: number, out: number): void;
  wire_from_halves(halves: number, vocab: number, out: number): void;
  wire_to_blocks(
    row: number,
    vocab: number,
    bits: number,
    clip: number,
    scales: number,
    minimums: number,
    codes: number,
  ): void;
  wire_from_blocks(
    scales: number,
    minimums: number,
    codes: number,
    vocab: number,
    bits: number,
    out: number,
  ): void;
  wire_to_codes(
    row: number,
    vocab: number,
    shift: number,
    codebook: number,
    stages: number,
    count: number,
    dim: number,
    out: number,
  ): void;
  wire_from_codes(
    codes: number,
    vocab: number,
    shift: number,
    codebook: number,
    stages: number,
    count: number,
    dim: number,
    out: number,
  ): void;
  wire_total(row: number, vocab: number, top: number): number;
  wire_list(row: number, vocab: number, bar: number, last: number, out: number): number;
}

/** What abi() must return. */
export const ABI_VERSION = 4;
