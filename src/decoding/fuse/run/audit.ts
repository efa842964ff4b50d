/** How a row came about: what instructions computed, read after the fact. */

import { PENDING, type Pending, type Summary, type SummaryGroup } from "../../../backend/fuse-kernels.ts";
import type { FuseAudit } from "../context.ts";
import type { MatchResult } from "../match.ts";
import type { Results } from "./results.ts";
import { clampWeight } from "./rows.ts";

const PARTITION: ReadonlySet<SummaryGroup> = new Set<SummaryGroup>(["partition"]);

/** PENDING if a kernel's answer is. */
export function auditOf<R>(results: Results<R>): FuseAudit | Pending {
  const { program, taken } = results;
  const computed = program.instructions.filter((_, id) => results.isComputed(id));
  const used = program.sources.map((source, index) => ({ ...source, taken: taken.get(index) }));
  const entropyOf = (row: R) => results.kernels.summary(row, 1, PARTITION);
  const rows = [...[...taken.values()].map(({ row }) => row), results.get<R>(program.result)];
  if (rows.map(entropyOf).includes(PENDING)) return PENDING;
  const entropy = (row: R) => (entropyOf(row) as Required<Summary>).entropy;
  return {
    sources: used.filter((source) => source.taken !== undefined).map(({ name }) => name),
    weights: computed.flatMap((instruction) => {
      if (instruction.op !== "lin" && instruction.op !== "mix") return [];
      const { path, terms } = instruction;
      return terms.length === 1
        ? []
        : [{ path, weights: terms.map(({ weight }) => clampWeight(results.get(weight))) }];
    }),
    routes: computed.flatMap((instruction) =>
      instruction.op === "route"
        ? [{ path: instruction.path, choice: results.get<number>(instruction.by) }]
        : [],
    ),
    matches: program.instructions.flatMap((instruction, id) =>
      instruction.op === "match" && results.isComputed(id)
        ? [{ path: instruction.path, ...results.get<MatchResult>(id) }]
        : [],
    ),
    entropies: Object.fromEntries(
      used.flatMap((source) =>
        source.taken === undefined ? [] : [[source.name, entropy(source.taken.row)]],
      ),
    ),
    entropy: entropy(results.get<R>(program.result)),
  };
}
