/**
 * A sum that keeps what each addition rounds away, and adds it at the end.
 *
 * Over 262,144 tokens a plain f64 sum of equal terms is off by 1e-11. Still a function of the order of its terms, which is
 * that of the tokens.
 *
 * Source: Neumaier 1974.
 */
export class Sum {
  #sum = 0;
  #lost = 0;

  add(term: number): void {
    const sum = this.#sum + term;
    this.#lost += Math.abs(this.#sum) >= Math.abs(term) ? this.#sum - sum + term : term - sum + this.#sum;
    this.#sum = sum;
  }

  multiply(factor: number): void {
    this.#sum *= factor;
    this.#lost *= factor;
  }

  /** May be infinite, as its terms may. */
  get value(): number {
    return Number.isFinite(this.#sum) ? this.#sum + this.#lost : this.#sum;
  }
}
