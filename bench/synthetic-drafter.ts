/** A drafter that knows the text and is right with a given chance: speculation at a known acceptance rate. */
import type { Draft } from "../src/decoding/draft.ts";
import type { Drafter } from "../src/decoding/drafter/drafter.ts";
import { SpeculationStats } from "../src/decoding/drafter/stats.ts";
import { generate } from "../src/decoding/generate.ts";
import { createPipeline } from "../src/decoding/pipeline.ts";
import type { Speculation } from "../src/decoding/speculation.ts";
import type { Model } from "../src/engine/model.ts";
import { uniform } from "../src/philox.ts";
import type { Candidate } from "./harness.ts";

const PROMPT = 16;
const GREEDY = createPipeline([{ step: "temperature", temperature: 0 }]);
/** Of the randomness; none of those that decoding uses. */
const STAGE = 99;

export class SyntheticDrafter implements Drafter {
  readonly vocab: number;
  length = 0;
  readonly #text: readonly number[];
  readonly #rate: number;

  /** @param text What the target will say, prompt included. */
  constructor(text: readonly number[], rate: number, vocab: number) {
    this.#text = text;
    this.#rate = rate;
    this.vocab = vocab;
  }

  append(tokens: ArrayLike<number>): void {
    this.length += tokens.length;
  }

  truncate(length: number): void {
    this.length = length;
  }

  draft(gamma: number): Draft {
    const next = this.#text.slice(this.length, this.length + gamma);
    const isRight = (i: number) => uniform(1, this.length, STAGE, i) < this.#rate;
    return {
      tokens: next.map((token, i) => (isRight(i) ? token : (token + 1) % this.vocab)),
      law: "one-hot",
    };
  }
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
  return [...prompt, ...(await tokensOf(model, prompt, count))];
}

/** Decodes the text, with or without speculation; the result must be the text. */
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
    tokens: count,
    async check() {
      const tokens = await tokensOf(model, prompt, count, speculation?.());
      if (tokens.join() !== text.slice(PROMPT).join()) throw new RangeError(`${name} gives another text`);
    },
    async run() {
      await tokensOf(model, prompt, count, speculation?.());
      return undefined;
    },
  };
}

async function tokensOf(
  model: Model,
  prompt: readonly number[],
  maxTokens: number,
  speculation?: Speculation,
): Promise<number[]> {
  const session = model.open({ capacity: prompt.length + maxTokens });
  const tokens: number[] = [];
  try {
    const settings = { pipeline: GREEDY, seed: 1, maxTokens, endTokens: new Set<number>(), speculation };
    for await (const { token } of generate(session, prompt, settings)) tokens.push(token);
  } finally {
    session.close();
  }
  return tokens;
}
