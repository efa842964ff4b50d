/**
 * Models that are not part of the project, from the folder `shared` next to the checkout, against llama.cpp itself:
 * what they answer is not ours to store. Skipped where the folder or the peer is absent.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Peer } from "../../bench/peer.ts";
import { loadModel } from "../../src/node.ts";
import { PROMPTS } from "./story.ts";

const TOKENS = 96;

const PEER = new URL("../../bench/peers/node_modules/node-llama-cpp", import.meta.url);

test.for(["stories260K-f16", "stories3M-f16"])(
  "%s continues prompts as llama.cpp does",
  async (name, { skip }) => {
    const file = new URL(`../../../shared/models/${name}.gguf`, import.meta.url);
    if (!existsSync(file)) skip(`../shared/models/${name}.gguf is absent`);
    if (!existsSync(PEER)) skip("llama.cpp is not installed: npm install --prefix bench/peers");

    const model = await loadModel(file);
    await using peer = await Peer.start("llama-cpp", [fileURLToPath(file), "--context", "256"]);
    for (const prompt of PROMPTS) {
      const { tokens: promptTokens } = await peer.request("tokenize", { text: prompt });
      expect(model.tokenizer.encode(prompt)).toEqual(promptTokens);
      const { tokens } = await peer.request("greedy", { tokens: promptTokens, n: TOKENS });
      const generated: number[] = [];
      const steps = model.generate(prompt, { temperature: 0, ignoreEos: true, maxTokens: TOKENS });
      for await (const { token } of steps) generated.push(token);
      expect(generated, prompt).toEqual(tokens);
    }
    model.close();
  },
);
