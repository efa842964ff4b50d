/** `bytes` cut at the given positions, in order; equal positions give empty pieces. */
export function splitAt(bytes: Uint8Array, positions: readonly number[]): Uint8Array<ArrayBuffer>[] {
  const cuts = [...positions].sort((a, b) => a - b);
  return [0, ...cuts].map((start, index) => bytes.slice(start, cuts[index] ?? bytes.length));
}

/** A plain stream (no BYOB) that gives the pieces one at a time. */
export function streamOf(pieces: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.iterator]();
  return new ReadableStream({
    pull(controller) {
      const next = iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  });
}
