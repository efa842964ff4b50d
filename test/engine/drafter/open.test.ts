import { beforeAll, describe, expect, test } from "vitest";
import { VERIFIERS } from "../../../src/decoding/verify/registry.ts";
import { ModelDrafter } from "../../../src/engine/drafter/model-drafter.ts";
import { TextBridgeDrafter } from "../../../src/engine/drafter/text-bridge.ts";
import { draftMode, openModelDrafter, sharesVocabulary } from "../../../src/engine/model-drafter.ts";
import { loadModel, type Model } from "../../../src/node.ts";
import { syntheticModelBytes } from "../../support/synthetic-model.ts";

const options = { capacity: 64, steps: [], seed: 1 };

describe("opening a draft model", () => {
  let target: Model;
  let same: Model;
  let other: Model;
  beforeAll(async () => {
    target = await loadModel(syntheticModelBytes({ layers: 2 }));
    same = await loadModel(syntheticModelBytes({ layers: 1 }));
    other = await loadModel(syntheticModelBytes({ layers: 1, seed: 2 }));
  });

  test("drafts tokens with a shared vocabulary, text with another", () => {
    expect([sharesVocabulary(target, same), sharesVocabulary(target, other)]).toEqual([true, false]);
    // Asked twice it is the same, from either side.
    expect([sharesVocabulary(same, target), sharesVocabulary(target, other)]).toEqual([true, false]);
    const byTokens = openModelDrafter(target, same, { ...options, verifier: "gumbel" });
    const byText = openModelDrafter(target, other, { ...options, verifier: "gumbel" });
    expect(byTokens).toBeInstanceOf(ModelDrafter);
    expect(byText).toBeInstanceOf(TextBridgeDrafter);
    byTokens.close();
    byText.close();
  });

  test("has no law of the target's tokens to offer across vocabularies", () => {
    for (const verifier of ["specinfer", "sequoia", "traversal"] as const) {
      expect(() => openModelDrafter(target, other, { ...options, verifier })).toThrow(
        `"draft" must be a model of the target's vocabulary for the verifier "${verifier}", got one with another`,
      );
    }
  });

  test.each([
    "coupled",
    "coupled-tree",
    "greedy-tree",
    "sampled-tree",
    "independent-tree",
    "sampled",
    "greedy",
  ] as const)("a model that drafts for itself is right as far as it can be: %s", async (mode) => {
    const drafter = new ModelDrafter(same, {
      ...options,
      steps: [{ step: "temperature", temperature: 0 }],
      mode,
    });
    const prompt = [300, 301, 302];
    const session = same.open();
    drafter.append(prompt);
    let rows = await session.forward(prompt, 1);
    for (let round = 0; round < 4; round++) {
      const { tokens, parents } = await drafter.draft(8);
      // The first nodes are the best path; of all others nothing is known.
      const path: number[] = [];
      const expected: number[] = [];
      for (let node = -1; ; ) {
        const best = rows.argmax(0);
        const next = Array.from(tokens).findIndex(
          (token, i) => token === best && (parents === undefined ? i - 1 : parents[i]) === node,
        );
        expected.push(best);
        rows = await session.forward([best], 1);
        if (next < 0) break;
        path.push(best);
        node = next;
      }
      expect(path.length).toBeGreaterThanOrEqual(1);
      if (parents === undefined) expect(path.length).toBe(8);
      drafter.append(expected);
    }
    drafter.close();
    session.close();
  });

  test("drafts in the way that a verifier can make the most of", () => {
    const modes = Object.fromEntries(
      (Object.keys(VERIFIERS) as (keyof typeof VERIFIERS)[]).map((name) => [
        name,
        [draftMode(name), draftMode(name, true)],
      ]),
    );
    expect(modes).toMatchObject({
      greedy: ["greedy", "greedy-tree"],
      match: ["coupled", "coupled-tree"],
      gumbel: ["coupled", "coupled-tree"],
      token: ["sampled", "sampled"],
      block: ["sampled", "sampled"],
      specinfer: ["sampled", "independent-tree"],
      sequoia: ["sampled", "sampled-tree"],
      "target-only": ["greedy", "greedy-tree"],
      traversal: ["sampled", "sampled-tree"],
    });
    // A verifier never gets what it does not take.
    for (const [name, [chain, tree]] of Object.entries(modes)) {
      const { laws, shape } = VERIFIERS[name as keyof typeof VERIFIERS];
      for (const mode of [chain, tree]) {
        const drawn = ["sampled", "sampled-tree", "independent-tree"].includes(mode);
        expect(laws, name).toContain(drawn ? "rows" : "one-hot");
      }
      expect(chain.endsWith("tree"), name).toBe(false);
      if (shape === "chain") expect(tree.endsWith("tree"), name).toBe(false);
    }
  });
});
