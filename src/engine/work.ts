import type { Llama, Part } from "../model/llama.ts";
import type { Rows } from "./source.ts";

/** A call that has all the memory it needs, on its way through the model. */
export interface Work {
  readonly columns: number;
  /** Its columns `from` … `to` − 1. Each is asked for once, in order. */
  part(from: number, to: number): Part;
  /** Appends the tokens: they have all been computed on. */
  finish(): Promise<Rows>;
}

/** Computes on all columns of works of different sessions: a pass over the weights for as many as one takes. */
export function compute(model: Llama, works: readonly Pick<Work, "columns" | "part">[]): void {
  let parts: Part[] = [];
  let room = model.passColumns;
  for (const work of works) {
    for (let at = 0; at < work.columns; ) {
      const end = Math.min(work.columns, at + room);
      parts.push(work.part(at, end));
      room -= end - at;
      at = end;
      if (room > 0) continue;
      model.forward(parts);
      parts = [];
      room = model.passColumns;
    }
  }
  if (parts.length > 0) model.forward(parts);
}
