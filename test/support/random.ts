/** Seeded random numbers for test data: the same on every engine (integer steps, no transcendental functions). */
export interface Random {
  /** Uniform in [0, 1), 32 bits. */
  uniform(): number;
  /** Uniform integer in [0, below). */
  below(below: number): number;
  /** Mean 0, standard deviation 1, bell-shaped, within ±3.5: a sum of four uniforms. */
  normal(): number;
}

/** mulberry32: a Weyl sequence through a 32-bit mixer. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  // Four bytes have the variance 4 · (256² - 1) / 12, hence the factor 1 / 147.80.
  const scale = Math.sqrt(3 / (256 * 256 - 1));
  return {
    uniform: () => next() / 2 ** 32,
    below: (below) => Math.floor((next() / 2 ** 32) * below),
    normal: () => {
      const word = next();
      return ((word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24) - 510) * scale;
    },
  };
}

/** A seed for a named part, so that parts do not depend on the order in which they are made (FNV-1a). */
export function seedOf(seed: number, name: string): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let index = 0; index < name.length; index++) {
    hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
