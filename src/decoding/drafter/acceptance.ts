/**
 * acceptance: how many tokens a draft will give, learned from the drafts before it.
 *
 *     chain   E[emitted]  =  1 + α + α² + … + α^γ        α: chance that a tested token is accepted
 *     tree    E[emitted]  =  1 + ρ (1 + 1/2 + … + 1/γ)   nodes are given most promising first, the later ones hardly matter
 *
 * Both constants are decayed means that begin with a prior. Source: Leviathan et al. 2023, arXiv:2211.17192, for chains;
 * that the yield of a good tree grows with the logarithm of its size, Chen et al. 2024, "Sequoia", arXiv:2402.12374.
 */
/** What the prior counts, in tested tokens. */
const PRIOR_TESTS = 2;
/** Tested tokens that are remembered: later ones push out earlier ones. */
const MEMORY = 96;
/** The same after something happened that what was known does not explain. */
const SHORT_MEMORY = 8;
/** Rounds in a row that accept nothing are such a thing, if their chance was below this. */
const UNLIKELY = 0.01;
/** Least chance of a rejected first token, whatever was seen. */
const DOUBT = 0.05;

export class Acceptance {
  readonly #prior: number;
  readonly #isTree: boolean;
  #accepted = 0;
  #tested = 0;
  /** What `expected` said last, and of what. */
  #lengths: readonly number[] = [];
  #expected: readonly number[] = [];
  /** Chance of the present row of rounds that accepted nothing. */
  #chance = 1;

  constructor(prior: number, shape: "chain" | "tree") {
    this.#prior = prior;
    this.#isTree = shape === "tree";
  }

  /** α of chains, ρ of trees. */
  get rate(): number {
    return (this.#accepted + PRIOR_TESTS * this.#prior) / (this.#tested + PRIOR_TESTS);
  }

  /** Tokens that a draft of each length gives on average. @param lengths Shortest first. */
  expected(lengths: readonly number[]): readonly number[] {
    if (this.#lengths === lengths) return this.#expected;
    const { rate } = this;
    const expected: number[] = [];
    let [sum, reached, drafted] = [1, 1, 0];
    for (const length of lengths) {
      for (; drafted < length; drafted++) {
        reached *= rate;
        sum += this.#isTree ? rate / (drafted + 1) : reached;
      }
      expected.push(sum);
    }
    this.#lengths = lengths;
    this.#expected = expected;
    return expected;
  }

  /** Tokens that a draft gives at best. */
  most(length: number): number {
    return this.#isTree ? 1 + harmonic(length) : 1 + length;
  }

  record(length: number, accepted: number, tested: number): void {
    this.#chance = accepted > 0 ? 1 : this.#chance * Math.max(DOUBT, 1 - this.rate);
    if (this.#chance < UNLIKELY) {
      this.forget();
      this.#chance = 1;
    }
    this.#accepted += accepted;
    this.#tested += this.#isTree ? harmonic(length) : tested;
    this.#remember(MEMORY);
  }

  /** What was known no longer holds. */
  forget(): void {
    this.#remember(SHORT_MEMORY);
  }

  #remember(tests: number): void {
    this.#lengths = [];
    if (this.#tested <= tests) return;
    this.#accepted *= tests / this.#tested;
    this.#tested = tests;
  }
}

function harmonic(count: number): number {
  let sum = 0;
  for (let i = 1; i <= count; i++) sum += 1 / i;
  return sum;
}
