/**
 * llama: the forward pass of the llama family, as a sequence of backend calls.
 *
 *     x  =  embedding[token]
 *     per layer:   x += Wo · attention(rope(Wq · norm(x)), rope(Wk · norm(x)), Wv · norm(x))
 *                  x += Wdown · (silu(Wgate · norm(x)) ⊙ (Wup · norm(x)))
 *     row  =  W · norm(x)
 *
 * A chunk of tokens goes through each layer together, so its weights are read once for all of them. Every operation
 * treats columns independently, which makes a position's row the same however the sequence was cut.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971; biases: Qwen2, arXiv:2407.10671; q and k norms: Qwen3, arXiv:2505.09388.
 */
import { type Backend, type Floats, type KvCache, stride } from "../backend/backend.ts";
import type { LlamaConfig } from "./config.ts";
import { RopeTable } from "./rope-table.ts";
import type { LayerWeights, LlamaWeights } from "./weights.ts";

/** Most tokens that go through a layer together: enough to read weights rarely, small enough to stay in cache. */
export const CHUNK = 32;

export class Llama {
  readonly config: LlamaConfig;
  readonly vocab: number;
  readonly #backend: Backend;
  readonly #weights: LlamaWeights;
  readonly #table: RopeTable;
  readonly #scale: number;
  // Working vectors of a chunk, reused by every call; shapes are (CHUNK, size).
  readonly #stream: Floats; // D
  readonly #normed: Floats; // D
  readonly #q: Floats; // H d
  readonly #k: Floats; // G d
  readonly #v: Floats; // G d
  readonly #attended: Floats; // H d
  readonly #gate: Floats; // F
  readonly #up: Floats; // F
  readonly #update: Floats; // D

  constructor(backend: Backend, config: LlamaConfig, weights: LlamaWeights, contextLength: number) {
    const { hidden, heads, kvHeads, headDim, feedForward } = config;
    this.config = config;
    this.vocab = weights.head.rows;
    this.#backend = backend;
    this.#weights = weights;
    this.#table = new RopeTable(backend, config.rope, contextLength, weights.ropeScaling);
    this.#scale = 1 / Math.sqrt(headDim);
    const vectors = (size: number) => backend.floats(CHUNK * stride(size));
    this.#stream = vectors(hidden);
    this.#normed = vectors(hidden);
    this.#q = vectors(heads * headDim);
    this.#k = vectors(kvHeads * headDim);
    this.#v = vectors(kvHeads * headDim);
    this.#attended = vectors(heads * headDim);
    this.#gate = vectors(feedForward);
    this.#up = vectors(feedForward);
    this.#update = vectors(hidden);
  }

  /** f32 values of the working vectors. */
  static workingLength(config: LlamaConfig): number {
    const { hidden, heads, kvHeads, headDim, feedForward } = config;
    return CHUNK * (3 * hidden + 2 * heads * headDim + 2 * kvHeads * headDim + 2 * stride(feedForward));
  }

  /** One cache per layer. @throws {MemoryError} If not all of them fit; none is held then. */
  openCaches(capacity: number): KvCache[] {
    const { layers, kvHeads, headDim } = this.config;
    const caches: KvCache[] = [];
    try {
      while (caches.length < layers) caches.push(this.#backend.kvCache(capacity, kvHeads, headDim));
    } catch (error) {
      for (const cache of caches) this.#backend.free(cache);
      throw error;
    }
    return caches;
  }

  /**
   * Runs at most CHUNK tokens at `position` and on; leaves the logits after the last `rows` of them in `out`,
   * (rows, stride(vocab)).
   */
  forward(
    caches: readonly KvCache[],
    tokens: ArrayLike<number>,
    position: number,
    rows: number,
    out: Floats,
  ): void {
    const columns = tokens.length;
    this.#table.fill(position + columns);
    this.#backend.embed(this.#stream, this.#weights.embedding, tokens);
    this.#weights.layers.forEach((layer, index) => {
      this.#attend(layer, caches[index], position, columns);
      this.#feedForward(layer, columns);
    });
    if (rows > 0) this.#head(columns - rows, rows, out);
  }

  #attend(layer: LayerWeights, cache: KvCache, position: number, columns: number): void {
    const backend = this.#backend;
    const { hidden, heads, kvHeads, headDim, normEpsilon, rope } = this.config;
    backend.rmsNorm(this.#normed, this.#stream, layer.attentionNorm, hidden, columns, normEpsilon);
    backend.matmul(this.#normed, columns, [
      { weights: layer.q, out: this.#q },
      { weights: layer.k, out: this.#k },
      { weights: layer.v, out: this.#v },
    ]);
    if (layer.qBias) backend.addBias(this.#q, layer.qBias, heads * headDim, columns);
    if (layer.kBias) backend.addBias(this.#k, layer.kBias, kvHeads * headDim, columns);
    if (layer.vBias) backend.addBias(this.#v, layer.vBias, kvHeads * headDim, columns);
    if (layer.qNorm) backend.rmsNorm(this.#q, this.#q, layer.qNorm, headDim, columns * heads, normEpsilon);
    if (layer.kNorm) backend.rmsNorm(this.#k, this.#k, layer.kNorm, headDim, columns * kvHeads, normEpsilon);
    const place = { position, columns, headDim, rotary: rope.rotary, pairs: rope.pairs };
    backend.rope(this.#q, this.#table.values, { ...place, heads });
    backend.rope(this.#k, this.#table.values, { ...place, heads: kvHeads });
    backend.storeKv(cache, this.#k, this.#v, position, columns);
    backend.attention(this.#attended, this.#q, cache, { position, columns, heads, scale: this.#scale });
    backend.matmul(this.#attended, columns, [{ weights: layer.output, out: this.#update }]);
    if (layer.outputBias) backend.addBias(this.#update, layer.outputBias, hidden, columns);
    backend.add(this.#stream, this.#update, columns * hidden);
  }

  #feedForward(layer: LayerWeights, columns: number): void {
    const backend = this.#backend;
    const { hidden, feedForward, normEpsilon } = this.config;
    backend.rmsNorm(this.#normed, this.#stream, layer.feedForwardNorm, hidden, columns, normEpsilon);
    backend.matmul(this.#normed, columns, [
      { weights: layer.gate, out: this.#gate },
      { weights: layer.up, out: this.#up },
    ]);
    backend.swiglu(this.#gate, this.#gate, this.#up, columns * stride(feedForward));
    backend.matmul(this.#gate, columns, [{ weights: layer.down, out: this.#update }]);
    backend.add(this.#stream, this.#update, columns * hidden);
  }

  #head(first: number, rows: number, out: Floats): void {
    const { hidden, normEpsilon } = this.config;
    const last = this.#backend.slice(this.#stream, first * hidden, rows * hidden);
    this.#backend.rmsNorm(this.#normed, last, this.#weights.outputNorm, hidden, rows, normEpsilon);
    this.#backend.matmul(this.#normed, rows, [{ weights: this.#weights.head, out }]);
  }
}
