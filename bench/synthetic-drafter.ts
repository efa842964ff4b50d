/** A drafter that knows the text and is right with a given chance: speculation at a known acceptance rate. */
import type { Draft } from "../src/decoding/draft.ts";
import type { Drafter } from "../src/decoding/drafter/drafter.ts";
import { expectedTokens } from "../src/decoding/drafter/expected-length.ts";
import { SpeculationStats } from "../src/decoding/drafter/stats.ts";
import { generate } from "../src/decoding/generate.ts";
import { createPipeline } from "../src/decoding/pipeline.ts";
import type { Speculation } from "../src/decoding/speculation.ts";
import type { Model } from "../src/engine/model.ts";
import { uniform } from "../src/philox.ts";
import type { Candidate, Timed } from "./harness.ts";

const PROMPT = 16;
const GREEDY = createPipeline([{ step: "temperature", temperature: 0 }]);
/** Of the randomness; none of those that decoding uses. */
const STAGE = 99;
/** Draws of luck to choose from. */
const SEEDS = 256;

export class SyntheticDrafter implements Drafter {
  readonly vocab: number;
  length = 0;
  readonly #text: readonly number[];
  readonly #rate: number;
  readonly #seed: number;

  /** @param text What the target will say, prompt included. */
  constructor(text: readonly number[], rate: number, vocab: number, seed: number) {
    this.#text = text;
    this.#rate = rate;
    this.vocab = vocab;
    this.#seed = seed;
  }

  append(tokens: ArrayLike<number>): void {
    this.length += tokens.length;
  }

  truncate(length: number): void {
    this.length = length;
  }

  draft(gamma: number): Draft {
    const next = this.#text.slice(this.length, this.length + gamma);
    return {
      tokens: next.map((token, i) =>
        isRight(this.#seed, this.#rate, this.length, i) ? token : (token + 1) % this.vocab,
      ),
      law: "one-hot",
    };
  }
}

function isRight(seed: number, rate: number, position: number, i: number): boolean {
  return uniform(seed, position, STAGE, i) < rate;
}

/**
 * The seed by which a text of `count` tokens takes most nearly as many rounds as the formula says. A text has some ten
 * rounds: what luck does to them is several times what is to be measured.
 */
export function typicalSeed(rate: number, gamma: number, count: number): number {
  const wanted = (count - 1) / expectedTokens(rate, gamma);
  const distances = Array.from({ length: SEEDS }, (_, seed) =>
    Math.abs(roundsOf(seed, rate, gamma, count) - wanted),
  );
  return distances.indexOf(Math.min(...distances));
}

/** Rounds behind the first token. */
function roundsOf(seed: number, rate: number, gamma: number, count: number): number {
  let rounds = 0;
  for (let emitted = 1; emitted < count; rounds++) {
    const drafted = Math.min(gamma, count - emitted - 1);
    let accepted = 0;
    while (accepted < drafted && isRight(seed, rate, PROMPT + emitted, accepted)) accepted++;
    emitted += accepted + 1;
  }
  return rounds;
}

/** Always drafts `gamma` tokens. */
export function synthetic(drafter: Drafter, gamma: number): Speculation {
  return {
    drafter,
    controller: { ask: () => gamma, keep: (drafted) => drafted, record() {} },
    policy: { verifier: "match" },
    now: () => performance.now(),
    stats: new SpeculationStats(),
  };
}

/** A prompt and what the model says after it, greedily. */
export async function plainTokens(model: Model, count: number): Promise<number[]> {
  const prompt = Array.from({ length: PROMPT }, (_, i) => (i * 7919 + 17) % model.vocab);
  return [...prompt, ...(await decode(model, prompt, count)).tokens];
}

/** Decodes the text, with or without speculation; the result must be the text. The time is that behind the first token. */
export function tokenRun(
  name: string,
  model: Model,
  text: readonly number[],
  speculation?: () => Speculation,
): Candidate {
  const prompt = text.slice(0, PROMPT);
  const count = text.length - PROMPT;
  return {
    name,
    tokens: count - 1,
    async check() {
      const { tokens } = await decode(model, prompt, count, speculation?.());
      if (tokens.join() !== text.slice(PROMPT).join()) throw new RangeError(`${name} gives another text`);
    },
    async run() {
      return await decode(model, prompt, count, speculation?.());
    },
  };
}

async function decode(
  model: Model,
  prompt: readonly number[],
  maxTokens: number,
  speculation?: Speculation,
): Promise<Timed & { readonly tokens: readonly number[] }> {
  const session = model.open({ capacity: prompt.length + maxTokens });
  const tokens: number[] = [];
  let began = 0;
  try {
    const settings = { pipeline: GREEDY, seed: 1, maxTokens, endTokens: new Set<number>(), speculation };
    for await (const { token } of generate(session, prompt, settings)) {
      if (tokens.length === 0) began = performance.now();
      tokens.push(token);
    }
    return { seconds: (performance.now() - began) / 1000, tokens };
  } finally {
    session.close();
  }
}
