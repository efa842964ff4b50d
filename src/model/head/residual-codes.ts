/**
 * residual-codes: what the word of a code misses of its tokens' rows, in a few bytes a token. Tokens of a code then have an
 * order of their own in every context; looked at are those of the best codes only.
 *
 *     row[i]    =  s[c(i)] + r[i]                          tokens of the PROBES codes with the largest s[j] + β[j]
 *     r[i]      =  ρ[i] + Σ_t table[t][code[i, t]]         rounded to the grid of the scores
 *     table[t]  =  words[t] · z[t],   z = basis · state    16 numbers for each of S sub-vectors of C columns
 *
 * All other tokens keep s[c(i)] + b[i]. Of equal codes the lowest is looked at.
 *
 * Cost     M · D for z, 128 S to join two tables of 16 to one of 256, and S / 2 look-ups for each token that is looked at.
 * Source   Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor search": residuals of a coarse quantiser,
 *          and several of its cells.
 */
import {
  PROBES,
  RESIDUAL_WORDS,
  type ResidualTables,
  SCORE_RANGE,
  snapped,
} from "../../backend/head-kernels.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import type { Codebook } from "./codebook.ts";
import type { Apart } from "./codebook-edits.ts";

/** Bytes of a token, at most. */
export const MOST_RESIDUAL_BYTES = 64;
/** Columns of a sub-vector, at most. */
export const MOST_RESIDUAL_COLUMNS = 64;

export class ResidualCodes {
  /** M = S · C: rows of the basis. */
  readonly size: number;
  readonly #codebook: Codebook;
  /** Of a token. */
  readonly #bytes: number;
  /** (V, S / 2) and (V), in order of the codebook's members: those of a code stand together. */
  readonly #codes: Uint8Array;
  readonly #bias: Float32Array;
  readonly #words: Float32Array;
  /** (S / 2, 256) working memory: of this precision they fit a first-level cache. */
  readonly #tables: Float32Array;

  /** @throws {RangeError} As `expectResidualTables`. */
  constructor(codebook: Codebook, tables: ResidualTables) {
    const { vocab } = codebook;
    const { bytes, codes, words, bias } = tables;
    this.size = expectResidualTables(vocab, tables);
    this.#codebook = codebook;
    this.#bytes = bytes;
    this.#words = words;
    this.#codes = new Uint8Array(codes.length);
    this.#bias = new Float32Array(vocab);
    for (const [at, token] of codebook.members.tokens.entries()) {
      this.#codes.set(codes.subarray(token * bytes, (token + 1) * bytes), at * bytes);
      this.#bias[at] = bias[token];
    }
    this.#tables = new Float32Array(bytes * 256);
  }

  /** @param scores (K) snapped. @param z (M) */
  open(scores: Float32Array, z: Float32Array): OpenedCodes {
    const { starts } = this.#codebook.members;
    const opened = openCodes(this.#codebook, scores);
    const { codes, logits } = opened;
    this.#fillTables(z);
    const [bytes, residuals, tables, bias] = [this.#bytes, this.#codes, this.#tables, this.#bias];
    let to = 0;
    for (const code of codes) {
      for (let at = starts[code]; at < starts[code + 1]; at++) {
        let sum = bias[at];
        for (let byte = 0; byte < bytes; byte++) sum += tables[byte * 256 + residuals[at * bytes + byte]];
        logits[to++] = scores[code] + snapped(sum);
      }
    }
    return opened;
  }

  #fillTables(z: Float32Array): void {
    const [words, tables] = [this.#words, this.#tables];
    const columns = this.size / (2 * this.#bytes);
    const products = new Float64Array(2 * RESIDUAL_WORDS);
    for (let byte = 0; byte < this.#bytes; byte++) {
      products.fill(0);
      for (let column = 0; column < 2 * columns; column++) {
        const k = 2 * byte * columns + column;
        const half = column < columns ? 0 : RESIDUAL_WORDS;
        for (let j = 0; j < RESIDUAL_WORDS; j++) products[half + j] += words[k * RESIDUAL_WORDS + j] * z[k];
      }
      for (let code = 0; code < 256; code++) {
        tables[byte * 256 + code] = products[code & 15] + products[RESIDUAL_WORDS + (code >> 4)];
      }
    }
  }
}

/** M of the tables. @throws {RangeError} If lengths do not belong together or a number is out of range; the message names it. */
export function expectResidualTables(vocab: number, { bytes, codes, words, bias }: ResidualTables): number {
  expectInteger("bytes", bytes, 1, MOST_RESIDUAL_BYTES);
  expectInteger("codes.length", codes.length, vocab * bytes, vocab * bytes);
  expectInteger("bias.length", bias.length, vocab, vocab);
  expectInteger("columns", words.length / (2 * bytes * RESIDUAL_WORDS), 1, MOST_RESIDUAL_COLUMNS);
  const wrong = words.findIndex((word) => !Number.isFinite(word));
  if (wrong >= 0) throw new RangeError(`"words[${wrong}]" must be finite, got ${words[wrong]}`);
  for (let token = 0; token < vocab; token++) {
    expectNumber(`bias[${token}]`, bias[token], -SCORE_RANGE, SCORE_RANGE);
  }
  return words.length / RESIDUAL_WORDS;
}

/** Tokens that are looked at for a state, as a rule. */
export function residualLooks({ codes, vocab }: Codebook): number {
  return Math.ceil((Math.min(PROBES, codes) / codes) * vocab);
}

/** The opened codes of a row that was made elsewhere. @param scores (K) snapped. @param row (V) */
export function openedIn(codebook: Codebook, scores: Float32Array, row: Float32Array): OpenedCodes {
  const opened = openCodes(codebook, scores);
  for (const [i, token] of opened.tokens.entries()) opened.logits[i] = row[token];
  return opened;
}

/** Codes that are opened, with logits that are yet to be told. */
function openCodes(codebook: Codebook, scores: Float32Array): OpenedCodes {
  const { members, codeOf } = codebook;
  const { tokens, starts } = members;
  const codes = codebook.bestCodes(scores, PROBES);
  const isOpen = new Uint8Array(codebook.codes);
  const opened = new Uint32Array(codes.reduce((sum, code) => sum + starts[code + 1] - starts[code], 0));
  let to = 0;
  for (const code of codes) {
    isOpen[code] = 1;
    opened.set(tokens.subarray(starts[code], starts[code + 1]), to);
    to += starts[code + 1] - starts[code];
  }
  return new OpenedCodes({ tokens: opened, logits: new Float64Array(to), codes, isOpen, codeOf });
}

/** Tokens of whole codes with logits of their own. */
export class OpenedCodes implements Apart {
  /** By code. */
  readonly tokens: Uint32Array;
  readonly logits: Float64Array;
  readonly codes: Uint32Array;
  readonly #isOpen: Uint8Array;
  readonly #codeOf: Uint16Array;
  #byToken: Map<number, number> | null = null;

  constructor(
    of: Pick<OpenedCodes, "tokens" | "logits" | "codes"> & { isOpen: Uint8Array; codeOf: Uint16Array },
  ) {
    this.tokens = of.tokens;
    this.logits = of.logits;
    this.codes = of.codes;
    this.#isOpen = of.isOpen;
    this.#codeOf = of.codeOf;
  }

  /** Of a token of these codes; undefined for others. */
  logit(token: number): number | undefined {
    if (!this.isAlone(token)) return undefined;
    this.#byToken ??= new Map(Array.from(this.tokens, (each, i) => [each, this.logits[i]]));
    return this.#byToken.get(token);
  }

  isAlone(token: number): boolean {
    return this.#isOpen[this.#codeOf[token]] === 1;
  }

  best(code: number): number | undefined {
    return this.#isOpen[code] === 1 ? -Infinity : undefined;
  }

  gone(): readonly number[] {
    return [];
  }
}
