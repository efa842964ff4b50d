/**
 * repack: blocks of a file in the order of wgsl/formats.ts.
 *
 * A row's codes and sections are whole words, so that a matrix can be written row by row as its bytes arrive.
 */
import { blockSize, type WeightType } from "../../format/blocks.ts";
import { GPU_FORMATS } from "./wgsl/formats.ts";

/** Where the parts of a matrix of some rows stand, in words from its beginning. */
export interface MatrixLayout {
  readonly units: number;
  /** Words of codes per row. */
  readonly codes: number;
  /** Words per row of each section. */
  readonly sections: readonly number[];
  /** Words per row of all. */
  readonly words: number;
}

export function layoutOf(type: WeightType, cols: number): MatrixLayout {
  const { unit, vectors, sections: kinds } = GPU_FORMATS[type];
  const units = Math.ceil(cols / unit);
  const codes = units * vectors * 4;
  const sections = kinds.map((words) => words(units));
  return { units, codes, sections, words: sections.reduce((sum, words) => sum + words, codes) };
}

/** Words of a row, from index 0 of each. */
export interface RowWords {
  readonly codes: Uint8Array;
  readonly sections: readonly DataView[];
}

/** Puts a row, as the file has it, in order. What `into` holds beyond it must be 0. */
export function repackRow(type: WeightType, row: Uint8Array, into: RowWords): void {
  const { weights, bytes } = blockSize(type);
  if (weights === 1) {
    into.codes.set(row);
    return;
  }
  const pack = PACKERS[type as keyof typeof PACKERS];
  for (let block = 0; block * bytes < row.length; block++) pack(row, block * bytes, block, into);
}

/** Takes the block at byte `at`, the `block`-th of its row. */
type Pack = (row: Uint8Array, at: number, block: number, into: RowWords) => void;

const u16 = (bytes: Uint8Array, at: number) => bytes[at] | (bytes[at + 1] << 8);

function setHalf(section: DataView, index: number, bits: number): void {
  section.setUint16(2 * index, bits, true);
}

function copy(into: Uint8Array, to: number, from: Uint8Array, at: number, count: number): void {
  for (let i = 0; i < count; i++) into[to + i] = from[at + i];
}

/** Blocks of 32 with nibbles as they are. Places in the block: scale, perhaps minimum, perhaps fifth bits, nibbles. */
function nibbles(hasMinimum: boolean, hasFifth: boolean): Pack {
  const header = 2 + (hasMinimum ? 2 : 0);
  return (row, at, block, { codes, sections }) => {
    if (hasMinimum) sections[0].setUint32(4 * block, u16(row, at) | (u16(row, at + 2) << 16), true);
    else setHalf(sections[0], block, u16(row, at));
    let next = at + header;
    if (hasFifth) {
      sections[1].setUint32(4 * block, u16(row, next) | (u16(row, next + 2) << 16), true);
      next += 4;
    }
    copy(codes, 16 * block, row, next, 16);
  };
}

/** Q4_K and Q5_K: 8 units of 32, whose nibbles stand in pairs of units. */
function minimumK(hasFifth: boolean): Pack {
  const first = hasFifth ? 48 : 16;
  return (row, at, block, { codes, sections }) => {
    sections[1].setUint32(4 * block, u16(row, at) | (u16(row, at + 2) << 16), true);
    for (let index = 0; index < 8; index++) {
      const unit = 8 * block + index;
      setHalf(sections[0], unit, innerOf(row, at + 4, index));
      const pair = at + first + (index >> 1) * 32;
      const shift = (index & 1) * 4;
      for (let j = 0; j < 16; j++) {
        const low = (row[pair + j] >> shift) & 15;
        codes[16 * unit + j] = low | (((row[pair + 16 + j] >> shift) & 15) << 4);
      }
      if (!hasFifth) continue;
      let fifth = 0;
      for (let j = 0; j < 32; j++) fifth |= ((row[at + 16 + j] >> index) & 1) << j;
      sections[2].setUint32(4 * unit, fifth >>> 0, true);
    }
  };
}

/** Scale in the low byte, minimum in the high one, 6 bits each. */
function innerOf(row: Uint8Array, at: number, index: number): number {
  if (index < 4) return (row[at + index] & 63) | ((row[at + index + 4] & 63) << 8);
  const low = row[at + index + 4];
  const scale = (low & 15) | ((row[at + index - 4] >> 6) << 4);
  return scale | (((low >> 4) | ((row[at + index] >> 6) << 4)) << 8);
}

const sixBits: Pack = (row, at, block, { codes, sections }) => {
  setHalf(sections[1], block, u16(row, at + 208));
  for (let index = 0; index < 8; index++) {
    const unit = 8 * block + index;
    setHalf(sections[0], unit, u16(row, at + 192 + 2 * index));
    const [half, quarter] = [index >> 2, index & 3];
    const low = at + half * 64 + (quarter & 1) * 32;
    const shift = quarter < 2 ? 0 : 4;
    const high = at + 128 + half * 32;
    for (let j = 0; j < 16; j++) {
      codes[16 * unit + j] = ((row[low + j] >> shift) & 15) | (((row[low + 16 + j] >> shift) & 15) << 4);
    }
    for (let part = 0; part < 2; part++) {
      let bits = 0;
      for (let j = 0; j < 16; j++) bits |= ((row[high + 16 * part + j] >> (2 * quarter)) & 3) << (2 * j);
      sections[2].setUint32(4 * (2 * unit + part), bits >>> 0, true);
    }
  }
};

const PACKERS = {
  Q8_0: ((row, at, block, { codes, sections }) => {
    setHalf(sections[0], block, u16(row, at));
    copy(codes, 32 * block, row, at + 2, 32);
  }) satisfies Pack,
  Q4_0: nibbles(false, false),
  IQ4_NL: nibbles(false, false),
  Q4_1: nibbles(true, false),
  Q5_0: nibbles(false, true),
  Q5_1: nibbles(true, true),
  Q4_K: minimumK(false),
  Q5_K: minimumK(true),
  Q6_K: sixBits,
};
