/**
 * grad: evidence from a corpus, as a graph of which token followed which, added to the row.
 *
 *     z + α·row / max row,  row of the last token in the graph; or α·max z in place of α
 *
 * Source: GRAD, arXiv:2511.03900. The paper's coefficient is not known to us: both readings are here, α explicit.
 */
import type { Table } from "../plan.ts";
import { definePreset } from "./define.ts";

/** `graph`: as `TransitionGraph.table()` gives it; null: it comes with each step as the table "graph". */
export const grad = definePreset(
  { base: "base", alpha: 1, scaled: false, graph: null as Table | null },
  ({ base, alpha, scaled, graph }) => ({
    sources: [base],
    tables: { graph: graph ?? { kind: "given" as const, like: "graph" as const } },
    lin: [
      { source: base },
      {
        table: "graph",
        norm: "maxnorm" as const,
        weight: scaled ? { mul: [alpha, { stat: "max" as const, of: base }] } : alpha,
      },
    ],
  }),
);
