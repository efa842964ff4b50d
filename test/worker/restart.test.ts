/** A worker that is killed while it decodes, and one that takes its place. */
import type { Miniflare } from "miniflare";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dryRun, runWorker, type Upload } from "./miniflare.ts";

const MODEL = "edgewise-stories-q8_0";
const REQUEST = { model: MODEL, prompt: "The king", max_tokens: 200, n: 8, seed: 9, ignore_eos: true };

let uploads: Upload[];
let worker: Miniflare;
let url: URL;

const start = async (port = 0) => {
  worker = runWorker(uploads, { port, bindings: { LOG: "none" } } as object);
  url = await worker.ready;
};
beforeAll(async () => {
  uploads = await dryRun();
  await start();
});
afterAll(() => worker?.dispose());

const post = (body: object) =>
  fetch(new URL("/v1/completions", url), { method: "POST", body: JSON.stringify(body) });

async function texts(response: Response): Promise<string[]> {
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  return choices.map(({ text }) => text);
}

/** Kills it in the middle of what it decodes. */
async function kill(): Promise<void> {
  for (;;) {
    const health = (await (await fetch(new URL("/health", url))).json()) as { decoded_tokens: number };
    if (health.decoded_tokens > 8) break;
  }
  await worker.dispose();
}

describe("a killed and restarted worker", () => {
  it("breaks its streams, so that none is taken for whole", async () => {
    const response = await post({ ...REQUEST, stream: true });
    let received = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body!) received += decoder.decode(chunk, { stream: true });
    })();
    const broken = expect(reading).rejects.toThrow("terminated");
    await kill();
    await broken;
    expect(received).toContain("data: {");
    expect(received).not.toContain("[DONE]");
    await start(Number(url.port));
    // The official client tells it as an error too.
    const openai = new OpenAI({ apiKey: "any", baseURL: new URL("/v1", url).href, maxRetries: 0 });
    const stream = await openai.completions.create({ ...REQUEST, stream: true });
    const read = expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow();
    await kill();
    await read;
    await start(Number(url.port));
  });

  it("gives a client that tries again the text that it would have had", async () => {
    const expected = await texts(await post(REQUEST));
    await worker.dispose();
    await start(Number(url.port));
    const openai = new OpenAI({ apiKey: "any", baseURL: new URL("/v1", url).href, maxRetries: 8 });
    let tries = 0;
    const counted = openai.withOptions({
      fetch: (...given) => {
        tries++;
        return fetch(...given);
      },
    });
    const answer = counted.completions.create(REQUEST);
    await kill();
    await start(Number(url.port));
    expect((await answer).choices.map(({ text }) => text)).toEqual(expected);
    expect(tries).toBeGreaterThan(1);
  });
});
