/** products: calls of the kernel that takes rows of weights as they are, a chunk of a matrix each. */
import { type Floats, stride } from "../backend.ts";
import { wordOf } from "./floats.ts";
import { sectionParams } from "./matmul.ts";
import type { GpuMatrix } from "./matrix.ts";
import type { Target } from "./recorder.ts";
import { EMBED_ROWS } from "./wgsl/embed.ts";
import { THREADS } from "./wgsl/layer.ts";

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
