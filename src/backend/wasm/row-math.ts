/**
 * RowMath by the kernels of assembly/verify: f32 rows that stay in linear memory, f64 sums.
 *
 * A row is an address. Its view is made when it is asked for, as growth of the memory detaches views. Rows that lie in
 * the memory already (a session's, or one made here) are used where they are, all others are copied in. Memory of rows
 * that are given back is kept for the next ones.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { stride } from "../backend.ts";
import { raceOf, referenceRowMath } from "../reference/row-math.ts";
import {
  accepts,
  expectSome,
  noLogit,
  type Row,
  type RowMath,
  type SparseRow,
  scatter,
  type Weights,
} from "../row-math.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";

/** Rows kept for the next round: those of eight drafted tokens, target and draft, and some residuals. */
const SPARE_ROWS = 20;

/** Of 1 / temperature: what lies below the best logit is out of reach long before. */
const MOST_INVERSE = 1e30;

class WasmWeights implements Weights {
  readonly address: number;
  readonly length: number;
  /** Number of the row, in order of making; 0 for one whose memory is someone else's. */
  readonly serial: number;
  mass = 0;
  isFree = false;
  readonly #memory: WebAssembly.Memory;
  #view: Float32Array | undefined;

  constructor(memory: WebAssembly.Memory, address: number, length: number, serial: number) {
    this.#memory = memory;
    this.address = address;
    this.length = length;
    this.serial = serial;
  }

  get values(): Float32Array {
    if (this.isFree) throw new TypeError("Cannot use a row of probabilities: already given back");
    if (this.#view === undefined || this.#view.buffer !== this.#memory.buffer) {
      this.#view = new Float32Array(this.#memory.buffer, this.address, this.length);
    }
    return this.#view;
  }
}

/** @param arena Where rows are allocated: that of the kernels' memory. */
export function createWasmRowMath(kernels: Exports, arena: Arena): RowMath {
  const { memory } = kernels;
  /** By address. */
  const live = new Map<number, WasmWeights>();
  const spares: { readonly address: number; readonly bytes: number }[] = [];
  let serial = 0;

  const isInside = (row: Row): row is Float32Array =>
    row.buffer === memory.buffer && row instanceof Float32Array;

  /** A row with anything in it. */
  const make = (length: number): WasmWeights => {
    const bytes = stride(length) * 4;
    const spare = spares.findIndex((one) => one.bytes === bytes);
    const address = spare < 0 ? arena.allocate(bytes) : spares.splice(spare, 1)[0].address;
    const weights = new WasmWeights(memory, address, length, ++serial);
    live.set(address, weights);
    return weights;
  };

  const free = (weights: Weights): void => {
    if (!(weights instanceof WasmWeights) || live.get(weights.address) !== weights) return;
    weights.isFree = true;
    live.delete(weights.address);
    if (spares.length < SPARE_ROWS)
      spares.push({ address: weights.address, bytes: stride(weights.length) * 4 });
    else arena.free(weights.address);
  };

  const release = (mark: number): void => {
    for (const weights of live.values()) if (weights.serial > mark) free(weights);
  };

  /** Calls back with addresses; rows from elsewhere are copied in for as long as that takes. */
  const at = <T>(rows: readonly Row[], body: (...addresses: number[]) => T): T => {
    // All of them before the first copy, which may move the memory.
    const inside = rows.map((row) => (isInside(row) ? row.byteOffset : undefined));
    const guests: WasmWeights[] = [];
    try {
      const addresses = inside.map((address, i) => {
        if (address !== undefined) return address;
        const guest = copy(rows[i]);
        guests.push(guest);
        return guest.address;
      });
      return body(...addresses);
    } finally {
      guests.forEach(free);
    }
  };

  const copy = (row: Row): WasmWeights => {
    const weights = make(row.length);
    weights.values.set(row);
    return weights;
  };

  const weigh = (weights: WasmWeights): WasmWeights => {
    weights.mass = kernels.mass(weights.address, weights.length);
    return weights;
  };

  const atBoth = <T>(p: Weights, q: Weights, body: (p: number, q: number, length: number) => T): T => {
    const rows = [p.values, q.values];
    const { length } = rows[0];
    expectInteger("q.values.length", rows[1].length, length, length);
    return at(rows, (pAt, qAt) => body(pAt, qAt, length));
  };

  const argmax = (row: Float32Array): number => {
    const best = kernels.argmax(row.byteOffset, row.length) >>> 0;
    return row[best] > -Infinity ? best : -1;
  };

  return {
    read(row) {
      if (!isInside(row)) return weigh(copy(row));
      const known = live.get(row.byteOffset);
      if (known?.length === row.length) return known;
      return weigh(new WasmWeights(memory, row.byteOffset, row.length, 0));
    },

    fromDistribution(distribution: SparseRow) {
      const weights = make(expectInteger("vocab", distribution.vocab, 1, 2 ** 31 - 1));
      scatter(distribution, weights.values.fill(0));
      return weigh(weights);
    },

    tempered(logits, temperature) {
      expectNumber("temperature", temperature, 0, Number.MAX_VALUE);
      // Its view is asked for last: what comes before may move the memory.
      const address = isInside(logits) ? logits.byteOffset : undefined;
      const weights = make(logits.length);
      if (address === undefined) weights.values.set(logits);
      const { length } = weights;
      const source = address ?? weights.address;
      if (temperature === 0) {
        const best = argmax(new Float32Array(memory.buffer, source, length));
        if (best >= 0) weights.values.fill(0)[best] = 1;
        weights.mass = best >= 0 ? 1 : NaN;
      } else {
        const inverse = Math.min(1 / temperature, MOST_INVERSE);
        weights.mass = kernels.tempered(source, weights.address, length, inverse);
      }
      if (!Number.isNaN(weights.mass)) return weights;
      free(weights);
      throw noLogit();
    },

    free,
    mark: () => serial,
    release,

    argmax: (row) => (isInside(row) ? argmax(row) : referenceRowMath.argmax(row)),
    mass: (row) => at([row], (address) => kernels.mass(address, row.length)),
    accepts,

    draw: ({ values, mass }, u) =>
      expectSome(at([values], (address) => kernels.draw(address, values.length, u * mass))),

    residual: (p, q, scale) =>
      atBoth(p, q, (pAt, qAt, length) => {
        const rest = make(length);
        const { address } = rest;
        rest.mass = kernels.residual(pAt, qAt, address, length, share(scale, p.mass), share(1, q.mass));
        return rest;
      }),

    residualMass: (p, q, scale) =>
      atBoth(p, q, (pAt, qAt, length) =>
        kernels.residual(pAt, qAt, 0, length, share(scale, p.mass), share(1, q.mass)),
      ),

    without: ({ values }, tokens) =>
      at([values], (address) => {
        const { length } = values;
        const rest = make(length);
        rest.values.set(new Float32Array(memory.buffer, address, length));
        for (const token of tokens) rest.values[token] = 0;
        return weigh(rest);
      }),

    gumbelArgmax({ values }, random, position) {
      const { seed } = random;
      if (seed === undefined) return raceOf(values, random, position);
      return expectSome(
        at([values], (address) =>
          kernels.race(address, values.length, seed | 0, (seed / 2 ** 32) | 0, position),
        ),
      );
    },
  };
}

/** What turns weights into probabilities times `scale`; of a row without mass, into zeros. */
function share(scale: number, mass: number): number {
  return mass > 0 ? scale / mass : 0;
}
