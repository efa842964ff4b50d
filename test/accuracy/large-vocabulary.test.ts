/** A gemma3 of 262,144 tokens: llama.cpp's tokens and log-probabilities, and texts that drafts do not change. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { logSoftmax } from "../../bench/oracle/divergence.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { randomPair } from "../engine/on-off.ts";
import { createRandom } from "../support/random.ts";
import { DIVERGENCE_TOKENS, LARGE_VOCABULARY, randomTokens, syntheticFile } from "./cases.ts";
import { goldenOf, readGolden } from "./golden.ts";

const { name } = LARGE_VOCABULARY;
const file = syntheticFile(LARGE_VOCABULARY);
const golden = goldenOf(readGolden("synthetic"), name, file);
let model: Model;

beforeAll(async () => {
  model = await loadModel(file);
});
afterAll(() => model.close());

test("continues a prompt with llama.cpp's tokens", async () => {
  const [{ promptTokens, tokens, unsafe }] = golden.greedy;
  expect(unsafe).toEqual([]);
  const generated: number[] = [];
  const options = { temperature: 0, ignoreEos: true, maxTokens: tokens.length };
  for await (const { token } of model.generate(promptTokens, options)) generated.push(token);
  expect(generated).toEqual(tokens);
  // Far ids too.
  expect(Math.max(...tokens)).toBeGreaterThan(200_000);
});

test("gives llama.cpp's log-probabilities", async () => {
  const tokens = randomTokens(name, model.vocab, DIVERGENCE_TOKENS);
  const session = model.open({ capacity: tokens.length });
  const rows = await session.forward(tokens, tokens.length);
  expect(rows.vocab).toBe(262_144);
  for (const { position, ids, logProbabilities, error } of golden.rows) {
    const row = logSoftmax(rows.row(position));
    ids.forEach((id, rank) => {
      expect(Math.abs(row[id] - logProbabilities[rank]), `token ${id}`).toBeLessThan(2 * error + 1e-6);
    });
    expect(ids.length).toBe(50);
    // What the backend finds in the row is what is in it.
    const logits = rows.row(position).slice();
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    expect([...rows.top(position, 50).ids]).toEqual(order.slice(0, 50));
    expect(rows.argmax(position)).toBe(order[0]);
    expect(rows.logSumExp(position)).toBeCloseTo(logits[order[0]] - row[order[0]], 5);
  }
  session.close();
});

test("drafts do not change the text of random requests", async () => {
  const random = createRandom(11);
  for (let run = 0; run < 8; run++) {
    const { what, plain, drafted } = await randomPair(model, [], random);
    expect(drafted.tokens, what).toEqual(plain.tokens);
    expect(drafted.error, what).toBe(plain.error);
  }
});
