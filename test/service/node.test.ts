/** The service on Node's HTTP server, over real sockets: streams, leaving clients, many at once. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { type NodeServer, serveNode } from "../../src/service/node.ts";

let model: Model;
let server: NodeServer;

beforeAll(async () => {
  model = await loadModel(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));
  const app = createApp({
    models: lazyModels({ stories: async () => model }),
    maxRunning: 32,
    maxWaiting: 400,
  });
  server = await serveNode(app, { port: 0 });
});
afterAll(async () => {
  await server.close(0);
  model.close();
});

const complete = (body: object, signal?: AbortSignal) =>
  fetch(new URL("/v1/completions", server.url), { method: "POST", body: JSON.stringify(body), signal });

const health = async () => (await fetch(new URL("/health", server.url))).json();

describe("serveNode", () => {
  it("answers, and streams the same text", async () => {
    const request = { prompt: "Once upon a time", max_tokens: 20, seed: 3, temperature: 0.8 };
    const whole = await (await complete(request)).json();
    const stream = await (await complete({ ...request, stream: true })).text();
    const texts = [...stream.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => JSON.parse(json));
    expect(texts.map(({ choices }) => choices[0]?.text ?? "").join("")).toBe(whole.choices[0].text);
    expect(stream.trimEnd().endsWith("data: [DONE]")).toBe(true);
  });

  it("gives 200 streams at once their own texts, whole", async () => {
    const ask = async (seed: number) => {
      const response = await complete({
        prompt: "The little fox",
        max_tokens: 24,
        seed,
        temperature: 1,
        stream: true,
        ignore_eos: true,
      });
      const stream = await response.text();
      const texts = [...stream.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => JSON.parse(json));
      return texts.map(({ choices }) => choices[0]?.text ?? "").join("");
    };
    const texts = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i % 50)));
    for (let seed = 0; seed < 50; seed++) {
      const pieces = model.generate("The little fox", {
        maxTokens: 24,
        seed,
        temperature: 1,
        ignoreEos: true,
      });
      let expected = "";
      for await (const { text } of pieces) expected += text;
      for (let i = seed; i < 200; i += 50) expect(texts[i]).toBe(expected);
    }
  }, 120_000);

  it("stops decoding when a client leaves, streaming or not", async () => {
    for (const stream of [true, false]) {
      const controller = new AbortController();
      const body = { prompt: "Once", max_tokens: 400, stream, ignore_eos: true };
      const answer = complete(body, controller.signal);
      if (stream) await (await answer).body!.getReader().read();
      else {
        answer.catch(() => {});
        while ((await health()).running === 0) await new Promise((done) => setTimeout(done, 1));
      }
      controller.abort();
      let left = 200;
      while ((await health()).running > 0 && left-- > 0) await new Promise((done) => setTimeout(done, 5));
      expect((await health()).running).toBe(0);
    }
  });

  it("refuses what is no HTTP, and goes on", async () => {
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(Number(server.url.port), server.url.hostname, () =>
        socket.end("nonsense\r\n\r\n"),
      );
      let text = "";
      socket.on("data", (data) => {
        text += data;
      });
      socket.on("close", () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400/);
    expect((await health()).status).toBe("ok");
  });

  it("names the port that is taken, and one that cannot be", async () => {
    const app = { fetch: () => new Response() };
    const port = Number(server.url.port);
    await expect(serveNode(app, { port })).rejects.toThrow(
      `Cannot listen on 127.0.0.1:${port}: the port is in use`,
    );
    await expect(serveNode(app, { port: 70_000 })).rejects.toThrow(
      '"port" must be an integer from 0 to 65535',
    );
  });
});
