/** What `LawKernels` means, one formula after the other. */
import { expBelow } from "../../exp-below.ts";
import { log } from "../../math.ts";
import { noise } from "../../philox.ts";
import {
  LAW_BUCKETS,
  type Law,
  type LawFloor,
  type LawKernels,
  lawBucket,
  MOST_LISTED,
} from "../law-kernels.ts";

const MOST = 3.4028234663852886e38;

/** @param row Gives (vocab) f32 where they are. */
export function referenceLawKernels(row: () => Float32Array): LawKernels {
  return {
    range(law) {
      let [most, least, count] = [-Infinity, Infinity, 0];
      for (const { logit } of logitsOf(row(), law)) {
        most = Math.max(most, logit);
        least = Math.min(least, logit);
        count++;
      }
      return { most, least, count };
    },

    buckets(law, most, scale) {
      const masses = new Float64Array(LAW_BUCKETS);
      for (const { logit } of logitsOf(row(), law)) {
        const bucket = lawBucket(most - logit, scale);
        if (bucket < LAW_BUCKETS - 1) masses[bucket] += mass(logit, most);
      }
      return { total: massOf(logitsOf(row(), law), most), mass: masses };
    },

    within(law, most, scale, first, last) {
      const tokens: number[] = [];
      for (const { token, logit } of logitsOf(row(), law)) {
        const bucket = lawBucket(most - logit, scale);
        if (bucket >= first && bucket <= last) tokens.push(token);
      }
      return tokens.length > MOST_LISTED ? null : Uint32Array.from(tokens);
    },

    contest(law, most, floor, seed, position) {
      const logits = logitsOf(row(), law).filter((one) => isPart(one, floor));
      const total = massOf(logits, most);
      const scores = logits.map(
        ({ token, logit }) => mass(logit, most) / total / -log(noise(seed, position, token)),
      );
      const winner = scores.indexOf(scores.reduce((most, score) => Math.max(most, score), 0));
      return { total, tokens: Uint32Array.from(logits.slice(winner, winner + 1), ({ token }) => token) };
    },
  };
}

interface TokenLogit {
  readonly token: number;
  readonly logit: number;
}

function logitsOf(row: Float32Array, { temperature, edits, mask }: Law): TokenLogit[] {
  const edited = new Map(Array.from(edits.tokens, (token, i) => [token, edits.logits[i]]));
  const allows = (token: number) => mask === undefined || ((mask[token >>> 5] >>> (token & 31)) & 1) === 1;
  const logits: TokenLogit[] = [];
  for (let token = 0; token < row.length; token++) {
    const own = row[token] > -Infinity && allows(token) ? Math.min(row[token], MOST) / temperature : NaN;
    const logit = edited.get(token) ?? own;
    if (!Number.isNaN(logit)) logits.push({ token, logit });
  }
  return logits;
}

function isPart({ token, logit }: TokenLogit, { bar, last }: LawFloor): boolean {
  return logit > bar || (logit === bar && token <= last);
}

function massOf(logits: readonly TokenLogit[], most: number): number {
  let [even, odd] = [0, 0];
  for (const { token, logit } of logits) {
    if (token % 2 === 0) even += mass(logit, most);
    else odd += mass(logit, most);
  }
  return even + odd;
}

/** exp(logit − most) */
function mass(logit: number, most: number): number {
  expBelow(one, Float64Array.of(logit), 1, most);
  return one[0];
}

const one = new Float64Array(1);
