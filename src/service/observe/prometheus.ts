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

abstract class Labelled<T> implements Metric {
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

  protected abstract lines(labels: string, value: T): string[];

  protected update(labels: Labels, change: (before: T | undefined) => T): void {
    const key = written(labels);
    this.#values.set(key, change(this.#values.get(key)));
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

export class Counter extends Labelled<number> {
  constructor(described: Described) {
    super(described, "counter");
  }

  add(amount: number, labels: Labels = {}): void {
    this.update(labels, (before = 0) => before + amount);
  }

  protected lines(labels: string, value: number): string[] {
    return [`${this.name}${braced(labels)} ${value}`];
  }
}

/** Looked at when it is asked for. */
export class Gauge extends Labelled<number> {
  readonly #read: () => Iterable<readonly [Labels, number]>;

  constructor(described: Described, read: () => Iterable<readonly [Labels, number]>) {
    super(described, "gauge");
    this.#read = read;
  }

  override text(): string {
    this.clear();
    for (const [labels, value] of this.#read()) this.update(labels, () => value);
    return super.text();
  }

  protected lines(labels: string, value: number): string[] {
    return [`${this.name}${braced(labels)} ${value}`];
  }
}

interface Distribution {
  /** Per bound, those at most as large and above the bound before; those above all bounds last. */
  readonly counts: number[];
  sum: number;
}

export class Histogram extends Labelled<Distribution> {
  readonly #bounds: readonly number[];

  /** @param bounds Rising. */
  constructor(described: Described, bounds: readonly number[]) {
    super(described, "histogram");
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}): void {
    this.update(labels, (before) => {
      const distribution = before ?? { counts: Array(this.#bounds.length + 1).fill(0), sum: 0 };
      const bucket = this.#bounds.findIndex((bound) => value <= bound);
      distribution.counts[bucket < 0 ? this.#bounds.length : bucket]++;
      distribution.sum += value;
      return distribution;
    });
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
