/**
 * llama: the forward pass of the llama family, as a sequence of backend calls.
 *
 *     x  =  embedding[token]
 *     per layer:   x += Wo · attention(rope(Wq · norm(x)), rope(Wk · norm(x)), Wv · norm(x))
 *                  x += Wdown · (silu(Wgate · norm(x)) ⊙ (Wup · norm(x)))
 *     row  =  W · norm(x)
 *
 * Biases on the projections, norms on heads and after each half of a layer, a scaled embedding, GELU instead of SiLU, and
 * layers that look at a window of positions are taken where the file or its architecture (folder architecture/) has them.
 *
 * Tokens of one or more sequences go through each layer together, so its weights are read once for all of them. Every
 * operation treats columns independently, and attention looks at a column's own sequence alone: that makes a position's
 * row the same however its sequence was cut, whatever it shares a pass with, and on a path of a tree.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971; what the others add: see their files.
 */
import { type Backend, type Floats, type KvCache, stride } from "../backend/backend.ts";
import type { LlamaConfig } from "./config.ts";
import type { DraftHead } from "./draft-head.ts";
import { CertifiedHead } from "./head/certified-head.ts";
import type { Head } from "./head/head.ts";
import { openDraft } from "./head/head-draft.ts";
import { RowHead } from "./head/row-head.ts";
import { Likelihood } from "./likelihood.ts";
import { OutputHead } from "./output-head.ts";
import type { RopeConfig } from "./rope-config.ts";
import { RopeTable, tableLength } from "./rope-table.ts";
import { openShortlist } from "./shortlist-head.ts";
import type { LayerWeights, LlamaWeights } from "./weights.ts";

/** Tokens that those take at a time who cut a text into pieces; no backend's passes take fewer. */
export const CHUNK = 32;

/** What one sequence brings to a pass: columns, and where the rows of the last of them go. */
export interface Part {
  readonly cache: KvCache;
  readonly tokens: ArrayLike<number>;
  /** All of its columns, in order. Their positions are claimed. */
  readonly runs: readonly Run[];
  /** Rows that are wanted, 0 … tokens.length, of its last columns. */
  readonly rows: number;
  /** (states in `known` + rows, stride(vocab)) */
  readonly out: Floats;
  /** States, (some, D), that earlier passes left for the tokens before its columns. Their rows are wanted too. */
  readonly known?: Floats;
  /** Where to leave the states of its last columns, (some, D): the last layer's output, normed, as the head takes it. */
  readonly states?: Floats;
}

/** Consecutive columns at consecutive positions, each following the one before. */
export interface Run {
  readonly columns: number;
  readonly position: number;
  /** For nodes of a tree: the positions are lent to them, for this run only. */
  readonly branch?: Branch;
}

/** Keys and values of nodes wait in a cache of their own, in slots, and are moved to where their path is looked at. */
export interface Branch {
  readonly waiting: KvCache;
  /** Of the run's first node. */
  readonly slot: number;
  /** What must be in place before the run can look back: ancestors that are not there, and the run itself. */
  readonly moves: readonly { readonly source: number; readonly position: number; readonly columns: number }[];
}

/** A run in a pass: its columns of the working vectors, and how rope turns them; the same in every layer. */
interface Span {
  readonly cache: KvCache;
  readonly run: Run;
  readonly q: Floats;
  readonly k: Floats;
  readonly v: Floats;
  readonly attended: Floats;
  readonly turnQ: Parameters<Backend["rope"]>[2];
  readonly turnK: Parameters<Backend["rope"]>[2];
}

export class Llama {
  readonly config: LlamaConfig;
  readonly vocab: number;
  /** Positions that rope has angles for. */
  readonly contextLength: number;
  /** Columns of a pass at most. */
  readonly passColumns: number;
  readonly #backend: Backend;
  readonly #weights: LlamaWeights;
  readonly #rope: RopeTable;
  readonly #localRope: RopeTable;
  // Working vectors of a pass, reused by every call; shapes are (passColumns, size).
  readonly #stream: Floats; // D
  readonly #normed: Floats; // D
  readonly #q: Floats; // H d
  readonly #k: Floats; // G d
  readonly #v: Floats; // G d
  readonly #attended: Floats; // H d
  readonly #gate: Floats; // F
  readonly #up: Floats; // F
  readonly #update: Floats; // D
  readonly #output: OutputHead;

  constructor(backend: Backend, config: LlamaConfig, weights: LlamaWeights, contextLength: number) {
    const { hidden, heads, kvHeads, headDim, feedForward } = config;
    this.config = config;
    this.vocab = weights.head.rows;
    this.contextLength = contextLength;
    this.passColumns = backend.passColumns;
    this.#backend = backend;
    this.#weights = weights;
    const table = (rope: RopeConfig) => new RopeTable(backend, rope, contextLength, weights.ropeScaling);
    this.#rope = table(config.rope);
    this.#localRope = config.local === null ? this.#rope : table(config.local.rope);
    const vectors = (size: number) => backend.floats(this.passColumns * stride(size));
    this.#stream = vectors(hidden);
    this.#normed = vectors(hidden);
    this.#q = vectors(heads * headDim);
    this.#k = vectors(kvHeads * headDim);
    this.#v = vectors(kvHeads * headDim);
    this.#attended = vectors(heads * headDim);
    this.#gate = vectors(feedForward);
    this.#up = vectors(feedForward);
    this.#update = vectors(hidden);
    this.#output = new OutputHead(backend, weights, config.normEpsilon, this.#normed);
  }

  /** f32 values of the working vectors and of rope's tables. */
  static workingLength(config: LlamaConfig, contextLength: number, passColumns: number): number {
    const { hidden, heads, kvHeads, headDim, feedForward, rope, local } = config;
    const column = 3 * hidden + 2 * heads * headDim + 2 * kvHeads * headDim + 2 * stride(feedForward);
    const tables = [rope, ...(local === null ? [] : [local.rope])];
    return tables.reduce((sum, table) => sum + tableLength(table, contextLength), passColumns * column);
  }

  /** Runs a pass over at most `passColumns` columns of different sequences; leaves the rows of each part in its `out`. */
  forward(parts: readonly Part[]): void {
    const tokens: number[] = [];
    const spans: Span[] = [];
    for (const part of parts) {
      let column = tokens.length;
      for (const run of part.runs) {
        spans.push(this.#span(part.cache, run, column));
        column += run.columns;
      }
      for (let i = 0; i < part.tokens.length; i++) tokens.push(part.tokens[i]);
    }
    const { hidden, embeddingScale } = this.config;
    this.#backend.embed(this.#stream, this.#weights.embedding, tokens);
    if (embeddingScale !== 1) this.#backend.scale(this.#stream, embeddingScale, tokens.length * hidden);
    this.#weights.layers.forEach((weights, layer) => {
      this.#attend(weights, layer, spans, tokens.length);
      this.#feedForward(weights, tokens.length);
    });
    this.#output.run(this.#stream, parts);
  }

  /** Weights that are read to make a row of a state, in bytes. */
  get headBytes(): number {
    const { head, storedHeads } = this.#weights;
    return storedHeads.model?.bytes ?? head.bytes;
  }

  /** A cheap head over the states that the model's own takes, for one text. @throws {MemoryError} If there is no room for its rows. */
  openDraftHead(): DraftHead {
    const { head, storedHeads } = this.#weights;
    const { draft } = storedHeads;
    return draft === null ? openShortlist(this.#backend, head) : openDraft(this.#backend, draft);
  }

  /** Whether a matrix makes the rows, so that likelihoods need none. */
  get hasLikelihood(): boolean {
    const { model } = this.#weights.storedHeads;
    return model === null || model instanceof CertifiedHead;
  }

  /** Tells of a state what its row would tell, bit for bit, without making it; null: nobody does. */
  get answers(): Head | null {
    const { model } = this.#weights.storedHeads;
    // Those make the row to answer at all.
    return model instanceof RowHead ? null : model;
  }

  /** To be closed by the caller. @throws {MemoryError} If there is no room for a tile of logits. */
  openLikelihood(): Likelihood {
    return new Likelihood(this.#backend, this.#weights.head);
  }

  #span(cache: KvCache, run: Run, column: number): Span {
    const { position, columns } = run;
    const { heads, kvHeads, headDim, rope } = this.config;
    this.#rope.fill(position + columns);
    this.#localRope.fill(position + columns);
    const some = (x: Floats, size: number) => this.#backend.slice(x, column * size, columns * size);
    const turn = { position, columns, headDim, rotary: rope.rotary, pairs: rope.pairs };
    return {
      cache,
      run,
      q: some(this.#q, heads * headDim),
      k: some(this.#k, kvHeads * headDim),
      v: some(this.#v, kvHeads * headDim),
      attended: some(this.#attended, heads * headDim),
      turnQ: { ...turn, heads },
      turnK: { ...turn, heads: kvHeads },
    };
  }

  #attend(weights: LayerWeights, layer: number, spans: readonly Span[], columns: number): void {
    const backend = this.#backend;
    const { hidden, heads, kvHeads, headDim, normEpsilon } = this.config;
    backend.rmsNorm(this.#normed, this.#stream, weights.attentionNorm, hidden, columns, normEpsilon);
    backend.matmul(this.#normed, columns, [
      { weights: weights.q, out: this.#q },
      { weights: weights.k, out: this.#k },
      { weights: weights.v, out: this.#v },
    ]);
    if (weights.qBias) backend.addBias(this.#q, weights.qBias, heads * headDim, columns);
    if (weights.kBias) backend.addBias(this.#k, weights.kBias, kvHeads * headDim, columns);
    if (weights.vBias) backend.addBias(this.#v, weights.vBias, kvHeads * headDim, columns);
    if (weights.qNorm)
      backend.rmsNorm(this.#q, this.#q, weights.qNorm, headDim, columns * heads, normEpsilon);
    if (weights.kNorm)
      backend.rmsNorm(this.#k, this.#k, weights.kNorm, headDim, columns * kvHeads, normEpsilon);
    for (const span of spans) this.#lookBack(span, layer);
    backend.matmul(this.#attended, columns, [{ weights: weights.output, out: this.#update }]);
    if (weights.outputBias) backend.addBias(this.#update, weights.outputBias, hidden, columns);
    this.#addUpdate(weights.postAttentionNorm, columns);
  }

  /** Rope and attention of a run. */
  #lookBack({ cache, run, q, k, v, attended, turnQ, turnK }: Span, layer: number): void {
    const backend = this.#backend;
    const { columns, position, branch } = run;
    const { heads, attentionScale: scale, local } = this.config;
    const isLocal = local?.layers[layer];
    const { values: angles } = isLocal ? this.#localRope : this.#rope;
    backend.rope(q, angles, turnQ);
    backend.rope(k, angles, turnK);
    if (branch === undefined) backend.storeKv(cache, k, v, { layer, position, columns });
    else {
      const { waiting, slot, moves } = branch;
      backend.storeKv(waiting, k, v, { layer, position: slot, columns });
      for (const move of moves) backend.copyKv(cache, waiting, { layer, ...move });
    }
    const window = isLocal ? local?.window : undefined;
    backend.attention(attended, q, cache, { layer, position, columns, heads, scale, window });
  }

  #feedForward(layer: LayerWeights, columns: number): void {
    const backend = this.#backend;
    const { hidden, feedForward, gate, normEpsilon } = this.config;
    backend.rmsNorm(this.#normed, this.#stream, layer.feedForwardNorm, hidden, columns, normEpsilon);
    backend.matmul(this.#normed, columns, [
      { weights: layer.gate, out: this.#gate },
      { weights: layer.up, out: this.#up },
    ]);
    const count = columns * stride(feedForward);
    if (gate === "gelu") backend.geglu(this.#gate, this.#gate, this.#up, count);
    else backend.swiglu(this.#gate, this.#gate, this.#up, count);
    backend.matmul(this.#gate, columns, [{ weights: layer.down, out: this.#update }]);
    this.#addUpdate(layer.postFeedForwardNorm, columns);
  }

  /** Adds what a half of a layer has made to the stream, normed where there is a norm for it. */
  #addUpdate(norm: Floats | null, columns: number): void {
    const { hidden, normEpsilon } = this.config;
    if (norm) this.#backend.rmsNorm(this.#update, this.#update, norm, hidden, columns, normEpsilon);
    this.#backend.add(this.#stream, this.#update, columns * hidden);
  }
}
