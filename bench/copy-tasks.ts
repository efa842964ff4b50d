/**
 * Texts that are copied from their prompts in large part: what prompt lookup and the suffix automaton are for.
 *
 * No model small enough for a benchmark writes them, so the model's rows are computed, at their full cost, and then made to
 * say the task's text. What is drafted and accepted is what a model that gives these answers would see.
 *
 * As in an engine, who decides how much is drafted is kept from one text to the next.
 */

import { SpeculationController } from "../src/decoding/drafter/controller.ts";
import { SpeculationStats } from "../src/decoding/drafter/stats.ts";
import { SuffixDrafter } from "../src/decoding/drafter/suffix.ts";
import { generate } from "../src/decoding/generate.ts";
import { createPipeline } from "../src/decoding/pipeline.ts";
import type { Speculation } from "../src/decoding/speculation.ts";
import type { Model } from "../src/engine/model.ts";
import type { Rows, Session } from "../src/engine/source.ts";

/** Longest draft. */
const MOST = 63;

export interface CopyTask {
  readonly name: string;
  readonly prompt: string;
  readonly answer: string;
}

const CODE = `export class Basket {
  #items = new Map<string, number>();
  #prices: Record<string, number>;

  constructor(prices: Record<string, number>) {
    this.#prices = prices;
  }

  add(name: string, count: number) {
    const before = this.#items.get(name) ?? 0;
    this.#items.set(name, before + count);
  }

  remove(name: string, count: number) {
    const before = this.#items.get(name) ?? 0;
    if (before <= count) this.#items.delete(name);
    else this.#items.set(name, before - count);
  }

  total() {
    let sum = 0;
    for (const [name, count] of this.#items) {
      sum += this.#prices[name] * count;
    }
    return sum;
  }
}
`;

const ARTICLE = `The harbour of Lindholm was closed for three days after the storm of 4 March. "We have never seen water this
high," said the harbour master, who has worked there for thirty years. Two of the four cranes were damaged, and the ferry
to the islands did not leave until Thursday evening. The council has set aside 2.4 million for repairs, which will begin
with the northern quay. "The northern quay carries nine tenths of our freight," said the harbour master, "so it comes
first." Fishing boats may use the southern basin again from Monday. Schools on the islands stayed open throughout.
`;

const RECORDS = `{"orders":[{"id":1041,"customer":{"name":"Asta Berg","city":"Lindholm"},"lines":[{"sku":"A-100","count":2,"price":4.5},{"sku":"B-220","count":1,"price":12}]},{"id":1042,"customer":{"name":"Juri Malk","city":"Osterby"},"lines":[{"sku":"A-100","count":6,"price":4.5}]},{"id":1043,"customer":{"name":"Noor Vale","city":"Lindholm"},"lines":[{"sku":"C-007","count":1,"price":99},{"sku":"B-220","count":3,"price":12}]}]}`;

export const COPY_TASKS: readonly CopyTask[] = [
  {
    name: "code edit",
    prompt: `Rename the field items to lines and let total round to cents.\n${CODE}`,
    answer: CODE.replaceAll("#items", "#lines").replace("return sum;", "return Math.round(sum * 100) / 100;"),
  },
  {
    name: "summary with quotes",
    prompt: `Summarise, with quotes.\n${ARTICLE}`,
    answer:
      `The harbour of Lindholm was closed for three days after the storm of 4 March; two of the four cranes were damaged. ` +
      `"We have never seen water this\nhigh," said the harbour master, who has worked there for thirty years. ` +
      `The council has set aside 2.4 million for repairs, which will begin\nwith the northern quay: ` +
      `"The northern quay carries nine tenths of our freight," said the harbour master, "so it comes\nfirst." ` +
      `Fishing boats may use the southern basin again from Monday.\n`,
  },
  {
    name: "JSON",
    prompt: `Add "paid": true to every order from Lindholm.\n${RECORDS}\n`,
    answer: `${RECORDS.replaceAll('"city":"Lindholm"},', '"city":"Lindholm"},"paid":true,')}\n`,
  },
];

export interface CopyRound {
  /** Milliseconds. */
  readonly plain: number;
  readonly drafted: number;
  readonly tokens: number;
  readonly summary: SpeculationStats;
}

/** A task in tokens of some model. */
interface Spelled {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/** Decodes the answer without and with the suffix automaton, `rounds` times by turns. */
export async function copySpeed(model: Model, task: CopyTask, rounds: number): Promise<CopyRound[]> {
  const { prompt, answer } = spell(task);
  if (prompt.length + answer.length > model.contextLength) {
    throw new RangeError(
      `Task "${task.name}" has ${prompt.length + answer.length} tokens, the model ${model.contextLength}`,
    );
  }
  const controller = new SpeculationController({ byMatchLength: true });
  const results: CopyRound[] = [];
  for (let round = -1; round < rounds; round++) {
    const plain = await timed(model, prompt, answer);
    const stats = new SpeculationStats();
    controller.restart();
    const drafted = await timed(model, prompt, answer, {
      drafter: new SuffixDrafter({ vocab: model.vocab }),
      controller,
      policy: { verifier: "match" },
      now: () => performance.now(),
      stats,
    });
    // The first one warms up.
    if (round >= 0) results.push({ plain, drafted, tokens: answer.length, summary: stats });
  }
  return results;
}

/**
 * The speed-up of the suffix automaton's drafts if the length of each were chosen in hindsight, as if nothing were ever
 * rejected: no controller can do better.
 *
 * @param cost Of a call of n tokens.
 */
export function hindsight(task: CopyTask, vocab: number, cost: (n: number) => number): number {
  const { prompt, answer } = spell(task);
  const drafter = new SuffixDrafter({ vocab });
  drafter.append(prompt);
  const right: number[] = [];
  for (const [i, token] of answer.entries()) {
    const { tokens } = drafter.draft(MOST);
    const wrong = tokens.findIndex((drafted, depth) => drafted !== answer[i + depth]);
    right.push(wrong < 0 ? tokens.length : wrong);
    drafter.append([token]);
  }
  /** [i]: the least that what follows the first i tokens costs. The first one comes with the prompt. */
  const least = new Array<number>(answer.length + 1).fill(0);
  for (let i = answer.length - 1; i > 0; i--) {
    least[i] = Infinity;
    for (let gamma = 0; gamma <= Math.min(right[i], answer.length - i - 1); gamma++) {
      least[i] = Math.min(least[i], cost(gamma + 1) + least[i + gamma + 1]);
    }
  }
  return ((answer.length - 1) * cost(1)) / least[1];
}

/** Decodes the answer; gives the time behind the prompt's. */
async function timed(
  model: Model,
  prompt: readonly number[],
  answer: readonly number[],
  speculation?: Speculation,
): Promise<number> {
  const session = new ToldSession(model.open({ capacity: prompt.length + answer.length }), [
    ...prompt,
    ...answer,
  ]);
  const steps = generate(session, prompt, {
    pipeline: createPipeline([{ step: "temperature", temperature: 0 }]),
    seed: 1,
    maxTokens: answer.length,
    endTokens: new Set<number>(),
    speculation,
  });
  const tokens: number[] = [];
  let began = 0;
  for await (const { token } of steps) {
    if (tokens.length === 0) began = performance.now();
    tokens.push(token);
  }
  const ms = performance.now() - began;
  session.close();
  if (tokens.join() !== answer.join()) throw new RangeError("The answer was not the task's");
  return ms;
}

/** A session whose rows are computed and then say a given text. */
class ToldSession {
  readonly #session: Session;
  readonly #text: readonly number[];

  constructor(session: Session, text: readonly number[]) {
    this.#session = session;
    this.#text = text;
  }

  get length(): number {
    return this.#session.length;
  }

  get capacity(): number {
    return this.#session.capacity;
  }

  async forward(tokens: ArrayLike<number>, count = 1) {
    const rows: Rows = await this.#session.forward(tokens, count);
    const first = this.#session.length - count + 1;
    const told = (index: number) => this.#text[first + index] ?? 0;
    return {
      count,
      vocab: rows.vocab,
      row: (index: number) => {
        const row = new Float32Array(rows.vocab);
        row[told(index)] = 1;
        return row;
      },
      top: (index: number, wanted: number) => {
        rows.top(index, wanted);
        return { ids: Uint32Array.of(told(index)), logits: Float32Array.of(1) };
      },
    };
  }

  truncate(length: number): void {
    this.#session.truncate(length);
  }

  close(): void {
    this.#session.close();
  }
}

function spell(task: CopyTask): Spelled {
  const ids = new Map<string, number>();
  return { prompt: tokensOf(task.prompt, ids), answer: tokensOf(task.answer, ids) };
}

/** Ids of words and signs, in pieces of the size that tokenizers have; `ids` grows with what is new. */
function tokensOf(text: string, ids: Map<string, number>): number[] {
  const pieces = text.match(/ ?[A-Za-z]{1,6}|\d{1,3}|\s+|[^\sA-Za-z\d]{1,2}/g) ?? [];
  return pieces.map((piece) => {
    if (!ids.has(piece)) ids.set(piece, ids.size + 3);
    return ids.get(piece)!;
  });
}
