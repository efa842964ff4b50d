/** Counters, gauges and histograms in the text format that Prometheus scrapes. Source: its exposition format 0.0.4. */

export type Labels = Readonly<Record<string, string>>;

/** A number with a name, for each set of labels. */
export interface Metric {
  /** Its lines, with what it is. */
  text(): string;
}

interface Described {
  readonly name: string;
  readonly help: string;
}

abstract class Labelled<T extends object> implements Metric {
  readonly name: string;
  readonly #help: string;
  readonly #type: string;
  /** By labels as they are written. */
  readonly #values = new Map<string, T>();

  constructor({ name, help }: Described, type: string) {
    this.name = name;
    this.#help = help;
    this.#type = type;
  }

  protected abstract zero(): T;
  protected abstract lines(labels: string, value: T): string[];

  /** What is counted under `labels`: for who counts often, and need not write them each time. */
  at(labels: Labels = {}): T {
    const key = written(labels);
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const value = this.zero();
    this.#values.set(key, value);
    return value;
  }

  protected clear(): void {
    this.#values.clear();
  }

  text(): string {
    const head = [`# HELP ${this.name} ${this.#help}`, `# TYPE ${this.name} ${this.#type}`];
    const lines = [...this.#values].flatMap(([labels, value]) => this.lines(labels, value));
    return [...head, ...lines, ""].join("\n");
  }
}

class Amount {
  value = 0;

  add(amount: number): void {
    this.value += amount;
  }
}

export class Counter extends Labelled<Amount> {
  constructor(described: Described) {
    super(described, "counter");
  }

  add(amount: number, labels: Labels = {}): void {
    this.at(labels).add(amount);
  }

  protected zero(): Amount {
    return new Amount();
  }

  protected lines(labels: string, { value }: Amount): string[] {
    return [`${this.name}${braced(labels)} ${value}`];
  }
}

/** Looked at when it is asked for. */
export class Gauge extends Labelled<Amount> {
  readonly #read: () => Iterable<readonly [Labels, number]>;

  /** @param type "counter" for what somebody else counts. */
  constructor(
    described: Described,
    read: () => Iterable<readonly [Labels, number]>,
    type: "gauge" | "counter" = "gauge",
  ) {
    super(described, type);
    this.#read = read;
  }

  override text(): string {
    this.clear();
    for (const [labels, value] of this.#read()) this.at(labels).value = value;
    return super.text();
  }

  protected zero(): Amount {
    return new Amount();
  }

  protected lines(labels: string, { value }: Amount): string[] {
    return [`${this.name}${braced(labels)} ${value}`];
  }
}

class Distribution {
  readonly bounds: readonly number[];
  /** Per bound, those at most as large and above the bound before; those above all bounds last. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const bucket = this.bounds.findIndex((bound) => value <= bound);
    this.counts[bucket < 0 ? this.bounds.length : bucket]++;
    this.sum += value;
  }
}

export class Histogram extends Labelled<Distribution> {
  readonly #bounds: readonly number[];

  /** @param bounds Rising. */
  constructor(described: Described, bounds: readonly number[]) {
    super(described, "histogram");
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}): void {
    this.at(labels).observe(value);
  }

  protected zero(): Distribution {
    return new Distribution(this.#bounds);
  }

  protected lines(labels: string, { counts, sum }: Distribution): string[] {
    const before = labels === "" ? "" : `${labels},`;
    let total = 0;
    const buckets = [...this.#bounds, "+Inf"].map((bound, i) => {
      total += counts[i];
      return `${this.name}_bucket{${before}le="${bound}"} ${total}`;
    });
    return [
      ...buckets,
      `${this.name}_sum${braced(labels)} ${sum}`,
      `${this.name}_count${braced(labels)} ${total}`,
    ];
  }
}

function written(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",");
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
