/**
 * radix: which order the last of the largest has, found by its bytes, highest first, with a histogram each (radix select).
 *
 * For a workgroup of 256 threads with `counts: array<atomic<u32>, 256>` and `found: array<u32, 2>`, or a longer one. Leaves the
 * order in `prefix`, and in `left` how many of those that have it are among the wanted.
 */
export interface RadixSelect {
  /** Expressions: how many values; how many are wanted; the order of value `id`, 0 for one that does not count. */
  readonly count: string;
  readonly wanted: string;
  readonly order: string;
  /** What thread 0 does with the first histogram. */
  readonly first?: string;
}

export const radixSelect = ({ count, wanted, order, first = "" }: RadixSelect): string => /* wgsl */ `
  // Orders that begin with the bits of \`prefix\` are in question; \`left\` of them are wanted.
  var prefix = 0u;
  var left = ${wanted};
  for (var byte = 0u; byte < 4u; byte++) {
    let shift = 24u - 8u * byte;
    atomicStore(&counts[thread], 0u);
    workgroupBarrier();
    for (var id = thread; id < ${count}; id += 256u) {
      let order = ${order};
      let isIn = byte == 0u || (order >> (shift + 8u)) == (prefix >> (shift + 8u));
      if (order > 0u && isIn) { atomicAdd(&counts[(order >> shift) & 0xffu], 1u); }
    }
    workgroupBarrier();
    if (thread == 0u) {
      ${first}
      var above = 0u;
      var bucket = 255u;
      loop {
        let here = atomicLoad(&counts[bucket]);
        if (above + here >= left || bucket == 0u) { break; }
        above += here;
        bucket--;
      }
      found[0] = bucket;
      found[1] = left - above;
    }
    workgroupBarrier();
    prefix |= found[0] << shift;
    left = found[1];
    workgroupBarrier();
  }
`;
