/** What comes from outside: plans as JSON. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  compilePlan,
  evaluatePlan,
  FUSE_PRESETS,
  type FusePresetName,
  fusePreset,
  type Plan,
  planFingerprint,
  readPlan,
} from "../../../src/decoding/fuse.ts";
import { createRandom, type Random } from "../../support/random.ts";

const SOURCES = ["base", "expert"];
const source = { source: "base" };

function nested(depth: number): object {
  return depth === 0 ? source : { lin: [nested(depth - 1)] };
}

import { neededOptions } from "./support.ts";

describe("readPlan", () => {
  it("fills in defaults, sorts names, and leaves out what changes nothing", () => {
    const plan = readPlan({
      support: { minP: 0.1 },
      temperature: 1,
      norm: "raw",
      mix: [{ source: "c" }, { source: "expert", weight: "w", temperature: 2 }],
      let: { w: { match: { base: "base", experts: [{ expert: "expert", anti: "base" }] } }, a: 1 },
      rows: { c: { source: "base", norm: { zscore: {} } } },
      sources: ["base", { name: "expert", extra: 0, vocabulary: "" }],
    });
    expect(JSON.stringify(plan)).toBe(
      JSON.stringify({
        sources: ["base", "expert"],
        let: {
          a: 1,
          w: {
            match: {
              base: "base",
              experts: [{ expert: "expert", anti: "base" }],
              solver: "grid21",
              limit: 2,
            },
            at: 0,
          },
        },
        rows: { c: { source: "base", norm: "zscore" } },
        mix: [
          { source: "c", norm: "logsoftmax", weight: 1 },
          { source: "expert", temperature: 2, norm: "logsoftmax", weight: "w" },
        ],
        mode: "exact",
        support: [{ minP: 0.1, ties: "keep" }],
      }),
    );
  });

  const presets = Object.keys(FUSE_PRESETS) as FusePresetName[];
  it.each(presets)("gives %s back as it was", (name) => {
    const plan = fusePreset(name, neededOptions(name));
    const again = readPlan(JSON.parse(JSON.stringify(plan)));
    expect(JSON.stringify(again)).toBe(JSON.stringify(plan));
    expect(planFingerprint(again)).toBe(planFingerprint(plan));
    expect(compilePlan(again).instructions).toEqual(compilePlan(plan).instructions);
  });

  it("tells plans apart by what they do", () => {
    const variants: Plan[] = [
      { sources: SOURCES, source: "base" },
      { sources: SOURCES, source: "expert" },
      { sources: ["expert", "base"], source: "base" },
      { sources: SOURCES, source: "base", temperature: 2 },
      { sources: SOURCES, lin: [source] },
      { sources: SOURCES, lin: [{ ...source, weight: 2 }] },
      { sources: SOURCES, mix: [source] },
      { sources: SOURCES, mix: [source], mode: "sampled" },
      { sources: SOURCES, source: "base", support: [{ topK: 2 }] },
      { sources: SOURCES, source: "base", support: [{ topK: 2, of: "expert" }] },
    ];
    expect(new Set(variants.map(planFingerprint)).size).toBe(variants.length);
    expect(planFingerprint({ sources: SOURCES, source: "base", temperature: 1, support: [] })).toBe(
      planFingerprint(variants[0]),
    );
    expect(planFingerprint(variants[0])).toMatch(/^[0-9a-f]{16}$/);
  });

  it("cannot be changed behind its back", () => {
    const values = [1, 2];
    const json = {
      sources: ["base"],
      tables: { t: { kind: "dense", values } },
      lin: [source, { table: "t" }],
    };
    const plan = readPlan(json);
    values[0] = 7;
    expect(plan.tables).toEqual({ t: { kind: "dense", values: [1, 2] } });
    const frozen = (value: unknown): boolean =>
      typeof value !== "object" ||
      value === null ||
      (Object.isFrozen(value) && Object.values(value).every(frozen));
    expect(frozen(plan)).toBe(true);
    expect(frozen(fusePreset("early-exit"))).toBe(true);
  });

  it("takes typed arrays in tables, and reads them as numbers", () => {
    const tables = { t: { kind: "gather", ids: Int32Array.of(1, -1) } };
    const plan = readPlan({ sources: ["base"], tables, map: source, through: "t" });
    expect(JSON.stringify(plan.tables)).toBe('{"t":{"kind":"gather","ids":[1,-1]}}');
  });

  const sparse = { kind: "sparse", ids: [0], values: [1] };
  it.each<[unknown, string]>([
    [null, '"plan" must be an object, got null'],
    [[], '"plan" must be an object, got array'],
    [{}, '"plan.sources" must be an array, got undefined'],
    [{ sources: [] }, '"plan.sources" must have a source'],
    [{ sources: [3] }, '"plan.sources[0]" must be an object, got number'],
    [{ sources: ["a", "a"], source: "a" }, '"plan.sources[1]" must be a name of its own, got "a" again'],
    [{ sources: ["__proto__"] }, '"plan.sources[0]" must be a letter and up to 63 letters'],
    [{ sources: new Array(17).fill("a") }, '"plan.sources" must have at most 16 entries, got 17'],
    [
      { sources: [{ name: "a", extra: -1 }] },
      '"plan.sources[0].extra" must be an integer from 0 to 4096, got -1',
    ],
    [
      { sources: SOURCES },
      '"plan" must have one of "source", "lin", "mix", "route", "map", "table", got none',
    ],
    [{ sources: SOURCES, source: "base", lin: [] }, 'got "source" and "lin"'],
    [
      { sources: SOURCES, lin: [source, { source: "exprt" }] },
      '"plan.lin[1].source" must be one of base, expert, got "exprt"',
    ],
    [{ sources: SOURCES, lin: [source, { source: 3 }] }, '"plan.lin[1].source" must be a name, got number'],
    [{ sources: SOURCES, lin: [] }, '"plan.lin" must have a row'],
    [{ sources: SOURCES, lin: new Array(9).fill(source) }, '"plan.lin" must have at most 8 entries, got 9'],
    [
      { sources: SOURCES, lin: [{ ...source, weight: 1001 }] },
      '"plan.lin[0].weight" must be a number from -1000 to 1000, got 1001',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: "w" }] },
      '"plan.lin[0].weight" must be a declared name, of which there are none, got "w"',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: {} }] },
      '"plan.lin[0].weight" must have one of "stat", "input"',
    ],
    [{ sources: SOURCES, lin: [{ ...source, weight: { add: [1], mul: [1] } }] }, 'got "add" and "mul"'],
    [
      { sources: SOURCES, lin: [{ ...source, weight: { sub: [1] } }] },
      '"plan.lin[0].weight.sub" must have 2 values, got 1',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: { exp: [{ stat: "max", of: "x" }] } }] },
      '"plan.lin[0].weight.exp[0].of" must be one of base, expert, got "x"',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: { stat: "mode", of: "base" } }] },
      '"plan.lin[0].weight.stat" must be one of "vocab"',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: { stat: "extra", of: "base" } }] },
      '"plan.lin[0].weight.column" must be below the 0 extra columns of "base", got 0',
    ],
    [
      { sources: SOURCES, lin: [{ ...source, weight: { schedule: [[1, 1]] } }] },
      '"plan.lin[0].weight.schedule" must begin with step 0',
    ],
    [
      {
        sources: SOURCES,
        lin: [
          {
            ...source,
            weight: {
              schedule: [
                [0, 1],
                [0, 2],
              ],
            },
          },
        ],
      },
      'schedule[1][0]" must be above the step before, 0, got 0',
    ],
    [
      { sources: SOURCES, inputs: { r: 2 }, lin: [{ ...source, weight: { input: "r", at: 2 } }] },
      '"plan.lin[0].weight.at" must be an integer from 0 to 1, got 2',
    ],
    [
      { sources: SOURCES, inputs: { r: 0 }, source: "base" },
      '"plan.inputs.r" must be an integer from 1 to 4096, got 0',
    ],
    [
      { sources: SOURCES, source: "base", norm: "softmax" },
      '"plan.norm" must be one of "raw", "logsoftmax", "zscore", "maxnorm", got "softmax"',
    ],
    [
      { sources: SOURCES, source: "base", norm: { zscore: { epsilon: -1 } } },
      '"plan.norm.zscore.epsilon" must be a number from 0 to 1',
    ],
    [
      { sources: SOURCES, source: "base", temperature: 0 },
      '"plan.temperature" must be a number from 0.001 to 1000, got 0',
    ],
    [
      { sources: SOURCES, source: "base", support: [{ minP: 2 }] },
      '"plan.support[0].minP" must be a number from 1e-12 to 1, got 2',
    ],
    [
      { sources: SOURCES, source: "base", support: { minP: 0.1, topK: 2 } },
      '"plan.support" must have one of',
    ],
    [
      { sources: SOURCES, source: "base", support: { any: [{ topK: 1, of: "x" }] } },
      '"plan.support.any[0].of" must be one of',
    ],
    [{ sources: SOURCES, source: "base", weight: 1 }, '"plan" may have "sources", '],
    [{ sources: SOURCES, route: [source], by: 0 }, '"plan.route" must have at least 2 rows, got 1'],
    [
      { sources: SOURCES, route: [source, { source: "expert" }], by: 2 },
      '"plan.by" must be an integer from 0 to 1, got 2',
    ],
    [
      { sources: SOURCES, lin: [{ route: [source, source], by: 0.5 }] },
      '"plan.lin[0].by" must be an integer from 0 to 1, got 0.5',
    ],
    [
      { sources: SOURCES, mix: [source, { source: "expert", weight: -0.1 }] },
      '"plan.mix[1].weight" must not be negative, got -0.1',
    ],
    [
      { sources: SOURCES, rows: { none: { mix: [{ ...source, weight: 0 }] } }, source: "none" },
      '"plan.rows.none.mix" must have a weight above 0',
    ],
    [
      { sources: SOURCES, route: [source, source] },
      '"plan.by" must be a number, a name or an object, got undefined',
    ],
    [
      { sources: SOURCES, table: "t" },
      '"plan.table" must be a declared name, of which there are none, got "t"',
    ],
    [{ sources: SOURCES, tables: { t: sparse }, table: "t" }, '"plan" must not be a sparse table'],
    [
      { sources: SOURCES, tables: { t: sparse }, lin: [{ table: "t" }] },
      '"plan.lin" must have a row that is not a sparse table',
    ],
    [
      { sources: SOURCES, tables: { t: sparse }, mix: [source, { table: "t" }] },
      '"plan.mix[1]" must not be a sparse table',
    ],
    [
      { sources: SOURCES, tables: { t: sparse }, lin: [source, { table: "t", norm: "zscore" }] },
      '"plan.lin[1]" must be raw or maxnorm',
    ],
    [
      { sources: SOURCES, tables: { t: sparse }, map: source, through: "t" },
      '"plan.through" must name a table of kind projection or gather or factors, got "t" of kind sparse',
    ],
    [
      { sources: SOURCES, tables: { t: { kind: "sparse", ids: [0, 1], values: [1] } }, source: "base" },
      '"plan.tables.t.values" must have 2 numbers, one per id, got 1',
    ],
    [
      {
        sources: SOURCES,
        tables: { t: { kind: "graph", offsets: [0, 2], ids: [1], values: [1] } },
        source: "base",
      },
      '"plan.tables.t.offsets[1]" must be an integer from 0 to 1, got 2',
    ],
    [
      { sources: SOURCES, tables: { t: { kind: "dense", values: "1,2" } }, source: "base" },
      '"plan.tables.t.values" must be an array of numbers, got string',
    ],
    [
      { sources: SOURCES, tables: { t: { kind: "dense", values: [NaN] } }, source: "base" },
      '"plan.tables.t.values[0]" must be a number',
    ],
    [
      { sources: SOURCES, rows: { base: source }, source: "base" },
      '"plan.rows.base" must be a name of its own, got "base" again',
    ],
    [
      { sources: SOURCES, rows: { a: { source: "a" } }, source: "a" },
      '"plan.rows.a" must not depend on itself, got rows.a → rows.a',
    ],
    [
      {
        sources: SOURCES,
        rows: { a: { lin: [{ ...source, weight: "w" }] } },
        let: { w: { stat: "max", of: "a" } },
        source: "a",
      },
      '"plan.rows.a" must not depend on itself, got rows.a → let.w → rows.a',
    ],
    [
      { sources: SOURCES, let: { a: { add: ["b"] }, b: "a" }, source: "base" },
      '"plan.let.a" must not depend on itself, got let.a → let.b → let.a',
    ],
    [
      { sources: SOURCES, rows: { a: { ...source, support: [{ topK: 1, of: "a" }] } }, source: "base" },
      '"plan.rows.a" must not depend on itself',
    ],
    [
      { sources: ["a", { name: "b", vocabulary: "v" }], lin: [{ source: "a" }, { source: "b" }] },
      '"plan.lin[1]" must be of vocabulary "", got "v"',
    ],
    [
      { sources: ["a", { name: "b", vocabulary: "v" }], source: "a", support: [{ topK: 1, of: "b" }] },
      '"plan.support[0].of" must be of vocabulary "", got "v"',
    ],
    [
      {
        sources: ["a", { name: "b", vocabulary: "v" }],
        lin: [{ source: "a", weight: { stat: "kl", of: "a", to: "b" } }],
      },
      '"plan.lin[0].weight.to" must be of vocabulary "", got "v"',
    ],
    [
      {
        sources: ["a"],
        tables: { t: { kind: "given", like: "gather", vocabulary: "v" } },
        map: { source: "a" },
        through: "t",
      },
      '"plan.map" must be of vocabulary "v", got ""',
    ],
    [
      {
        sources: [
          { name: "a", vocab: 3 },
          { name: "b", vocab: 4 },
        ],
        source: "a",
      },
      'one "vocab" for one vocabulary, got 3 of "a" and 4 of "b"',
    ],
    [{ sources: SOURCES, ...nested(12) }, '" must be nested at most 12 deep, got 13'],
    [
      {
        sources: SOURCES,
        lin: [{ ...source, weight: { add: new Array(32).fill({ add: new Array(32).fill(1) }) } }],
      },
      '"plan" must have at most 1024 rows and values, got more at "plan.lin[0].weight.add[',
    ],
  ])("%#: refuses what is no plan", (json, message) => {
    expect(() => readPlan(json)).toThrow(message);
  });

  it("refuses a tower that would take a lifetime to build, in no time", () => {
    const names = Array.from({ length: 100 }, (_, index) => `v${index}`);
    const values = Object.fromEntries(
      names.map((name, index) => [name, index === 0 ? 1 : { add: [names[index - 1], names[index - 1]] }]),
    );
    const plan = readPlan({
      sources: ["a"],
      let: values,
      lin: [{ source: "a", weight: "v99" }, { source: "a" }],
    });
    // 2^99 is clamped to the largest weight.
    expect(evaluatePlan(plan, { a: [1, 0] }, { audit: true }).audit!.weights[0].weights).toEqual([1000, 1]);
    const rows = Object.fromEntries(
      names.map((name, index) => [
        name,
        index === 0 ? { source: "a" } : { lin: [{ source: names[index - 1] }, { source: names[index - 1] }] },
      ]),
    );
    expect(compilePlan(readPlan({ sources: ["a"], rows, source: "v99" })).instructions.length).toBeLessThan(
      250,
    );
  });
});

/** Plans that are mostly sound, so that what is wrong with them is deep inside. */
class Writer {
  readonly #random: Random;
  readonly #mistakes: number;

  constructor(random: Random, mistakes: number) {
    this.#random = random;
    this.#mistakes = mistakes;
  }

  plan(): unknown {
    const sources = this.#or(() => ["a", { name: "b", extra: 1 }]);
    const tables = this.#or(() => ({
      dense: { kind: "dense", values: [1, 2, 0.5, this.#number()] },
      sparse: { kind: "sparse", ids: [3, 1], values: [this.#number(), 2] },
      graph: { kind: "graph", offsets: [0, 1], ids: [1], values: [2] },
      gather: { kind: "gather", ids: [2, 1, 0, -1] },
      factors: { kind: "factors", values: [0.5, 1, 0, this.#number()] },
      project: {
        kind: "projection",
        vocab: 4,
        offsets: [0, 1, 2, 2, 3],
        ids: [3, 2, 0],
        values: [1, 0.5, 1],
      },
    }));
    const declared = {
      inputs: this.#or(() => ({ x: 2 })),
      let: this.#or(() => ({ w: this.#value(2) })),
      rows: this.#or(() => ({ r: this.#node(2) })),
    };
    return this.#or(() => ({ sources, tables, ...declared, ...this.#node(3) }));
  }

  #node(depth: number): object {
    const modifiers = {
      ...(this.#chance(0.2) && { temperature: this.#or(() => this.#of(0.5, 2)) }),
      ...(this.#chance(0.2) && {
        norm: this.#or(() => this.#of<unknown>("raw", "zscore", "logsoftmax", { zscore: { ddof: 0 } })),
      }),
      ...(this.#chance(0.3) && { support: this.#or(() => this.#list(2, () => this.#support(2))) }),
    };
    return { ...this.#word(depth), ...modifiers };
  }

  #word(depth: number): object {
    const inner = () => this.#or(() => this.#node(depth - 1));
    const term = () => this.#or(() => ({ ...this.#node(depth - 1), weight: this.#value(2) }));
    const words: (() => object)[] = [
      () => ({ source: this.#row() }),
      () => ({ table: this.#or(() => "dense") }),
      () => ({ lin: this.#list(3, term) }),
      () => ({ lin: [inner(), { table: this.#of("sparse", "graph"), norm: this.#of("raw", "maxnorm") }] }),
      () => ({ mix: this.#list(3, term), mode: this.#of("exact", "sampled") }),
      () => ({ route: [inner(), inner()], by: this.#value(2) }),
      () => ({ map: inner(), through: this.#or(() => this.#of("gather", "project", "factors")) }),
    ];
    return (depth > 0 ? this.#of(...words) : words[0])();
  }

  #value(depth: number): unknown {
    const inner = () => this.#value(depth - 1);
    const words: (() => unknown)[] = [
      () => this.#number(),
      () => ({ stat: this.#of("max", "entropy", "margin", "squareEntropy", "deviation"), of: this.#row() }),
      () => ({ input: "x", at: this.#of(0, 1) }),
      () => ({ stat: "extra", of: "b" }),
      () => "w",
      () => ({ stat: this.#of("kl", "l1"), of: this.#row(), to: this.#row() }),
      () => ({ stat: this.#of("rank", "logit", "probability"), of: this.#row(), token: this.#of(0, 3, 4) }),
      () => ({ stat: "nth", of: this.#row(), n: this.#of(1, 4, 9) }),
      () => ({ [this.#of("add", "mul", "max", "argmax")]: this.#list(3, inner) }),
      () => ({ [this.#of("sub", "div", "pow", "less")]: [inner(), inner()] }),
      () => ({ [this.#of("exp", "log", "sigmoid")]: [inner()] }),
      () => ({ smooth: inner(), rate: this.#of(0, 0.5, 1) }),
      () => ({
        match: {
          base: "a",
          experts: [{ expert: this.#row(), anti: "b" }],
          solver: this.#of("grid21", "continuous"),
        },
      }),
    ];
    return this.#or(() => (depth > 0 ? this.#of(...words) : words[0])());
  }

  #support(depth: number): unknown {
    const of = this.#chance(0.5) ? { of: this.#row() } : {};
    return this.#of<() => unknown>(
      () => ({ minP: this.#of(0.1, 1), ties: this.#of("keep", "drop"), ...of }),
      () => ({ topK: this.#of(1, 2, 9), ...of }),
      () => ({ topP: this.#of(0, 0.5, 1), ...of }),
      () => ({ relTop: 0.3, ...of }),
      () => ({ forbid: [this.#random.below(5)] }),
      () => ({ bitmask: true }),
      () => (depth > 0 ? { any: this.#list(2, () => this.#support(depth - 1)) } : { topK: 1 }),
    )();
  }

  #row = (): unknown => this.#or(() => this.#of("a", "b", "r"));
  #number = (): unknown => this.#or(() => this.#of(0, 1, 0.5, -1, 2));

  /** What was meant, or a mistake. */
  #or(meant: () => unknown): unknown {
    if (!this.#chance(this.#mistakes)) return meant();
    return this.#of<unknown>(
      null,
      true,
      "x",
      "__proto__",
      -1,
      1e9,
      NaN,
      [],
      {},
      [[]],
      { source: "a" },
      new Map(),
    );
  }

  #list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: 1 + this.#random.below(most) }, make);
  }

  #chance = (share: number): boolean => this.#random.uniform() < share;
  #of = <T>(...choices: readonly T[]): T => choices[this.#random.below(choices.length)];
}

describe("any JSON", () => {
  function tryPlan(json: unknown): Plan | null {
    try {
      const plan = readPlan(json);
      expect(JSON.stringify(readPlan(JSON.parse(JSON.stringify(plan))))).toBe(JSON.stringify(plan));
      return plan;
    } catch (error) {
      expect(error instanceof TypeError || error instanceof RangeError, String(error)).toBe(true);
      expect((error as Error).message).toMatch(/^"plan[^"]*" (must|may) /);
      return null;
    }
  }

  it("is a plan, or an error that names the path; and a plan gives a row, or an error", () => {
    let fused = 0;
    const rounds = 4000;
    for (let seed = 0; seed < rounds; seed++) {
      const plan = tryPlan(new Writer(createRandom(seed), seed % 2 === 0 ? 0 : 0.03).plan());
      if (plan === null) continue;
      const rows = { a: [1, 2, -Infinity, 0.5], b: [0, 0, 3, -1, 0.7] };
      try {
        const { row } = evaluatePlan(plan, rows, { last: 0, seed, inputs: { x: [0.5, 1] }, audit: true });
        expect(row.length).toBe(4);
        expect(Array.from(row).every((z) => z < Infinity)).toBe(true);
        fused++;
      } catch (error) {
        expect(error, String((error as Error).stack)).toBeInstanceOf(RangeError);
        expect((error as Error).message).toMatch(/^"plan.*must|^Cannot fuse/);
      }
    }
    // It would say nothing if hardly any of them were plans.
    expect(fused).toBeGreaterThan(rounds / 10);
  });

  it("that is not meant to be a plan at all", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(tryPlan(JSON.parse(text))).toBe(null);
      }),
      { numRuns: 1000 },
    );
  });
});
