/** products: calls of the kernels that read weights, a chunk of a matrix each. */
import { type Floats, stride } from "../backend.ts";
import { wordOf } from "./floats.ts";
import { spread } from "./kernel.ts";
import type { GpuMatrix } from "./matrix.ts";
import type { Params, Target } from "./recorder.ts";
import { THREADS } from "./wgsl/layer.ts";
import { EMBED_ROWS, rowsOfGroup } from "./wgsl/matmul.ts";

/** out[i] = row tokens[i] of W */
export function embed(target: Target, out: Floats, weights: GpuMatrix, tokens: ArrayLike<number>): void {
  const { type, cols, layout } = weights;
  const { recorder, pipelines } = target;
  weights.forEachPart((chunk, { at, first, rows }) => {
    const pairs: number[] = [];
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i] >= at && tokens[i] < at + rows) pairs.push(tokens[i] - at + first, i);
    }
    for (let from = 0; from < pairs.length; from += 2 * EMBED_ROWS) {
      const list = pairs.slice(from, from + 2 * EMBED_ROWS);
      const params = { out: wordOf(out), outStride: stride(cols), cols, units: layout.units };
      recorder.dispatch(
        pipelines.embed(type),
        { floats: target.floats(), second: chunk.buffer },
        { ...params, ...sectionParams(chunk.sections) },
        [Math.ceil(layout.units / THREADS), list.length / 2],
        list,
      );
    }
  });
}

/** out[c, r] = Σ_k W[r, k] · x[c, k] */
export function matmul(target: Target, x: Floats, columns: number, weights: GpuMatrix, out: Floats): void {
  if (columns === 0) return;
  const { type, rows: allRows, cols, layout } = weights;
  const { recorder, pipelines } = target;
  const pipeline = pipelines.matmul(type, columns);
  weights.forEachPart((chunk, { at, first, rows }) => {
    const [across, down] = spread(Math.ceil(rows / rowsOfGroup(pipeline.columns)));
    // In vectors of four.
    const places = { x: wordOf(x) / 4, xStride: stride(cols) / 4 };
    const results = { out: (wordOf(out) + at) / 4, outStride: stride(allRows) / 4 };
    const shape = { columns, cols, first, rows, units: layout.units, across };
    recorder.dispatch(
      pipeline,
      { floats: target.floats(), second: chunk.buffer },
      { ...places, ...results, ...shape, ...sectionParams(chunk.sections) },
      [across, down, Math.ceil(columns / pipeline.columns)],
    );
  });
}

function sectionParams(sections: readonly number[]): Params {
  const [section0 = 0, section1 = 0, section2 = 0] = sections;
  return { section0, section1, section2 };
}
