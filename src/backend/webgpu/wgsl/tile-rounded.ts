/** tile-rounded: what the tile of wgsl/tile.ts does with inputs that were rounded: in whole numbers, or in half floats. */
import type { WeightType } from "../../../format/blocks.ts";
import { CODE_FORMATS, type CodeFormat, type RoundedProducts } from "./codes.ts";
import { PIECES } from "./halves.ts";
import { vectorsOfBlock } from "./round.ts";
import { TILE_COLUMNS, TILE_ROWS, TILE_THREADS, type TileBody } from "./tile.ts";

const FOUR = [0, 1, 2, 3];
/** From row to row: one more than there are, so that threads beside each other read different banks. */
const STRIDE = PIECES + 1;

export function roundedBody(type: WeightType, products: RoundedProducts): TileBody {
  return products.rounding === "f16" ? halvesBody(CODE_FORMATS[type]!, products) : packedBody(products);
}

/** A member of `factors`, of row r of a thread. */
const factorAt = (i: number, r: number) => `factors[${TILE_ROWS * i + 8 * r}u + across]`;

/** Puts the factors of a row. */
const putFactors = ({ factors }: RoundedProducts) =>
  factors.map((factor, i) => `factors[${TILE_ROWS * i}u + place] = ${factor};`).join("\n        ");

function packedBody(products: RoundedProducts): TileBody {
  const { rounding, weights, factors } = products;
  const vectors = vectorsOfBlock(rounding);
  const half = (part: number) => `vec4<u32>(${FOUR.map((i) => weights[4 * part + i]).join(", ")})`;
  const multiplied = (c: number) => {
    const inputs = products.inputs((i) => `inputTile[column + ${i}u]`);
    const sums = FOUR.map((r) =>
      products.sum(
        `sum${c}[${r}]`,
        (i) => `w${r}_${i >> 2}[${i % 4}]`,
        (i) => factorAt(i, r),
      ),
    );
    return `{
        let column = (down + ${8 * c}u) * ${vectors}u;
        ${inputs.join("\n        ")}
        sum${c} = vec4<f32>(${sums.join(",\n          ")});
      }`;
  };
  return {
    // Rows of three vectors, though they have two: again for the banks.
    memory: /* wgsl */ `
var<workgroup> weightTile: array<vec4<u32>, ${TILE_ROWS * 3}>;
var<workgroup> factors: array<f32, ${TILE_ROWS * factors.length}>;
var<workgroup> inputTile: array<vec4<u32>, ${TILE_COLUMNS * vectors}>;`,
    units: 1,
    bring: /* wgsl */ `let u = load(source, unit);
      if (part == 0u) {
        weightTile[place * 3u] = ${half(0)};
        ${putFactors(products)}
      } else {
        weightTile[place * 3u + 1u] = ${half(1)};
      }
      for (var i = thread; i < ${TILE_COLUMNS * vectors}u; i += ${TILE_THREADS}u) {
        let c = min(firstColumn + i / ${vectors}u, p.columns - 1u);
        inputTile[i] = floats[p.x + c * p.xStride + unit * ${vectors}u + i % ${vectors}u];
      }`,
    multiply: /* wgsl */ `${FOUR.map(
      (r) => `let w${r}_0 = weightTile[(across + ${8 * r}u) * 3u];
      let w${r}_1 = weightTile[(across + ${8 * r}u) * 3u + 1u];`,
    ).join("\n      ")}
      ${FOUR.map(multiplied).join("\n      ")}`,
  };
}

/** The steps of wgsl/halves.ts, each for all of a thread's rows and columns before the next: a piece is read once for four. */
function halvesBody({ scales, minimum }: CodeFormat, products: RoundedProducts): TileBody {
  const { weights, factors } = products;
  const meta = vectorsOfBlock("f16") - 1;
  const forAll = (make: (c: number, r: number) => string) =>
    FOUR.flatMap((c) => FOUR.map((r) => make(c, r))).join("\n        ");
  const bringPart = (part: number) =>
    FOUR.map((i) => `weightTile[place * ${STRIDE}u + ${4 * part + i}u] = ${weights[4 * part + i]};`);
  const piecesOfScale = PIECES / scales.length;
  const dots = scales.map(
    (_, i) => `{
        ${forAll((c, r) => `var dots${c}${r} = vec4<f16>();`)}
        for (var i = ${i * piecesOfScale}u; i < ${(i + 1) * piecesOfScale}u; i++) {
        ${FOUR.map((r) => `let w${r} = weightTile[(across + ${8 * r}u) * ${STRIDE}u + i];`).join("\n        ")}
        ${FOUR.map((c) => `let x${c} = inputTile[(down + ${8 * c}u) * ${STRIDE}u + i];`).join("\n        ")}
        ${forAll((c, r) => `dots${c}${r} = fma(w${r}, x${c}, dots${c}${r});`)}
        }
        ${forAll((c, r) => `sum${c}[${r}] = add_dots(sum${c}[${r}], dots${c}${r}, ${factorAt(i, r)}, block${c});`)}
      }`,
  );
  const least =
    minimum === undefined
      ? ""
      : forAll(
          (c, r) => `sum${c}[${r}] = add_least(sum${c}[${r}], ${factorAt(scales.length, r)}, block${c});`,
        );
  return {
    memory: /* wgsl */ `
var<workgroup> weightTile: array<vec4<f16>, ${TILE_ROWS * STRIDE}>;
var<workgroup> factors: array<f32, ${TILE_ROWS * factors.length}>;
var<workgroup> inputTile: array<vec4<f16>, ${TILE_COLUMNS * STRIDE}>;
var<workgroup> blocks: array<vec2<f32>, ${TILE_COLUMNS}>;`,
    units: 1,
    bring: /* wgsl */ `let u = load(source, unit);
      if (part == 0u) {
        ${bringPart(0).join("\n        ")}
        ${putFactors(products)}
        let c = min(firstColumn + thread, p.columns - 1u);
        blocks[thread] = bitcast<vec2<f32>>(floats[p.x + c * p.xStride + unit * ${meta + 1}u + ${meta}u].xy);
      } else {
        ${bringPart(1).join("\n        ")}
      }
      for (var i = thread; i < ${TILE_COLUMNS * meta}u; i += ${TILE_THREADS}u) {
        let c = i / ${meta}u;
        let start = p.x + min(firstColumn + c, p.columns - 1u) * p.xStride + unit * ${meta + 1}u;
        let halves = floats[start + i % ${meta}u];
        let to = c * ${STRIDE}u + i % ${meta}u * 2u;
        inputTile[to] = four_halves_of(halves.xy);
        inputTile[to + 1u] = four_halves_of(halves.zw);
      }`,
    multiply: /* wgsl */ `${FOUR.map((c) => `let block${c} = blocks[down + ${8 * c}u];`).join("\n      ")}
      ${least}
      ${dots.join("\n      ")}`,
  };
}
