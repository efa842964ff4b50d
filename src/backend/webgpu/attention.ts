/** attention: calls of the kernels that look from some columns at all positions before them. */
import type { Backend, Floats } from "../backend.ts";
import { wordOf } from "./floats.ts";
import type { GpuKvCache } from "./kv.ts";
import type { Target } from "./recorder.ts";
import { PART, partialWords, piecesOfHead, queriesOfGroup } from "./wgsl/attention.ts";

/** Room for partials at most, in words, unless one column needs more: what columns are made together. */
const MOST_PARTIAL_WORDS = 1 << 21;

/** @param scratch Word of a room for so many words, until something else asks for one. */
export function attention(
  target: Target,
  scratch: (words: number) => number,
  out: Floats,
  q: Floats,
  cache: GpuKvCache,
  shape: Parameters<Backend["attention"]>[3],
): void {
  const { pipelines, recorder } = target;
  const { kvHeads, headDim } = cache;
  const { buffer: second, ...at } = cache.at(shape.layer);
  const { heads, window = 2 ** 32 - 1, position, columns } = shape;
  const last = position + columns - 1;
  const partOf = (from: number) => Math.floor(Math.max(0, from) / PART);
  const mostParts = partOf(last) - partOf(position + 1 - window) + 1;
  const wordsOfColumn = heads * mostParts * partialWords(headDim);
  const together = mostParts === 1 ? columns : Math.max(1, Math.floor(MOST_PARTIAL_WORDS / wordsOfColumn));
  for (let done = 0; done < columns; done += together) {
    const count = Math.min(together, columns - done);
    const first = position + done;
    const firstPart = partOf(first + 1 - window);
    const parts = partOf(first + count - 1) - firstPart + 1;
    const words = parts === 1 ? 0 : count * heads * parts * partialWords(headDim);
    const partials = parts === 1 ? 0 : scratch(words);
    const word = done * heads * headDim;
    const params = {
      ...at,
      ...{ scale: shape.scale, heads, window, position: first, columns: count },
      ...{ q: wordOf(q) + word, out: wordOf(out) + word, firstPart, parts, partials },
    };
    const queries = (count * heads) / kvHeads;
    const variant = queriesOfGroup(queries, headDim);
    const buffers = { floats: target.floats(), second };
    const groups = [kvHeads * Math.ceil(queries / variant), parts, piecesOfHead(headDim)] as const;
    recorder.dispatch(pipelines.named(`attention ${variant}`), buffers, params, groups);
    if (parts > 1)
      recorder.dispatch(pipelines.named("joinAttention"), { floats: target.floats() }, params, [
        heads,
        count,
      ]);
  }
}
