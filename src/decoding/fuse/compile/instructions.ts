/** The instructions of a program while it grows. Equal ones are one, so nothing is computed twice. */
import type { SummaryGroup } from "../../../backend/fuse-kernels.ts";
import type { StatisticName } from "../plan.ts";
import type { Id, Instruction, Program } from "../program.ts";

/** `Instruction` without its path; Omit alone would merge the union. */
type Bare<T> = T extends unknown ? Omit<T, "path"> : never;

/** What a pass must compute for a statistic. */
const GROUPS: Readonly<Record<StatisticName, SummaryGroup>> = {
  vocab: "extremes",
  max: "extremes",
  argmax: "extremes",
  mean: "moments",
  deviation: "moments",
  logPartition: "partition",
  entropy: "partition",
  maxProbability: "partition",
  minProbability: "partition",
  margin: "partition",
  squareEntropy: "partition",
  probabilityDeviation: "probabilities",
  probabilityKurtosis: "probabilities",
  probabilityEnergy: "probabilities",
};

export class Instructions {
  readonly #instructions: Instruction[] = [];
  readonly #known = new Map<string, Id>();
  readonly #groups = new Map<Id, Set<SummaryGroup>>();
  readonly #vocabularies = new Map<Id, string>();
  readonly #slots = new Map<string, number>();

  emit(path: string, instruction: Bare<Instruction>): Id {
    const key = JSON.stringify(instruction);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = this.#instructions.length;
    this.#instructions.push({ ...instruction, path } as Instruction);
    this.#known.set(key, id);
    return id;
  }

  number(value: number): Id {
    return this.emit("plan", { op: "number", value });
  }

  /** The slot of the state that belongs to a path. */
  memorySlot(path: string): number {
    const slot = this.#slots.get(path) ?? this.#slots.size;
    this.#slots.set(path, slot);
    return slot;
  }

  statistic(path: string, row: Id, name: StatisticName, temperature = 1): Id {
    const summary = this.summary(path, row, temperature, GROUPS[name]);
    return this.emit(path, { op: "statistic", name, summary });
  }

  summary(path: string, row: Id, temperature: number, group: SummaryGroup): Id {
    const id = this.emit(path, { op: "summary", row, temperature });
    const groups = this.#groups.get(id) ?? new Set();
    this.#groups.set(id, groups.add(group));
    return id;
  }

  /** An instruction that makes a row of the vocabulary. */
  rowOf(vocabulary: string, path: string, instruction: Bare<Instruction>): Id {
    const id = this.emit(path, instruction);
    this.#vocabularies.set(id, vocabulary);
    return id;
  }

  vocabularyOf(row: Id): string {
    return this.#vocabularies.get(row)!;
  }

  pathOf(id: Id): string {
    return this.#instructions[id].path;
  }

  done(): Pick<Program, "instructions" | "groups" | "vocabularies" | "memory"> {
    return {
      instructions: this.#instructions,
      groups: this.#groups,
      vocabularies: this.#vocabularies,
      memory: this.#slots.size,
    };
  }
}
