/**
 * The truth that accuracy is held against: llama, qwen2, qwen3 and gemma3 in f64 over the dequantised weights.
 *
 * Written from the architectures' definitions (Touvron et al. 2023; Qwen2, Qwen3 and Gemma 3 reports; GGUF names) and
 * independent of `src`. Nothing is cached or quantised: activations, keys and values stay f64, exp and cos are the
 * engine's own. Cost: parameters x tokens multiply-adds in plain JavaScript, about 1e9 per second.
 */
import { dequantize, type GgufFile } from "./gguf.ts";

interface Shape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
  readonly epsilon: number;
  readonly ropeSize: number;
  /** Pairs are (i, i + n/2) rather than (2i, 2i + 1). */
  readonly halfSplit: boolean;
  /** Of scores, before softmax. */
  readonly attentionScale: number;
  /** By layer: how many positions are looked at, and the radians per position of each pair. */
  readonly windows: readonly number[];
  readonly frequencies: readonly Float64Array[];
}

/** Rows for a whole token sequence from an empty context. */
export class Oracle {
  readonly vocab: number;
  readonly bos: number | null;
  readonly #file: GgufFile;
  readonly #shape: Shape;
  readonly #weights = new Map<string, Float32Array>();
  readonly #isGemma: boolean;

  constructor(file: GgufFile) {
    const metadata = (key: string) => file.metadata.get(key) as number | undefined;
    const architecture = file.metadata.get("general.architecture") as string;
    if (!["llama", "qwen2", "qwen3", "gemma3"].includes(architecture)) {
      throw new RangeError(`Architecture must be llama, qwen2, qwen3 or gemma3, got ${architecture}`);
    }
    const own = (key: string) => metadata(`${architecture}.${key}`);
    const hidden = own("embedding_length")!;
    const heads = own("attention.head_count")!;
    const headSize = own("attention.key_length") ?? hidden / heads;
    const layers = own("block_count")!;
    const ropeSize = own("rope.dimension_count") ?? headSize;
    this.#file = file;
    this.#isGemma = architecture === "gemma3";
    const base = own("rope.freq_base") ?? 10_000;
    const linear = file.metadata.get(`${architecture}.rope.scaling.type`) === "linear";
    const everywhere = this.#ropeFrequencies(ropeSize, base, linear ? own("rope.scaling.factor")! : 1);
    // Gemma's local layers know nothing of the scaling.
    const nearby = this.#isGemma
      ? this.#ropeFrequencies(ropeSize, own("rope.freq_base_swa") ?? 10_000, 1)
      : everywhere;
    const isLocal = this.#localLayers(architecture, layers);
    this.#shape = {
      hidden,
      layers,
      heads,
      keyHeads: own("attention.head_count_kv") ?? heads,
      headSize,
      epsilon: own("attention.layer_norm_rms_epsilon")!,
      ropeSize,
      halfSplit: architecture !== "llama",
      attentionScale: 1 / Math.sqrt(this.#isGemma && layers === 62 ? hidden / heads : headSize),
      windows: isLocal.map((local) => (local ? own("attention.sliding_window")! : Number.POSITIVE_INFINITY)),
      frequencies: isLocal.map((local) => (local ? nearby : everywhere)),
    };
    this.vocab = file.tensors.get("token_embd.weight")!.shape[1];
    const addBos = file.metadata.get("tokenizer.ggml.add_bos_token");
    const wantsBos = addBos ?? file.metadata.get("tokenizer.ggml.model") === "llama";
    this.bos = wantsBos ? (metadata("tokenizer.ggml.bos_token_id") ?? 1) : null;
  }

  /** Logits that follow each token, (tokens, vocab) row-major. */
  forward(tokens: ArrayLike<number>): Float64Array {
    const { hidden, layers } = this.#shape;
    const count = tokens.length;
    const embedding = this.#weight("token_embd.weight");
    const x = new Float64Array(count * hidden);
    for (let t = 0; t < count; t++) {
      x.set(embedding.subarray(tokens[t] * hidden, (tokens[t] + 1) * hidden), t * hidden);
    }
    if (this.#isGemma) for (let i = 0; i < x.length; i++) x[i] *= Math.fround(Math.sqrt(hidden));
    for (let layer = 0; layer < layers; layer++) {
      const block = `blk.${layer}`;
      const attended = this.#attention(layer, this.#norm(x, hidden, `${block}.attn_norm`));
      addTo(x, this.#isGemma ? this.#norm(attended, hidden, `${block}.post_attention_norm`) : attended);
      const fed = this.#feedForward(block, this.#norm(x, hidden, `${block}.ffn_norm`));
      addTo(x, this.#isGemma ? this.#norm(fed, hidden, `${block}.post_ffw_norm`) : fed);
    }
    const head = this.#file.tensors.has("output.weight") ? "output" : "token_embd";
    return this.#linear(head, this.#norm(x, hidden, "output_norm"), hidden);
  }

  #attention(layer: number, x: Float64Array): Float64Array {
    const { hidden, heads, keyHeads, headSize, attentionScale, windows, frequencies } = this.#shape;
    const block = `blk.${layer}`;
    const q = this.#linear(`${block}.attn_q`, x, hidden);
    const k = this.#linear(`${block}.attn_k`, x, hidden);
    const v = this.#linear(`${block}.attn_v`, x, hidden);
    const normed = this.#file.tensors.has(`${block}.attn_q_norm.weight`);
    const [qs, ks] = normed
      ? [this.#norm(q, headSize, `${block}.attn_q_norm`), this.#norm(k, headSize, `${block}.attn_k_norm`)]
      : [q, k];
    const queries = this.#rotate(qs, heads, frequencies[layer]);
    const keys = this.#rotate(ks, keyHeads, frequencies[layer]);

    const count = x.length / hidden;
    const mixed = new Float64Array(count * heads * headSize);
    const weights = new Float64Array(count);
    for (let t = 0; t < count; t++) {
      for (let head = 0; head < heads; head++) {
        const keyHead = Math.floor((head * keyHeads) / heads);
        const query = (t * heads + head) * headSize;
        let largest = Number.NEGATIVE_INFINITY;
        const first = Math.max(0, t - windows[layer] + 1);
        for (let s = first; s <= t; s++) {
          const key = (s * keyHeads + keyHead) * headSize;
          let sum = 0;
          for (let i = 0; i < headSize; i++) sum += queries[query + i] * keys[key + i];
          weights[s] = sum * attentionScale;
          largest = Math.max(largest, weights[s]);
        }
        let total = 0;
        for (let s = first; s <= t; s++) {
          weights[s] = Math.exp(weights[s] - largest);
          total += weights[s];
        }
        for (let s = first; s <= t; s++) {
          const value = (s * keyHeads + keyHead) * headSize;
          const share = weights[s] / total;
          for (let i = 0; i < headSize; i++) mixed[query + i] += share * v[value + i];
        }
      }
    }
    return this.#linear(`${block}.attn_output`, mixed, heads * headSize);
  }

  #feedForward(block: string, x: Float64Array): Float64Array {
    const { hidden } = this.#shape;
    const gate = this.#linear(`${block}.ffn_gate`, x, hidden);
    const up = this.#linear(`${block}.ffn_up`, x, hidden);
    const activation = this.#isGemma ? gelu : silu;
    for (let i = 0; i < up.length; i++) up[i] *= activation(gate[i]);
    return this.#linear(`${block}.ffn_down`, up, (up.length * hidden) / x.length);
  }

  /** x (positions, inputs) times the matrix (outputs, inputs), plus the bias where the file has one. */
  #linear(name: string, x: Float64Array, inputs: number): Float64Array {
    const weight = this.#weight(`${name}.weight`);
    const bias = this.#file.tensors.has(`${name}.bias`) ? this.#weight(`${name}.bias`) : null;
    const outputs = weight.length / inputs;
    const count = x.length / inputs;
    const y = new Float64Array(count * outputs);
    for (let o = 0; o < outputs; o++) {
      const row = weight.subarray(o * inputs, (o + 1) * inputs);
      for (let t = 0; t < count; t++) {
        const at = t * inputs;
        let sum = bias === null ? 0 : bias[o];
        for (let i = 0; i < inputs; i++) sum += row[i] * x[at + i];
        y[t * outputs + o] = sum;
      }
    }
    return y;
  }

  #norm(x: Float64Array, size: number, name: string): Float64Array {
    const weight = this.#weight(`${name}.weight`);
    const y = new Float64Array(x.length);
    for (let at = 0; at < x.length; at += size) {
      let squares = 0;
      for (let i = 0; i < size; i++) squares += x[at + i] ** 2;
      const scale = 1 / Math.sqrt(squares / size + this.#shape.epsilon);
      for (let i = 0; i < size; i++) y[at + i] = x[at + i] * scale * weight[i];
    }
    return y;
  }

  #rotate(x: Float64Array, heads: number, frequencies: Float64Array): Float64Array {
    const { headSize, ropeSize, halfSplit } = this.#shape;
    for (let at = 0; at < x.length; at += headSize) {
      const position = Math.floor(at / (heads * headSize));
      for (let pair = 0; pair < ropeSize / 2; pair++) {
        const first = at + (halfSplit ? pair : 2 * pair);
        const second = first + (halfSplit ? ropeSize / 2 : 1);
        const cosine = Math.cos(position * frequencies[pair]);
        const sine = Math.sin(position * frequencies[pair]);
        const [a, b] = [x[first], x[second]];
        x[first] = a * cosine - b * sine;
        x[second] = a * sine + b * cosine;
      }
    }
    return x;
  }

  /** Radians per position of each pair; `rope_freqs.weight` holds the divisors of Llama 3's scaling. */
  #ropeFrequencies(ropeSize: number, base: number, factor: number): Float64Array {
    const scaled = this.#file.tensors.has("rope_freqs.weight");
    const divisors = scaled ? this.#weight("rope_freqs.weight") : null;
    return Float64Array.from(
      { length: ropeSize / 2 },
      (_, i) => base ** ((-2 * i) / ropeSize) / factor / (divisors?.[i] ?? 1),
    );
  }

  /** Which layers have a window: of Gemma's every six all but the last, of other files' all. */
  #localLayers(architecture: string, layers: number): boolean[] {
    const key = `${architecture}.attention.sliding_window`;
    const pattern = this.#file.metadata.get(`${key}_pattern`) ?? (this.#isGemma ? 6 : 0);
    const hasWindow = ((this.#file.metadata.get(key) as number | undefined) ?? 0) > 0;
    return Array.from({ length: layers }, (_, layer) => {
      if (!hasWindow) return false;
      if (Array.isArray(pattern)) return pattern[layer];
      return pattern === 0 || layer % (pattern as number) < (pattern as number) - 1;
    });
  }

  #weight(name: string): Float32Array {
    let weight = this.#weights.get(name);
    if (weight === undefined) {
      weight = dequantize(this.#file, name);
      this.#weights.set(name, weight);
    }
    return weight;
  }
}

function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function addTo(x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
