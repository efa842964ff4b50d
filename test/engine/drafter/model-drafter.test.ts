import { describe, expect, test } from "vitest";
import { ChoiceConstraint } from "../../../src/decoding/constraint.ts";
import type { Draft } from "../../../src/decoding/draft.ts";
import {
  createPipeline,
  denseProbabilities,
  type Pipeline,
  type Step,
} from "../../../src/decoding/pipeline.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import {
  type DraftMode,
  ModelDrafter,
  type ModelDrafterOptions,
} from "../../../src/engine/drafter/model-drafter.ts";
import { createRandom } from "../../support/random.ts";
import { type LogitsAfter, randomLogits, TableSource } from "./table-source.ts";

const VOCAB = 6;
const PROMPT = [1, 3, 2];
const PLAIN: readonly Step[] = [];
const WARM: readonly Step[] = [{ step: "temperature", temperature: 0.8 }];

const MODES: readonly DraftMode[] = [
  "coupled",
  "greedy",
  "sampled",
  "coupled-tree",
  "greedy-tree",
  "sampled-tree",
  "independent-tree",
];

function create(source: TableSource, options: Partial<ModelDrafterOptions> = {}, prompt = PROMPT) {
  const drafter = new ModelDrafter(source, { capacity: 200, steps: WARM, seed: 5, ...options });
  drafter.append(prompt);
  return drafter;
}

const tokensOf = (draft: Draft) => Array.from(draft.tokens);
const parentsOf = (draft: Draft) =>
  draft.parents === undefined ? tokensOf(draft).map((_, i) => i - 1) : Array.from(draft.parents);

function pathOf(draft: Draft, node: number): number[] {
  return node < 0 ? [] : [...pathOf(draft, parentsOf(draft)[node]), draft.tokens[node]];
}

const pipelines = new Map<readonly Step[], Pipeline>();

/** The law that plain decoding would draw the next token from. */
function law(logits: LogitsAfter, steps: readonly Step[], history: readonly number[], promptLength: number) {
  const pipeline = pipelines.get(steps) ?? createPipeline(steps);
  pipelines.set(steps, pipeline);
  return denseProbabilities(pipeline.distribution(logits(history), { history, promptLength, seed: 5 }));
}

/** Σ (observed − expected)² / expected, and 5 standard deviations above its mean. */
function chiSquare(
  counts: ReadonlyMap<string, number>,
  expected: ReadonlyMap<string, number>,
  draws: number,
) {
  let sum = 0;
  let cells = 0;
  for (const [key, probability] of expected) {
    const mean = probability * draws;
    // Cells too small for the approximation, and what cannot be, are looked at one by one.
    if (probability === 0) expect(counts.get(key) ?? 0, key).toBe(0);
    if (mean < 5) continue;
    cells++;
    sum += ((counts.get(key) ?? 0) - mean) ** 2 / mean;
  }
  for (const key of counts.keys()) expect(expected.has(key), key).toBe(true);
  return { sum, limit: cells + 5 * Math.sqrt(2 * cells) };
}

describe.each(MODES)("model drafter, %s", (mode) => {
  const logits = randomLogits(VOCAB, 3);
  const isTree = mode.endsWith("tree");

  test("drafts a tree of at most gamma nodes, parents first, and says the same when asked twice", async () => {
    for (const gamma of [0, 1, 2, 5, 16, 64]) {
      const drafter = create(new TableSource(VOCAB, logits), { mode });
      const draft = await drafter.draft(gamma);
      expect(draft.tokens.length).toBeLessThanOrEqual(gamma);
      if (gamma > 0) expect(draft.tokens.length).toBeGreaterThan(0);
      expect(draft.parents !== undefined).toBe(isTree && gamma > 0);
      parentsOf(draft).forEach((parent, node) => {
        expect(parent).toBeGreaterThanOrEqual(-1);
        expect(parent).toBeLessThan(node);
      });
      if (mode !== "independent-tree") {
        const paths = tokensOf(draft).map((_, node) => pathOf(draft, node).join(" "));
        expect(new Set(paths).size).toBe(paths.length);
      }
      const again = await drafter.draft(gamma);
      expect([tokensOf(again), parentsOf(again)]).toEqual([tokensOf(draft), parentsOf(draft)]);
      expect(drafter.length).toBe(PROMPT.length);
    }
  });

  test("says what it would say had it read the committed tokens at once", async () => {
    const random = createRandom(9);
    const drafter = create(new TableSource(VOCAB, logits), { mode });
    let committed = [...PROMPT];
    for (let round = 0; round < 40; round++) {
      const draft = await drafter.draft(1 + random.below(8));
      // Some of a path of the draft turns out right, or none, or committed tokens are taken back.
      const path = draft.tokens.length === 0 ? [] : pathOf(draft, random.below(draft.tokens.length));
      const emitted = [...path.slice(0, random.below(path.length + 1)), random.below(VOCAB)];
      drafter.append(emitted);
      committed.push(...emitted);
      if (random.below(5) === 0) {
        committed = committed.slice(0, Math.max(1, committed.length - random.below(9)));
        drafter.truncate(committed.length);
      }
      const fresh = create(new TableSource(VOCAB, logits), { mode, promptLength: PROMPT.length }, committed);
      const [a, b] = [await drafter.draft(6), await fresh.draft(6)];
      expect([tokensOf(a), parentsOf(a)]).toEqual([tokensOf(b), parentsOf(b)]);
    }
  });

  test("computes an accepted path once", async () => {
    const source = new TableSource(VOCAB, logits);
    const drafter = create(source, { mode });
    const draft = await drafter.draft(8);
    const deepest = tokensOf(draft).reduce(
      (best, _, node) => (pathOf(draft, node).length > pathOf(draft, best).length ? node : best),
      0,
    );
    const path = pathOf(draft, deepest);
    expect(path.length).toBeGreaterThan(1);
    drafter.append([...path, 0]);
    const [session] = source.sessions;
    const before = session.computed;
    await drafter.prepare();
    // The last drafted token, which was not computed on, and the one that followed.
    expect(session.computed - before).toBeLessThanOrEqual(2);
  });

  test("drafts quietly less where its context ends, and nothing beyond", async () => {
    const source = new TableSource(VOCAB, logits, 10);
    for (let length = 1; length <= 12; length++) {
      const drafter = create(source, { mode }, Array<number>(length).fill(1));
      for (const gamma of [1, 4, 20]) {
        const draft = await drafter.draft(gamma);
        if (length > 10) expect(tokensOf(draft)).toEqual([]);
        else if (!isTree) expect(draft.tokens.length).toBe(Math.min(gamma, 11 - length));
        for (const node of draft.tokens.length === 0 ? [] : [draft.tokens.length - 1]) {
          expect(length + pathOf(draft, node).length).toBeLessThanOrEqual(11);
        }
      }
      drafter.close();
    }
    expect(source.sessions.every(({ closed }) => closed)).toBe(true);
  });

  test("has no draft of nothing, nor of a row of which nothing is left", async () => {
    const source = new TableSource(VOCAB, () => new Float32Array(VOCAB).fill(Number.NaN));
    expect(tokensOf(await create(source, { mode }, []).draft(4))).toEqual([]);
    expect(tokensOf(await create(source, { mode }).draft(4))).toEqual([]);
  });

  test("leaves out steps with memory, and keeps to a grammar", async () => {
    const constraint = new ChoiceConstraint({
      vocab: VOCAB,
      choices: [
        [2, 3, 5],
        [2, 4],
      ],
      endTokens: [0],
    });
    const steps: readonly Step[] = [{ step: "bitmask" }, { step: "mirostat-2", tau: 3, eta: 0.1 }];
    const draft = await create(new TableSource(VOCAB, logits), { mode, steps, constraint }).draft(12);
    expect(draft.tokens.length).toBeGreaterThan(2);
    const allowed = ["2", "2 3", "2 3 5", "2 3 5 0", "2 4", "2 4 0"];
    tokensOf(draft).forEach((_, node) => {
      expect(allowed).toContain(pathOf(draft, node).join(" "));
    });
    expect(constraint.onlyToken()).toBe(2);
    // Without the grammar a step "bitmask" has nothing to go by.
    expect((await create(new TableSource(VOCAB, logits), { mode, steps }).draft(3)).tokens.length).toBe(3);
  });

  test("counts its own tokens as emitted", async () => {
    const steps: readonly Step[] = [{ step: "presence-penalty", penalty: 100 }];
    // Three tokens are in the prompt; no path of a draft says one of the other three twice.
    const draft = await create(new TableSource(VOCAB, logits), { mode, steps }).draft(3);
    tokensOf(draft).forEach((_, node) => {
      const path = pathOf(draft, node);
      expect(new Set(path).size).toBe(path.length);
    });
  });

  test("refuses options out of range", () => {
    const source = new TableSource(VOCAB, logits);
    expect(() => create(source, { mode, minProbability: 2 })).toThrow(
      '"minProbability" must be a number from 0 to 1, got 2',
    );
    expect(() => create(source, { mode, branches: 0 })).toThrow(RangeError);
    expect(() => create(source, { mode }, [VOCAB])).toThrow(
      '"tokens[0]" must be an integer from 0 to 5, got 6',
    );
  });
});

describe("coupled drafts", () => {
  test("are what the target would emit, were the models equal, penalties included", async () => {
    const logits = randomLogits(VOCAB, 8);
    const steps: readonly Step[] = [
      { step: "repetition-penalty", penalty: 1.4 },
      ...WARM,
      { step: "top-k", k: 4 },
    ];
    for (let seed = 0; seed < 50; seed++) {
      const drafter = create(new TableSource(VOCAB, logits), { steps, seed });
      const history = [...PROMPT];
      const pipeline = createPipeline(steps);
      for (let i = 0; i < 6; i++) {
        const context = { history, promptLength: PROMPT.length, seed };
        history.push(pipeline.sample(logits(history), context).token);
      }
      expect(tokensOf(await drafter.draft(6))).toEqual(history.slice(PROMPT.length));
    }
  });

  test("agree with the target as often as the bound (1 − TV) / (1 + TV) says, and trees of them more often", async () => {
    for (const model of [1, 2, 3, 4]) {
      const [target, draft] = [randomLogits(VOCAB, model), randomLogits(VOCAB, model + 50)];
      // Half way between two models.
      const near: LogitsAfter = (tokens) =>
        draft(tokens).map((value, id) => (value + target(tokens)[id]) / 2);
      const p = law(target, [], PROMPT, 3);
      const q = law(near, [], PROMPT, 3);
      const distance = p.reduce((sum, value, id) => sum + Math.abs(value - q[id]), 0) / 2;
      const pipeline = createPipeline([]);
      const trials = 1500;
      let [chain, tree] = [0, 0];
      const source = new TableSource(VOCAB, near);
      for (let seed = 0; seed < trials; seed++) {
        const context = { history: PROMPT, promptLength: 3, seed };
        const { token } = pipeline.sample(target(PROMPT), context);
        const options = { steps: [], seed, branches: 2, depth: 1 };
        if ((await create(source, options).draft(1)).tokens[0] === token) chain++;
        if (tokensOf(await create(source, { ...options, mode: "coupled-tree" }).draft(2)).includes(token))
          tree++;
      }
      const bound = (1 - distance) / (1 + distance);
      const deviation = Math.sqrt((bound * (1 - bound)) / trials);
      expect(chain / trials).toBeGreaterThan(bound - 4 * deviation);
      expect(tree).toBeGreaterThan(chain);
    }
  });
});

describe("dynamic trees", () => {
  test.each(["greedy-tree", "coupled-tree"] as const)(
    "%s at temperature 0 hold the most likely paths of all",
    async (mode) => {
      const vocab = 4;
      const depth = 4;
      for (const seed of [1, 2, 3]) {
        const logits = randomLogits(vocab, seed);
        const steps: readonly Step[] = [{ step: "temperature", temperature: 0 }];
        const paths: { path: string; probability: number }[] = [];
        const walk = (path: readonly number[], probability: number) => {
          if (path.length > 0) paths.push({ path: path.join(" "), probability });
          if (path.length === depth) return;
          law(logits, [], [...PROMPT, ...path], 3).forEach((chance, token) => {
            walk([...path, token], probability * chance);
          });
        };
        walk([], 1);
        paths.sort((a, b) => b.probability - a.probability);
        for (const gamma of [1, 3, 8, 16]) {
          const drafter = create(new TableSource(vocab, logits), { mode, steps, branches: 16, depth });
          const draft = await drafter.draft(gamma);
          expect(tokensOf(draft).map((_, node) => pathOf(draft, node).join(" "))).toEqual(
            paths.slice(0, gamma).map(({ path }) => path),
          );
        }
      }
    },
  );

  test("take one call of the draft model for a layer, and no layer that cannot matter", async () => {
    // One token is nearly certain: of 4 nodes all lie on one path, of which the last is not gone on from.
    const sure: LogitsAfter = (tokens) =>
      Float32Array.from({ length: VOCAB }, (_, id) =>
        id === (tokens[tokens.length - 1] + 1) % VOCAB ? 20 : 0,
      );
    const source = new TableSource(VOCAB, sure);
    const drafter = create(source, { mode: "greedy-tree", depth: 30, branches: 2 });
    expect(tokensOf(await drafter.draft(4))).toEqual([3, 4, 5, 0]);
    expect(source.sessions[0].calls).toBe(1 + 4);
    // All alike: 4 nodes are 4 children, of which two, the branches, are looked below.
    const flat = new TableSource(VOCAB, () => new Float32Array(VOCAB));
    const wide = create(flat, { mode: "greedy-tree", depth: 30, branches: 4 });
    expect(await wide.draft(4)).toMatchObject({ tokens: [0, 1, 2, 3], parents: [-1, -1, -1, -1] });
    expect(flat.sessions[0].calls).toBe(1 + 1);
  });

  test("have at most so many children and levels", async () => {
    const drafter = create(new TableSource(VOCAB, randomLogits(VOCAB, 4, 2, 0.1)), {
      mode: "greedy-tree",
      branches: 3,
      depth: 2,
    });
    const draft = await drafter.draft(64);
    expect(draft.tokens.length).toBe(3 + 9);
    const parents = parentsOf(draft);
    for (const parent of new Set(parents)) {
      expect(parents.filter((other) => other === parent).length).toBe(3);
    }
    expect(Math.max(...parents.map((_, node) => pathOf(draft, node).length))).toBe(2);
  });
});

describe("confidence", () => {
  const logits = randomLogits(VOCAB, 12);

  test("ends a chosen chain before a token that is less likely", async () => {
    const whole = tokensOf(await create(new TableSource(VOCAB, logits), { mode: "greedy" }).draft(16));
    const probabilities = whole.map(
      (token, i) => law(logits, WARM, [...PROMPT, ...whole.slice(0, i)], 3)[token],
    );
    for (const minProbability of [0.3, 0.5, 0.7, 0.9]) {
      const drafter = create(new TableSource(VOCAB, logits), { mode: "greedy", minProbability });
      const end = probabilities.findIndex((probability) => probability < minProbability);
      expect(tokensOf(await drafter.draft(16))).toEqual(whole.slice(0, end < 0 ? 16 : end));
    }
  });

  test("ends a sampled chain by the law before the token, whatever token it would be", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const minProbability = 0.45;
      const whole = tokensOf(
        await create(new TableSource(VOCAB, logits), { mode: "sampled", seed }).draft(8),
      );
      const sure = whole.map((_, i) => Math.max(...law(logits, WARM, [...PROMPT, ...whole.slice(0, i)], 3)));
      const end = sure.findIndex((most) => most < minProbability);
      const drafter = create(new TableSource(VOCAB, logits), { mode: "sampled", seed, minProbability });
      expect(tokensOf(await drafter.draft(8))).toEqual(whole.slice(0, end < 0 ? 8 : end));
    }
  });

  test("leaves unlikely paths out of a tree", async () => {
    const draft = await create(new TableSource(VOCAB, logits), {
      mode: "greedy-tree",
      minProbability: 0.1,
    }).draft(64);
    expect(draft.tokens.length).toBeGreaterThan(2);
    tokensOf(draft).forEach((_, node) => {
      const path = pathOf(draft, node);
      const probability = path.reduce(
        (product, token, i) => product * law(logits, WARM, [...PROMPT, ...path.slice(0, i)], 3)[token],
        1,
      );
      expect(probability).toBeGreaterThanOrEqual(0.1 * (1 - 1e-9));
    });
  });
});

describe("sampled drafts", () => {
  const vocab = 4;
  const steps: readonly Step[] = [{ step: "temperature", temperature: 1.3 }];
  const q = randomLogits(vocab, 21, 1);
  const source = new TableSource(vocab, q);
  const draws = 3000;

  test("are drawn from the rows they name, to the last bit those of the pipeline in f32", async () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < draws; seed++) {
      const draft = await create(source, { mode: "sampled", steps, seed }).draft(2);
      const tokens = tokensOf(draft);
      counts.set(tokens.join(" "), (counts.get(tokens.join(" ")) ?? 0) + 1);
      if (seed > 20) continue;
      const { rows } = draft.law as { rows: { row(index: number): ArrayLike<number> } };
      for (let i = 0; i < 2; i++) {
        const expected = law(q, steps, [...PROMPT, ...tokens.slice(0, i)], 3);
        expect(Array.from(rows.row(i))).toEqual(Array.from(expected, Math.fround));
      }
    }
    const expected = new Map<string, number>();
    law(q, steps, PROMPT, 3).forEach((first, a) => {
      law(q, steps, [...PROMPT, a], 3).forEach((second, b) => {
        expected.set(`${a} ${b}`, first * second);
      });
    });
    const { sum, limit } = chiSquare(counts, expected, draws);
    expect(sum).toBeLessThan(limit);
  });

  test.each(["sampled-tree", "independent-tree"] as const)(
    "%s: siblings have their joint law",
    async (mode) => {
      const counts = new Map<string, number>();
      for (let seed = 0; seed < draws; seed++) {
        const draft = await create(source, { mode, steps, seed, branches: 2, depth: 1 }).draft(2);
        expect(parentsOf(draft)).toEqual([-1, -1]);
        const key = tokensOf(draft).join(" ");
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const row = law(q, steps, PROMPT, 3);
      const expected = new Map<string, number>();
      row.forEach((first, a) => {
        row.forEach((second, b) => {
          const rest = mode === "independent-tree" ? second : a === b ? 0 : second / (1 - first);
          expected.set(`${a} ${b}`, first * rest);
        });
      });
      const { sum, limit } = chiSquare(counts, expected, draws);
      expect(sum).toBeLessThan(limit);
    },
  );

  test("of a law with fewer tokens than branches leave nodes out, and nothing takes their place", async () => {
    const two: readonly Step[] = [{ step: "top-k", k: 2 }];
    const draft = await create(source, { mode: "sampled-tree", steps: two, branches: 4, depth: 2 }).draft(12);
    const parents = parentsOf(draft);
    for (const parent of new Set(parents)) {
      const siblings = tokensOf(draft).filter((_, node) => parents[node] === parent);
      expect(siblings.length).toBeLessThanOrEqual(2);
      expect(new Set(siblings).size).toBe(siblings.length);
    }
    const full = await create(source, { mode: "sampled-tree", steps, branches: 4, depth: 2 }).draft(12);
    expect(draft.tokens.length).toBeLessThan(full.tokens.length);
  });

  /** Two tokens of the target, by rounds of draft and verification. */
  test.each([
    ["sampled", "token", 0],
    ["sampled", "block", 0],
    ["sampled", "block", 0.45],
    ["sampled-tree", "sequoia", 0],
    ["sampled-tree", "traversal", 0],
    ["sampled-tree", "traversal", 0.45],
    ["independent-tree", "specinfer", 0],
    ["greedy-tree", "target-only", 0],
  ] as const)(
    "%s leave the target its law under %s, with confidence %d",
    async (mode, verifier, minProbability) => {
      const p = randomLogits(vocab, 22, 1);
      const counts = new Map<string, number>();
      for (let seed = 0; seed < draws; seed++) {
        const drafter = create(source, { mode, steps, seed, minProbability, branches: 2, depth: 3 });
        const text: number[] = [];
        while (text.length < 2) {
          const draft = await drafter.draft(5);
          const committed = [...PROMPT, ...text];
          const rows = {
            count: draft.tokens.length + 1,
            vocab,
            row: (index: number) => law(p, PLAIN, [...committed, ...pathOf(draft, index - 1)], 3),
          };
          const verdict = verify({
            rows,
            draft,
            start: committed.length,
            random: seededRandom(seed),
            policy: { verifier },
          });
          text.push(...verdict.emitted);
          drafter.append(verdict.emitted);
        }
        const key = text.slice(0, 2).join(" ");
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const expected = new Map<string, number>();
      law(p, PLAIN, PROMPT, 3).forEach((first, a) => {
        law(p, PLAIN, [...PROMPT, a], 3).forEach((second, b) => {
          expected.set(`${a} ${b}`, first * second);
        });
      });
      const { sum, limit } = chiSquare(counts, expected, draws);
      expect(sum).toBeLessThan(limit);
    },
  );
});
