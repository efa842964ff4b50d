/** The page: the same client as main.js, in a browser. `serve.js` bundles it. */
import { createPipeline, loadModel, presetSteps } from "edgewise";
import { draftAtTheEdge } from "./edge-client.js";

const element = (id) => document.getElementById(id);
const steps = presetSteps("edgewise", { temperature: 0.8, topP: 0.95 });
let model;

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const prompt = element("prompt").value;
  element("text").textContent = prompt;
  element("stats").textContent = "";
  try {
    model ??= loadModel("/models/edgewise-draft-q8_0.gguf");
    const tools = { createPipeline };
    const options = {
      url: location.origin,
      model: await model,
      tools,
      prompt,
      steps,
      seed: 1,
      maxTokens: 100,
    };
    const pieces = draftAtTheEdge(options);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return tell(value);
      element("text").textContent += value.text;
    }
  } catch (error) {
    element("stats").textContent = error.message;
  }
});

function tell({ tokens, rounds, drafted, accepted, bytesUp, bytesDown }) {
  element("stats").textContent =
    `${tokens} tokens in ${rounds} round trips; ${accepted} of ${drafted} drafted tokens stood; ` +
    `${(bytesUp / Math.max(1, drafted)).toFixed(2)} bytes up per drafted token, ` +
    `${(bytesDown / Math.max(1, tokens)).toFixed(2)} down per token of the text`;
}
