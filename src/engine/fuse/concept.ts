/**
 * concept: what a plan takes from texts, by rows of a model.
 *
 *     concept row          mean row after some texts − mean row after others
 *     transition graph     which token followed which in a corpus, by the model's logit there
 *
 * A concept is a direction v of the last hidden state, here the difference of its means. What it adds to a row is W·v, and
 * W·(h₁ − h₂) = W·h₁ − W·h₂: the difference of the rows themselves. So no hidden state needs to be seen.
 *
 * Sources: contrastive activation addition, arXiv:2312.06681; GRAD, arXiv:2511.03900.
 */

import { TransitionGraph } from "../../decoding/fuse/transition-graph.ts";
import type { Table } from "../../decoding/fuse.ts";
import { nextTask } from "../../decoding/next-task.ts";
import { PIECE } from "../../decoding/read-tokens.ts";
import { grouped } from "../../errors.ts";
import type { Model } from "../model.ts";
import type { Session } from "../source.ts";

/** Texts of one list; each costs a pass. */
export const MOST_TEXTS = 1024;

export interface ConceptTexts {
  readonly positive: readonly string[];
  readonly negative: readonly string[];
}

/**
 * The row that steers towards the first texts and away from the others: for the source "concept" of the preset "steer".
 *
 * @returns (vocab) W·v of the model, v the difference of the mean hidden states at the ends of the texts.
 * @throws {RangeError} If a list is empty, or a text longer than the context.
 *
 * @example
 * ```ts
 * const concept = await conceptRow(model, { positive: ["What a happy day"], negative: ["What a sad day"] });
 * const happy = fuseModels(fusePreset("steer", { strength: 0.5 }), { base: model, concept });
 * ```
 */
export async function conceptRow(model: Model, { positive, negative }: ConceptTexts): Promise<Float32Array> {
  const toward = await meanRow(model, "positive", positive);
  const from = await meanRow(model, "negative", negative);
  return Float32Array.from(toward, (logit, token) => logit - from[token]);
}

/**
 * A table of the kind "graph" for the preset "grad". Texts longer than the context are read in parts.
 *
 * @throws {RangeError} If the graph is too large.
 */
export async function transitionGraph(
  model: Model,
  texts: readonly string[],
): Promise<Extract<Table, { kind: "graph" }>> {
  expectTexts("texts", texts);
  const graph = new TransitionGraph();
  for (const text of texts) {
    const tokens = model.tokenizer.encode(text);
    const session = model.open({ capacity: Math.max(1, Math.min(tokens.length, model.contextLength)) });
    try {
      for (let at = 0; at + 1 < tokens.length; at += session.length) {
        session.truncate(0);
        await addWindow(graph, session, tokens.slice(at, at + session.capacity + 1));
      }
    } finally {
      session.close();
    }
  }
  return graph.table();
}

/** Edges within some tokens, the last of which is only looked at. */
async function addWindow(graph: TransitionGraph, session: Session, tokens: readonly number[]): Promise<void> {
  for (let at = 0; at + 1 < tokens.length; at += PIECE) {
    const piece = tokens.slice(at, Math.min(at + PIECE, tokens.length - 1));
    const rows = await session.forward(piece, piece.length);
    graph.addSequence(tokens.slice(at, at + piece.length + 1), (i) => rows.row(i));
    await nextTask();
  }
}

/** In f64: the order of a few texts leaves no trace. */
async function meanRow(model: Model, name: string, texts: readonly string[]): Promise<Float64Array> {
  expectTexts(name, texts);
  const sum = new Float64Array(model.vocab);
  for (const [index, text] of texts.entries()) {
    const tokens = encode(model, `${name}[${index}]`, text);
    const session = model.open({ capacity: tokens.length });
    try {
      for (let at = 0; at < tokens.length; at += PIECE) {
        const isLast = at + PIECE >= tokens.length;
        const rows = await session.forward(tokens.slice(at, at + PIECE), isLast ? 1 : 0);
        if (isLast) for (const [token, logit] of rows.row(0).entries()) sum[token] += logit;
        await nextTask();
      }
    } finally {
      session.close();
    }
  }
  return sum.map((logit) => logit / texts.length);
}

function encode({ tokenizer, contextLength }: Model, path: string, text: string): number[] {
  const tokens = tokenizer.encode(text);
  if (tokens.length >= 1 && tokens.length <= contextLength) return tokens;
  const expected = `from 1 to ${grouped(contextLength)} tokens, the context of the model`;
  throw new RangeError(`"${path}" must have ${expected}, got ${grouped(tokens.length)}`);
}

/** @throws {TypeError | RangeError} If it is no list of texts, or an empty one. */
export function expectTexts(path: string, texts: unknown): asserts texts is readonly string[] {
  const isList = Array.isArray(texts) && texts.every((text) => typeof text === "string");
  if (!isList) throw new TypeError(`"${path}" must be an array of texts`);
  if (texts.length >= 1 && texts.length <= MOST_TEXTS) return;
  throw new RangeError(`"${path}" must have from 1 to ${MOST_TEXTS} texts, got ${texts.length}`);
}
