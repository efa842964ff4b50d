/**
 * formats: how each weight format lies in GPU memory, and how a thread makes numbers of it.
 *
 * The bytes of the file, put in order for wide loads: codes of a unit of weights (32 of quantised types) in vectors of 16
 * bytes, and what else belongs to a unit in sections of their own, behind the codes of all rows:
 *
 *     codes       (rows, units, vectors) vec4<u32>       nibbles as in Q4_0: byte j has weights j and j + 16
 *     section s   (rows, words of a row) u32             scales in halves, fifth bits, …
 *
 * So the threads of a group read neighbouring vectors, and a weight takes as many bits as in the file. All products are
 * exact in f32; where a minimum is added, the sum is rounded once, as format/quants.ts has it.
 */
import type { WeightType } from "../../../format/blocks.ts";
import { range } from "./common.ts";

/** Per row of `units`, words of each section. */
type SectionWords = (units: number) => number;

export interface GpuFormat {
  /** Weights of a unit: what a thread takes at a time. */
  readonly unit: number;
  /** Vectors of codes per unit. */
  readonly vectors: number;
  readonly sections: readonly SectionWords[];
  /** `struct Unit`, `fn load(row, unit) -> Unit`, and what they need. */
  readonly code: string;
  /** For each four weights of a unit an expression of `u: Unit`, a vec4<f32>. */
  readonly pieces: readonly string[];
}

/** Parameters of kernels that read weights: word of the matrix that each section begins with. */
export const SECTIONS = ["section0", "section1", "section2"];

const halves: SectionWords = (units) => Math.ceil(units / 2);
const words: SectionWords = (units) => units;
const halfPerEight: SectionWords = (units) => Math.ceil(units / 16);
const wordPerEight: SectionWords = (units) => Math.ceil(units / 8);

/** A word of a section: index in words. */
const WORD = /* wgsl */ `
fn word_at(i: u32) -> u32 { return weights[i >> 2u][i & 3u]; }
fn half_at(base: u32, words: u32, row: u32, i: u32) -> u32 {
  return (word_at(base + row * words + (i >> 1u)) >> ((i & 1u) * 16u)) & 0xffffu;
}
fn nibbles(word: u32) -> vec4<u32> { return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u); }
fn fifths(bits: u32, first: u32) -> vec4<u32> {
  return ((vec4<u32>(bits >> first) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u)) << vec4<u32>(4u);
}
`;

const SIGNED = /* wgsl */ `
fn signed(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}`;

/**
 * IQ4_NL: four codes as the bytes −127, −104, −83, −65 | −49, −35, −22, −10 | 1, 13, 25, 38 | 53, 69, 89, 113. The word of four
 * levels is chosen, then the byte: an array that is indexed would be memory of each thread.
 */
const NON_LINEAR = /* wgsl */ `
fn levels_of(codes: u32) -> u32 {
  let code = vec4<u32>(codes) >> vec4<u32>(0u, 8u, 16u, 24u);
  let isOdd = (code & vec4<u32>(4u)) != vec4<u32>(0u);
  let negative = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), isOdd);
  let positive = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), isOdd);
  let four = select(negative, positive, (code & vec4<u32>(8u)) != vec4<u32>(0u));
  let level = ((four >> ((code & vec4<u32>(3u)) * 8u)) & vec4<u32>(255u)) << vec4<u32>(0u, 8u, 16u, 24u);
  return (level.x | level.y) | (level.z | level.w);
}`;

/** Codes of weights 4i … 4i + 3 of a unit. */
const nibblePieces = range(8).map((i) => `nibbles(u.codes[${i % 4}] >> ${i < 4 ? 0 : 4}u)`);
const fifthPieces = nibblePieces.map((piece, i) => `(${piece} | fifths(u.fifth, ${4 * i}u))`);
const offset = (code: string, by: number) => `(vec4<f32>(${code}) - ${by}.0) * u.scale`;
/** The product is exact, so it does not matter whether the sum is fused. */
const plusMinimum = (code: string) => `(vec4<f32>(${code}) * u.scale + u.minimum)`;

/** A format of 16 bytes of nibbles per unit. `members` of Unit, each with the expression that loads it. */
function nibbleFormat(
  sections: readonly SectionWords[],
  members: Readonly<Record<string, string>>,
  pieces: readonly string[],
  more = "",
): GpuFormat {
  const fields = Object.keys(members).map((name) => (name === "fifth" ? "fifth: u32" : `${name}: f32`));
  return {
    unit: 32,
    vectors: 1,
    sections,
    pieces,
    code: /* wgsl */ `${WORD}${more}
struct Unit { codes: vec4<u32>, ${fields.join(", ")} }
fn load(row: u32, unit: u32) -> Unit {
  return Unit(weights[row * p.units + unit], ${Object.values(members).join(", ")});
}`,
  };
}

const HALF_SCALE = "half(half_at(p.section0, (p.units + 1u) / 2u, row, unit))";
const SCALE_OF_PAIR = "half(word_at(p.section0 + row * p.units + unit))";
const MINIMUM_OF_PAIR = "half(word_at(p.section0 + row * p.units + unit) >> 16u)";

/** Q4_K and Q5_K: section 0 has the inner scale and minimum of a unit, section 1 the outer ones of eight. */
const INNER = "half_at(p.section0, (p.units + 1u) / 2u, row, unit)";
const OUTER = "word_at(p.section1 + row * ((p.units + 7u) / 8u) + unit / 8u)";
const SCALE_K = `f32(${INNER} & 0xffu) * half(${OUTER})`;
const MINIMUM_K = `-(f32(${INNER} >> 8u) * half(${OUTER} >> 16u))`;

const f32Format: GpuFormat = {
  unit: 4,
  vectors: 1,
  sections: [],
  pieces: ["bitcast<vec4<f32>>(u.codes)"],
  code: /* wgsl */ `
struct Unit { codes: vec4<u32> }
fn load(row: u32, unit: u32) -> Unit { return Unit(weights[row * p.units + unit]); }`,
};

const pairs = (name: string) =>
  [0, 2].map((i) => `vec4<f32>(${name}(u.codes[${i}]), ${name}(u.codes[${i + 1}]))`);

export const GPU_FORMATS: Readonly<Record<WeightType, GpuFormat>> = {
  F32: f32Format,
  F16: {
    ...f32Format,
    unit: 8,
    pieces: pairs("two_halves"),
    code: `${f32Format.code}\nfn two_halves(word: u32) -> vec2<f32> { return vec2<f32>(half(word), half(word >> 16u)); }`,
  },
  BF16: {
    ...f32Format,
    unit: 8,
    pieces: pairs("two_upper"),
    code: `${f32Format.code}
fn two_upper(word: u32) -> vec2<f32> { return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u)); }`,
  },
  Q8_0: {
    unit: 32,
    vectors: 2,
    sections: [halves],
    pieces: range(8).map((i) => `(signed(u.${i < 4 ? "low" : "high"}[${i % 4}]) * u.scale)`),
    code: /* wgsl */ `${WORD}
struct Unit { low: vec4<u32>, high: vec4<u32>, scale: f32 }
fn load(row: u32, unit: u32) -> Unit {
  let at = 2u * (row * p.units + unit);
  return Unit(weights[at], weights[at + 1u], ${HALF_SCALE});
}
${SIGNED}`,
  },
  Q4_0: nibbleFormat(
    [halves],
    { scale: HALF_SCALE },
    nibblePieces.map((code) => offset(code, 8)),
  ),
  IQ4_NL: nibbleFormat(
    [halves],
    { scale: HALF_SCALE },
    range(8).map(
      (i) => `(signed(levels_of((u.codes[${i % 4}] >> ${i < 4 ? 0 : 4}u) & 0x0f0f0f0fu)) * u.scale)`,
    ),
    `${SIGNED}\n${NON_LINEAR}`,
  ),
  Q4_1: nibbleFormat(
    [words],
    { scale: SCALE_OF_PAIR, minimum: MINIMUM_OF_PAIR },
    nibblePieces.map(plusMinimum),
  ),
  Q5_0: nibbleFormat(
    [halves, words],
    { scale: HALF_SCALE, fifth: "word_at(p.section1 + row * p.units + unit)" },
    fifthPieces.map((code) => offset(code, 16)),
  ),
  Q5_1: nibbleFormat(
    [words, words],
    {
      scale: SCALE_OF_PAIR,
      minimum: MINIMUM_OF_PAIR,
      fifth: "word_at(p.section1 + row * p.units + unit)",
    },
    fifthPieces.map(plusMinimum),
  ),
  Q4_K: nibbleFormat(
    [halves, wordPerEight],
    { scale: SCALE_K, minimum: MINIMUM_K },
    nibblePieces.map(plusMinimum),
  ),
  Q5_K: nibbleFormat(
    [halves, wordPerEight, words],
    { scale: SCALE_K, minimum: MINIMUM_K, fifth: "word_at(p.section2 + row * p.units + unit)" },
    fifthPieces.map(plusMinimum),
  ),
  Q6_K: sixBits(),
};

/** Section 0: two inner scales per unit; 1: the outer one of eight units; 2: two words of high bits per unit. */
function sixBits(): GpuFormat {
  const pieces = range(8).map((i) => {
    const high = `sixes(u.high${i < 4 ? 0 : 1} >> ${(i % 4) * 8}u)`;
    return `((vec4<f32>(${nibblePieces[i]} | ${high}) - 32.0) * u.scale${i < 4 ? 0 : 1})`;
  });
  return {
    unit: 32,
    vectors: 1,
    sections: [halves, halfPerEight, (units) => 2 * units],
    pieces,
    code: /* wgsl */ `${WORD}
struct Unit { codes: vec4<u32>, high0: u32, high1: u32, scale0: f32, scale1: f32 }
fn load(row: u32, unit: u32) -> Unit {
  let inner = ${INNER};
  let outer = half(half_at(p.section1, (p.units + 15u) / 16u, row, unit / 8u));
  let at = p.section2 + 2u * (row * p.units + unit);
  return Unit(weights[row * p.units + unit], word_at(at), word_at(at + 1u),
    f32(bitcast<i32>(inner << 24u) >> 24u) * outer, f32(bitcast<i32>(inner << 16u) >> 24u) * outer);
}
fn sixes(bits: u32) -> vec4<u32> {
  return ((vec4<u32>(bits) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u)) << vec4<u32>(4u);
}`,
  };
}

/** `Unit` and `load` of a type, and for its pieces the functions `piece0(u)`, `piece1(u)`, … */
export function piecesOf(type: WeightType): string {
  const { code, pieces } = GPU_FORMATS[type];
  const functions = pieces.map((piece, i) => `fn piece${i}(u: Unit) -> vec4<f32> { return ${piece}; }`);
  return [code, ...functions].join("\n");
}
