import { describe, expect, test } from "vitest";
import { BestOfDrafter } from "../../../src/decoding/drafter/best-of.ts";
import { JumpForwardDrafter } from "../../../src/decoding/drafter/jump-forward.ts";
import { PredictedOutputDrafter } from "../../../src/decoding/drafter/predicted-output.ts";
import { SuffixDrafter } from "../../../src/decoding/drafter/suffix.ts";
import { TokenRecyclingDrafter } from "../../../src/decoding/drafter/token-recycling.ts";
import { forcing } from "./reference.ts";

const vocab = 50;

describe("best of", () => {
  test("takes the draft with the longest match, of equal ones that of the first drafter", () => {
    const prediction = [9, 1, 2, 3, 40, 41];
    const drafter = new BestOfDrafter([
      new SuffixDrafter({ vocab }),
      new PredictedOutputDrafter({ vocab, prediction }),
    ]);
    drafter.append([1, 2, 3, 30, 9, 2, 3]);
    // Both match 2 3; then the prediction matches 9 1 2 3, where the text only has 1 2 3.
    expect(drafter.draft(1).tokens).toEqual([30]);
    drafter.append([9, 1, 2, 3]);
    expect(drafter.draft(2).tokens).toEqual([40, 41]);
    drafter.truncate(7);
    expect(drafter.draft(1).tokens).toEqual([30]);
    expect(drafter.length).toBe(7);
  });

  test("prefers what a grammar leaves no choice about", () => {
    let open = true;
    const drafter = new BestOfDrafter([
      new SuffixDrafter({ vocab }),
      new JumpForwardDrafter({
        constraint: forcing(vocab, (drafted) => (open && drafted.length < 2 ? 7 : null)),
      }),
    ]);
    drafter.append([1, 2, 3, 4, 1, 2, 3]);
    expect(drafter.draft(4)).toMatchObject({ tokens: [7, 7], matchLength: Infinity });
    open = false;
    expect(drafter.draft(3).tokens).toEqual([4, 1, 2]);
  });

  test("passes rows on to the drafters that learn from them", () => {
    const drafter = new BestOfDrafter([new SuffixDrafter({ vocab }), new TokenRecyclingDrafter({ vocab })]);
    drafter.observe!(1, [2, 3]);
    drafter.append([1]);
    expect(drafter.draft(4).tokens).toEqual([2]);
  });

  test("needs drafters that agree", () => {
    expect(() => new BestOfDrafter([])).toThrow('"drafters" must have at least one drafter, got none');
    expect(() => new BestOfDrafter([new SuffixDrafter({ vocab }), new SuffixDrafter({ vocab: 51 })])).toThrow(
      '"drafters[1].vocab" must be 50 like that of the first drafter, got 51',
    );
    const ahead = new SuffixDrafter({ vocab });
    ahead.append([1]);
    expect(() => new BestOfDrafter([new SuffixDrafter({ vocab }), ahead])).toThrow(
      '"drafters[1].length" must be 0 like that of the first drafter, got 1',
    );
  });
});

describe("jump forward", () => {
  test("drafts the only legal tokens until there is a choice", () => {
    /** Of {"a":true} the grammar leaves only the value open. */
    const forced = [10, 11, 12];
    const constraint = forcing(vocab, (accepted) => forced[accepted.length] ?? null);
    const drafter = new JumpForwardDrafter({ constraint });
    drafter.append([3]);
    expect(drafter.draft(8).tokens).toEqual(forced);
    expect(drafter.draft(2).tokens).toEqual([10, 11]);
    expect(drafter.draft(0).tokens).toEqual([]);
    // The grammar is left where it stood.
    expect(constraint.accepted).toEqual([]);
  });

  test("does not pass on a token the vocabulary does not have", () => {
    const drafter = new JumpForwardDrafter({ constraint: forcing(vocab, () => 50) });
    expect(() => drafter.draft(1)).toThrow(
      '"constraint.onlyToken()" must be an integer from 0 to 49, got 50',
    );
  });
});
