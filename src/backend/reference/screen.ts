/** What `ScreenKernels` means, one formula after the other. */
import { f16ToNumber } from "../../format/half.ts";
import { exp, log } from "../../math.ts";
import { noise } from "../../philox.ts";
import type { Floats } from "../backend.ts";
import {
  expectProductTables,
  PRODUCT_COLUMNS,
  PRODUCT_WORDS,
  type ProductCodes,
  type ProductTables,
  placeTiles,
  productCodeAt,
  productShape,
  type RaceBar,
  type ScreenKernels,
  TILE_ROWS,
} from "../screen-kernels.ts";
import type { HeldMatrix } from "./matmul.ts";
import { matmul } from "./matmul.ts";
import { type Allocation, type Memory, valuesOf } from "./memory.ts";

interface HeldCodes extends ProductCodes {
  readonly allocation: Allocation<ProductTables>;
}

export function createReferenceScreenKernels(memory: Memory): ScreenKernels {
  const productBytes = (vocab: number, hidden: number) =>
    productShape(vocab, hidden).codes + hidden * PRODUCT_WORDS * 4 + vocab * 4;

  return {
    tileRows(x, weights, tiles) {
      const held = weights as HeldMatrix;
      const out = new Float32Array(tiles.length * TILE_ROWS);
      for (const [i, tile] of tiles.entries()) {
        const count = Math.min(TILE_ROWS, held.rows - tile * TILE_ROWS);
        const rows = held.view(tile * TILE_ROWS, count);
        matmul(out.subarray(i * TILE_ROWS), rows, valuesOf(x, "x", held.cols), 1);
      }
      return out;
    },

    putTiles(row, tiles, logits) {
      placeTiles(valuesOf(row, "row"), tiles, logits);
    },

    raise(row, error, vocab, scale, slack) {
      const [values, errors] = [valuesOf(row, "row", vocab), valuesOf(error, "error", vocab)];
      for (let i = 0; i < vocab; i++) values[i] += errors[i] * scale + slack;
    },

    listAbove(row, vocab, bar, most) {
      const listed = tokensWhere(valuesOf(row, "row", vocab), vocab, (logit) => logit >= bar);
      return listed.length > most ? null : listed;
    },

    listRacers(row, vocab, bar, most) {
      const listed = tokensWhere(
        valuesOf(row, "row", vocab),
        vocab,
        (logit, token) => scoreOf(logit, token, bar) >= bar.score * (1 - 1e-12),
      );
      return listed.length > most ? null : listed;
    },

    racer(row, vocab, bar) {
      const values = valuesOf(row, "row", vocab);
      let winner = -1;
      let best = bar.score;
      for (let token = 0; token < vocab; token++) {
        const score = scoreOf(values[token], token, bar);
        if (score > best || (winner < 0 && score === best)) [winner, best] = [token, score];
      }
      return winner;
    },

    productBytes,

    productCodes(tables) {
      expectProductTables(tables);
      const { vocab, hidden } = tables;
      const bytes = productBytes(vocab, hidden);
      const allocation = memory.allocate("product codes", bytes, () => ({
        vocab,
        hidden,
        codes: tables.codes.slice(),
        codebook: tables.codebook.slice(),
        scales: tables.scales.slice(),
        biases: tables.biases.slice(),
      }));
      return { vocab, hidden, bytes, allocation } as HeldCodes;
    },

    productLogits(x, codes, out) {
      productLogits(valuesOf(x, "x", codes.hidden), codes as HeldCodes, valuesOf(out, "out", codes.vocab));
    },

    freeCodes(codes) {
      memory.free((codes as HeldCodes).allocation);
    },
  };
}

function tokensWhere(
  row: Float32Array,
  vocab: number,
  isListed: (logit: number, token: number) => boolean,
): Uint32Array {
  const tokens: number[] = [];
  for (let token = 0; token < vocab; token++) if (isListed(row[token], token)) tokens.push(token);
  return Uint32Array.from(tokens);
}

function scoreOf(logit: number, token: number, { temperature, top, seed, position }: RaceBar): number {
  return exp((logit - top) / temperature) / -log(noise(seed, position, token));
}

function productLogits(x: Float32Array, codes: HeldCodes, out: Floats | Float32Array): void {
  const { vocab, hidden, codes: packed, codebook, scales, biases } = codes.allocation.data;
  const { pairs } = productShape(vocab, hidden);
  for (let token = 0; token < vocab; token++) {
    let sum = 0;
    for (let s = 0; s < 2 * pairs; s++) {
      const code = (packed[productCodeAt(token, s >> 1, pairs)] >> (4 * (s & 1))) & 15;
      for (let column = 0; column < PRODUCT_COLUMNS; column++) {
        const word = codebook[(s * PRODUCT_COLUMNS + column) * PRODUCT_WORDS + code];
        sum += word * x[s * PRODUCT_COLUMNS + column];
      }
    }
    (out as Float32Array)[token] = f16ToNumber(scales[token]) * sum + f16ToNumber(biases[token]);
  }
}
