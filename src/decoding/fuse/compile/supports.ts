import type { Support } from "../plan.ts";
import type { Bound, Bounds, Id } from "../program.ts";
import type { Compiler, View } from "./compile.ts";

/** @param self The row that is cut, for those that judge by it; null if none does. */
export function compileSupports(
  compiler: Compiler,
  path: string,
  supports: readonly Support[],
  self: View | null,
): Bounds {
  return supports.map((support, index) => flatten(compiler, `${path}[${index}]`, support, self));
}

/** One of them must hold: an `any` of `any` is an `any`. */
function flatten(compiler: Compiler, path: string, support: Support, self: View | null): readonly Bound[] {
  if ("any" in support) {
    return support.any.flatMap((one, index) => flatten(compiler, `${path}.any[${index}]`, one, self));
  }
  if ("allow" in support) return [{ kind: "allow", ids: support.allow }];
  if ("forbid" in support) return [{ kind: "forbid", ids: support.forbid }];
  if ("bitmask" in support) return [{ kind: "bitmask" }];
  const { row, temperature } = support.of === undefined ? self! : compiler.named(support.of);
  return [{ kind: "floor", row, floor: compileFloor(compiler, path, support, row, temperature) }];
}

type Judging = Exclude<
  Support,
  { any: unknown } | { allow: unknown } | { forbid: unknown } | { bitmask: unknown }
>;

function compileFloor(compiler: Compiler, path: string, support: Judging, row: Id, temperature: number): Id {
  if ("topK" in support) return compiler.emit(path, { op: "topK", row, k: support.topK });
  const group = "topP" in support ? "partition" : "extremes";
  const summary = compiler.summary(path, row, temperature, group);
  if ("topP" in support) return compiler.emit(path, { op: "topP", row, summary, topP: support.topP });
  if ("minP" in support) {
    return compiler.emit(path, {
      op: "minP",
      row,
      summary,
      minP: support.minP,
      strict: support.ties === "drop",
    });
  }
  return compiler.emit(path, {
    op: "relTop",
    row,
    summary,
    relTop: support.relTop,
    compat: support.compat === true,
  });
}
