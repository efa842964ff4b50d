/** A fused source keeps the contract of every source: its rows are those of the plan, however they are asked for. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compilePlan, type FuseState, type Program, type RowKernels, Step } from "../../src/decoding/fuse.ts";
import { backendOf } from "../../src/engine/model-backend.ts";
import { fuse, loadModel, type Model, type Session } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { membersOf, type NamedPlan, planZoo } from "./fuse-plans.ts";
import { copyRows, PlainDecoding, pathTo, randomParents } from "./plain.ts";

const VOCAB = 288;
const ZOO = planZoo(VOCAB);

interface PlainRow {
  readonly row: Float32Array;
  readonly state: FuseState;
}

/** Rows of a plan from scratch: every source plainly decoded, every row a step of its own. */
class PlainFusion {
  readonly #plan: NamedPlan;
  readonly #program: Program;
  readonly #plain: readonly PlainDecoding[];
  readonly #known = new Map<string, PlainRow>();

  readonly #kernels: RowKernels<object>;

  constructor(plan: NamedPlan, plain: readonly PlainDecoding[], kernels: RowKernels<object>) {
    this.#plan = plan;
    this.#kernels = kernels;
    this.#program = compilePlan(plan.plan);
    this.#plain = plain;
  }

  async rowAfter(tokens: readonly number[], seed: number, promptLength: number): Promise<Float32Array> {
    return (await this.#after(tokens, seed, promptLength)).row;
  }

  async #after(tokens: readonly number[], seed: number, promptLength: number): Promise<PlainRow> {
    const key = `${seed} ${promptLength} ${tokens}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const position = tokens.length;
    const isFirst = position <= promptLength || this.#program.memory === 0;
    const before = isFirst ? undefined : await this.#after(tokens.slice(0, -1), seed, promptLength);
    const rows: Record<string, Float32Array> = {};
    for (const [name, [index, prefix = []]] of Object.entries(this.#plan.members)) {
      rows[name] = await this.#plain[index].rowAfter([...prefix, ...tokens]);
    }
    const inputs = this.#plan.options?.inputs;
    const step = new Step(this.#program, this.#kernels, {
      step: Math.max(0, position - promptLength),
      position,
      seed,
      last: tokens.at(-1),
      inputs: typeof inputs === "function" ? inputs(tokens, Math.max(0, position - promptLength)) : inputs,
      tables: this.#plan.options?.tables,
      state: before?.state,
    });
    step.provide(rows);
    const { row, state } = step.finish();
    const result = { row: Float32Array.from(row), state };
    this.#known.set(key, result);
    return result;
  }
}

describe.each(ENGINES)("a fused source on %s", (_, options) => {
  const models: Model[] = [];
  const plain: PlainDecoding[] = [];
  beforeAll(async () => {
    for (const seed of [1, 2, 3]) {
      const layers = seed === 1 ? 2 : 1;
      models.push(await loadModel(syntheticModelBytes({ vocab: VOCAB, hidden: 32, layers, seed }), options));
    }
    plain.push(...models.map((model) => new PlainDecoding(model)));
  });
  afterAll(() => {
    for (const model of models) model.close();
  });

  it.each(ZOO)("gives the rows of the plan, in random programs: $what", async (named) => {
    const random = createRandom(named.what.length);
    const source = fuse(named.plan, membersOf(named, models), named.options);
    const truth = new PlainFusion(named, plain, backendOf(models[0])!.fuseKernels());
    const promptLength = 1 + random.below(12);
    const open = (seed: number) => ({
      session: source.open({ seed, promptLength, capacity: 120 }),
      text: [] as number[],
      seed,
    });
    const held = [open(7), open(8)];
    const steps = options.backend === "reference" ? 5 : 30;
    for (let step = 0; step < steps; step++) {
      const one = held[random.below(held.length)];
      switch (random.below(8)) {
        case 0:
          one.text.length = random.below(one.text.length + 1);
          one.session.truncate(one.text.length);
          break;
        case 1: {
          const seed = random.below(2) === 0 ? one.seed : random.below(100);
          held.push({ session: one.session.fork({ seed, capacity: 120 }), text: [...one.text], seed });
          if (held.length > 4) held.shift()!.session.close();
          break;
        }
        case 2: {
          const calls = held.map(({ session, text }) => randomCall(random, session, text));
          const results = await source.forwardAll(
            calls.map((call, index) => ({ session: held[index].session, ...call })),
          );
          for (const [index, call] of calls.entries()) {
            await lookAndKeep(held[index], call, copyRows(results[index]), truth, promptLength, random);
          }
          break;
        }
        default: {
          const call = randomCall(random, one.session, one.text);
          const rows = await one.session.forward(call.tokens, call.rows, call.parents);
          await lookAndKeep(one, call, copyRows(rows), truth, promptLength, random);
        }
      }
    }
    for (const { session } of held) session.close();
  });
});

interface RandomCall {
  readonly tokens: number[];
  readonly rows: number;
  readonly parents: number[] | undefined;
}

function randomCall(random: Random, session: Session, text: readonly number[]): RandomCall {
  const room = session.capacity - text.length;
  const count = Math.min(room, [1, 1 + random.below(6), 1 + random.below(14)][random.below(3)]);
  const tokens = Array.from({ length: count }, () => random.below(VOCAB));
  const parents = random.below(2) === 0 ? undefined : randomParents(random, count);
  return { tokens, rows: random.below(count + 1), parents };
}

/** Compares all rows of a call, then keeps a path of it. */
async function lookAndKeep(
  { session, text, seed }: { session: Session; text: number[]; seed: number },
  { tokens, rows, parents }: RandomCall,
  got: readonly Float32Array[],
  truth: PlainFusion,
  promptLength: number,
  random: Random,
): Promise<void> {
  const paths = parents ?? tokens.map((_, i) => i - 1);
  expect([got.length, session.length]).toEqual([rows, text.length + tokens.length]);
  for (const [index, row] of got.entries()) {
    const path = pathTo(paths, tokens.length - rows + index).map((node) => tokens[node]);
    expect(row).toEqual(await truth.rowAfter([...text, ...path], seed, promptLength));
  }
  const kept = tokens.length === 0 ? [] : pathTo(paths, random.below(tokens.length));
  session.truncate(text.length, kept);
  text.push(...kept.map((node) => tokens[node]));
}
