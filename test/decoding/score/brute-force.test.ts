/** Every score against its formula, written again in the plainest way: probabilities in arrays, Math.exp, no care. */
import { describe, expect, it } from "vitest";
import { SCORE_NAMES, type ScoreInput, type ScoreName, score } from "../../../src/decoding/score.ts";
import { createRandom } from "../../support/random.ts";

interface Case {
  readonly row: number[];
  readonly reference: number[];
  readonly token: number;
  readonly projection: { offsets: number[]; tokens: number[]; weights: number[] };
  readonly common: [number, number][];
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const softmax = (row: readonly number[], temperature = 1) => {
  const weights = row.map((z) => Math.exp(z / temperature));
  return weights.map((weight) => weight / sum(weights));
};
const divergence = (p: readonly number[], q: readonly number[]) =>
  sum(p.map((x, i) => (x === 0 ? 0 : x * Math.log(x / q[i]))));
const entropy = (p: readonly number[]) => -sum(p.map((x) => (x === 0 ? 0 : x * Math.log(x))));
const without = (values: readonly number[], index: number) => values.filter((_, i) => i !== index);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const descending = (values: readonly number[]) => [...values].sort((a, b) => b - a);
/** Tokens by value, best first, the lower of equal ones first. */
const order = (values: readonly number[]) =>
  values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
const zScores = (row: readonly number[], ddof: number, epsilon: number) => {
  const mean = sum(row) / row.length;
  const deviation = Math.sqrt(sum(row.map((z) => (z - mean) ** 2)) / (row.length - ddof));
  return row.map((z) => (z - mean) / (epsilon + deviation));
};

/** Σ over the definition of G: a matrix of n × n, and its row means. */
function graphDistance(ours: readonly number[][], theirs: readonly number[][], k: number): number {
  const n = Math.max(ours[0].length, theirs[0].length);
  const features = (rows: readonly number[][]) => {
    const graph = Array.from({ length: n }, () => new Array<number>(n).fill(0));
    for (const row of rows) {
      const kept = new Set(order(row).slice(0, k));
      const s = Array.from({ length: n }, (_, i) => (kept.has(i) ? row[i] : 0));
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) graph[i][j] += s[i] * s[j];
    }
    return graph.map((edges) => sum(edges) / n);
  };
  // The best of all assignments of tokens to tokens, which sorting must find.
  const a = features(ours);
  const b = features(theirs);
  const best = (i: number, free: readonly number[]): number =>
    i === n
      ? 0
      : Math.min(...free.map((j) => Math.abs(a[i] - b[j]) + best(i + 1, without(free, free.indexOf(j)))));
  return best(0, [...b.keys()]) / n;
}

const GATE = { maxProbability: 1.5, entropy: -0.5, margin: 0.25, escortEntropy: -1, bias: 0.1 };

const FORMULAS: Readonly<Record<ScoreName, (c: Case) => number>> = {
  nll: ({ row, token }) => -Math.log(softmax(row)[token]),
  rank: ({ row, token }) => order(row).indexOf(token) + 1,
  "top-k-accuracy": ({ row, token }) => (order(row)[0] === token ? 1 : 0),
  "z-loss": ({ row, token }) => Math.log(1 + Math.exp(-zScores(row, 0, 0)[token])),
  dice({ row, token }) {
    const p = softmax(row)[token];
    return 1 - (2 * p + 1e-4) / (p + 1 + 1e-4);
  },
  "lp-reg"({ row, token }) {
    const p = softmax(row);
    const kept = p.filter((x) => x >= 0.02 * Math.max(...p));
    if (!kept.includes(p[token])) return 0;
    const ratio = 1 / sum(kept);
    return ratio - 1 - Math.log(ratio);
  },
  "max-probability": ({ row }) => Math.max(...softmax(row)),
  "max-logit": ({ row }) => Math.max(...row),
  "log-partition": ({ row }) => Math.log(sum(row.map(Math.exp))),
  energy: ({ row }) => -Math.log(sum(row.map(Math.exp))),
  margin({ row }) {
    const [first, second = 0] = descending(softmax(row));
    return first - second;
  },
  "logit-gap"({ row }) {
    const [first, second = -Infinity] = descending(row);
    return first - second;
  },
  entropy: ({ row }) => entropy(softmax(row)),
  "renyi-entropy": ({ row }) => -Math.log(sum(softmax(row).map((p) => p * p))),
  "escort-entropy"({ row }) {
    const squares = softmax(row).map((p) => p * p);
    return entropy(squares.map((square) => square / sum(squares)));
  },
  "kl-to-uniform": ({ row }) =>
    divergence(
      softmax(row),
      row.map(() => 1 / row.length),
    ),
  kurtosis({ row }) {
    if (row.length === 1) return 0;
    return sum(zScores(softmax(row), 1, 0).map((z) => z ** 4)) / row.length;
  },
  "significant-tokens": ({ row }) => softmax(row).filter((p) => p >= 1 / 4096).length,
  "palm-z-loss": ({ row }) => 1e-4 * Math.log(sum(row.map(Math.exp))) ** 2,
  "jei-gate"({ row }) {
    const p = softmax(row);
    const [first, second = 0] = descending(p);
    const escort = p.map((x) => (x * x) / sum(p.map((y) => y * y)));
    return sigmoid(1.5 * first - 0.5 * entropy(p) + 0.25 * (first - second) - entropy(escort) + 0.1);
  },
  nan: ({ row }) => sum(row.map(Math.abs)) / row.filter((x) => x !== 0).length,
  "cross-entropy": ({ row, reference }) =>
    divergence(softmax(reference), softmax(row)) + entropy(softmax(reference)),
  kl: ({ row, reference }) => divergence(softmax(reference), softmax(row)),
  "reverse-kl": ({ row, reference }) => divergence(softmax(row), softmax(reference)),
  jeffreys({ row, reference }) {
    const [p, q] = [softmax(reference), softmax(row)];
    return sum(p.map((x, i) => (x - q[i]) * Math.log(x / q[i])));
  },
  "jensen-shannon"({ row, reference }) {
    const [p, q] = [softmax(reference), softmax(row)];
    return entropy(p.map((x, i) => (x + q[i]) / 2)) - (entropy(p) + entropy(q)) / 2;
  },
  "total-variation"({ row, reference }) {
    const q = softmax(row);
    return sum(softmax(reference).map((p, i) => Math.max(0, p - q[i])));
  },
  acceptance({ row, reference }) {
    const q = softmax(row);
    return 1 - sum(softmax(reference).map((p, i) => Math.max(0, p - q[i])));
  },
  "threshold-acceptance"({ row, reference }) {
    const q = softmax(row);
    return sum(softmax(reference).filter((_, i) => q[i] >= 0.01));
  },
  "top-k-agreement": ({ row, reference }) => (order(row)[0] === order(reference)[0] ? 1 : 0),
  k3({ row, reference, token }) {
    const ratio = softmax(reference)[token] / softmax(row)[token];
    return ratio - 1 - Math.log(ratio);
  },
  nkd({ row, reference, token }) {
    const target = -softmax(reference)[token] * Math.log(softmax(row)[token]);
    const p = softmax(without(reference, token));
    const q = softmax(without(row, token));
    return target - 1.5 * sum(p.map((x, i) => x * Math.log(q[i])));
  },
  uskd({ row, reference, token }) {
    const q = softmax(row);
    const w = softmax(reference);
    const logQ = q.map(Math.log);
    const keys = w.map((x, i) => x / (1 - w[token] + 1e-6) + logQ[i] / (1 - logQ[token] + 1e-6));
    const places = order(keys);
    const zipf = without(
      row.map((_, i) => 1 / (places.indexOf(i) + 1)),
      token,
    );
    const rest = softmax(without(row, token));
    const nonTarget = -sum(rest.map((p, i) => (zipf[i] / sum(zipf)) * Math.log(p)));
    const label = row.map((_, i) => (i === token ? 0.9 : 0) + 0.1 / row.length);
    const weak = -sum(w.map((p, i) => label[i] * Math.log(p)));
    return -logQ[token] + 0.1 * nonTarget + 0.005 * weak;
  },
  pld({ row, reference, token }) {
    const p = softmax(reference);
    const list = [token, ...order(reference).filter((id) => id !== token)];
    return -sum(
      list.map((id, place) => {
        const rest = sum(list.slice(place).map((other) => Math.exp(row[other])));
        return p[id] * Math.log(Math.exp(row[id]) / rest);
      }),
    );
  },
  "binary-kl"({ row, reference }) {
    const pairs = row.map((z, i) => [sigmoid(reference[i] / 2), sigmoid(z / 2)]);
    return 4 * sum(pairs.map(([p, q]) => divergence([p, 1 - p], [q, 1 - q])));
  },
  dhkd({ row, reference }) {
    // As the divergence to one half, not as the logarithm of cosh.
    const bits = row.map((z, i) => sigmoid((z - reference[i]) / 2));
    return 4 * sum(bits.map((q) => divergence([0.5, 0.5], [q, 1 - q])));
  },
  "standardized-kd": ({ row, reference }) =>
    4 * divergence(softmax(zScores(reference, 1, 1e-7), 2), softmax(zScores(row, 1, 1e-7), 2)),
  "graph-on-logits": ({ row, reference }) => graphDistance([row], [reference], 10),
  "p-kl"({ row, reference, projection }) {
    const out = reference.map(() => 0);
    softmax(row).forEach((p, i) => {
      for (let entry = projection.offsets[i]; entry < projection.offsets[i + 1]; entry++) {
        out[projection.tokens[entry]] += p * projection.weights[entry];
      }
    });
    return divergence(
      softmax(reference),
      out.map((q) => Math.max(1e-10, q / sum(out))),
    );
  },
  "h-kl"({ row, reference, common }) {
    const [p, q] = [softmax(reference), softmax(row)];
    const matched = sum(common.map(([ours, theirs]) => p[theirs] * Math.log(p[theirs] / q[ours])));
    const theirs = descending(p.filter((_, i) => !common.some(([, other]) => other === i)));
    const ours = descending(q.filter((_, i) => !common.some(([one]) => one === i)));
    return matched + sum(theirs.map((x, i) => Math.abs(x - ours[i])));
  },
};

/** Scores that need another token than the right one. */
const NEED_TWO = new Set<ScoreName>(["logit-gap", "uskd", "nkd", "z-loss", "standardized-kd"]);

function randomCase(vocab: number, seed: number): Case {
  const random = createRandom(seed);
  // Sixteenths: the same in f32 and f64, and with ties.
  const row = () => Array.from({ length: vocab }, () => Math.round(48 * random.normal()) / 16);
  const projection = { offsets: [0], tokens: [] as number[], weights: [] as number[] };
  for (let token = 0; token < vocab; token++) {
    for (let entry = random.below(3); entry >= 0; entry--) {
      projection.tokens.push(random.below(vocab));
      projection.weights.push(random.uniform());
    }
    projection.offsets.push(projection.tokens.length);
  }
  const shift = random.below(vocab);
  const common = Array.from({ length: vocab >> 1 }, (_, i): [number, number] => [i, (i + shift) % vocab]);
  return { row: row(), reference: row(), token: random.below(vocab), projection, common };
}

describe("a score is its formula", () => {
  it("for every score", () => expect(Object.keys(FORMULAS).sort()).toEqual([...SCORE_NAMES].sort()));

  it.each(SCORE_NAMES)("%s", (name) => {
    const options = name === "jei-gate" ? GATE : {};
    const vocabs = name === "graph-on-logits" ? [1, 2, 3, 5, 6] : [1, 2, 3, 4, 5, 8, 17, 33, 100];
    for (const [index, vocab] of vocabs.entries()) {
      for (let trial = 0; trial < 20; trial++) {
        const example = randomCase(vocab, 1000 * index + trial);
        if (vocab === 1 && NEED_TWO.has(name)) continue;
        const expected = FORMULAS[name](example);
        if (!Number.isFinite(expected)) continue;
        const tolerance = 1e-12 * Math.max(1, Math.abs(expected));
        for (const type of [Float32Array, Float64Array]) {
          const typed: ScoreInput = {
            ...example,
            row: type.from(example.row),
            reference: type.from(example.reference),
          };
          const { value, parts } = score(name, typed, options as never);
          expect(Math.abs(value - expected), `V = ${vocab}, trial ${trial}`).toBeLessThanOrEqual(tolerance);
          if (parts !== undefined && !("logit" in parts)) {
            expect(Math.abs(sum(Object.values(parts)) - value)).toBeLessThanOrEqual(tolerance);
          }
        }
      }
    }
  });

  it("graph-on-logits, of several positions and vocabularies", () => {
    for (let seed = 0; seed < 20; seed++) {
      const ours = [0, 1, 2].map((t) => randomCase(5, 77 * seed + t).row);
      const theirs = [3, 4, 5].map((t) => randomCase(7, 77 * seed + t).row);
      const { value } = score("graph-on-logits", { row: ours, reference: theirs }, { k: 3 });
      expect(value).toBeCloseTo(graphDistance(ours, theirs, 3), 10);
    }
  });
});
