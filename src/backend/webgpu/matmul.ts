/** matmul: calls of the kernels that multiply with weights, a chunk of a matrix each. */
import { type Floats, stride } from "../backend.ts";
import { wordOf } from "./floats.ts";
import { spread } from "./kernel.ts";
import type { GpuMatrix } from "./matrix.ts";
import type { MatmulPipeline } from "./pipelines.ts";
import type { Params, Target } from "./recorder.ts";
import { lanesOf } from "./wgsl/matmul.ts";
import { BLOCKS_OF_GROUP, type Rounding, vectorsOfBlock } from "./wgsl/round.ts";

/** Where the inputs of a call stand, in vectors of four words from the start of the region. */
interface Inputs {
  readonly x: number;
  readonly xStride: number;
}

/** Columns that are rounded, and multiplied, in one go: what bounds the room for rounded ones. */
const MOST_COLUMNS = 256;

/**
 * out[c, r] = Σ_k W[r, k] · x[c, k] of each product. Inputs are rounded once for all products that round them alike.
 *
 * @param scratch Word of a room for so many words, until something else asks for one.
 */
export function matmul(
  target: Target,
  scratch: (words: number) => number,
  x: Floats,
  columns: number,
  products: readonly { weights: GpuMatrix; out: Floats }[],
): void {
  for (let first = 0; first < columns; first += MOST_COLUMNS) {
    const count = Math.min(MOST_COLUMNS, columns - first);
    let rounded: (Inputs & { rounding: Rounding }) | undefined;
    for (const { weights, out } of products) {
      const pipeline = target.pipelines.matmul(weights.type, count);
      const { rounding } = pipeline;
      const xStride = stride(weights.cols) / 4;
      let inputs: Inputs = { x: wordOf(x) / 4 + first * xStride, xStride };
      if (rounding !== null) {
        if (rounded?.rounding !== rounding) {
          const to = scratch(count * weights.layout.units * vectorsOfBlock(rounding) * 4);
          rounded = { rounding, ...round(target, inputs, count, weights.layout.units, rounding, to) };
        }
        inputs = { x: rounded.x, xStride: rounded.xStride };
      }
      multiply(target, pipeline, inputs, { first, count }, weights, out);
    }
  }
}

/** Rounds columns into `to`, a word. */
function round(
  { pipelines, recorder, floats }: Target,
  { x, xStride }: Inputs,
  columns: number,
  units: number,
  rounding: Rounding,
  to: number,
): Inputs {
  const count = columns * units;
  const [across, down] = spread(Math.ceil(count / BLOCKS_OF_GROUP));
  const params = { x: 4 * x, xStride: 4 * xStride, out: to, units, count, across };
  recorder.dispatch(pipelines.round(rounding), { floats: floats() }, params, [across, down]);
  return { x: to / 4, xStride: units * vectorsOfBlock(rounding) };
}

function multiply(
  { recorder, floats }: Target,
  pipeline: MatmulPipeline,
  inputs: Inputs,
  columns: { first: number; count: number },
  weights: GpuMatrix,
  out: Floats,
): void {
  const { units } = weights.layout;
  const outStride = stride(weights.rows) / 4;
  weights.forEachPart((chunk, { at, first, rows }) => {
    const [across, down] = spread(Math.ceil(rows / pipeline.rows(units)));
    const results = { out: (wordOf(out) + at) / 4 + columns.first * outStride, outStride };
    const shape = {
      columns: columns.count,
      cols: weights.cols,
      first,
      rows,
      units,
      lanes: lanesOf(units),
      across,
    };
    recorder.dispatch(
      pipeline,
      { floats: floats(), second: chunk.buffer },
      { ...inputs, ...results, ...shape, ...sectionParams(chunk.sections) },
      [across, down, Math.ceil(columns.count / pipeline.columns)],
    );
  });
}

export function sectionParams(sections: readonly number[]): Params {
  const [section0 = 0, section1 = 0, section2 = 0] = sections;
  return { section0, section1, section2 };
}
