/** Weights that the worker does not bring along: from R2 by way of the cache, and from static assets. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { pieceUrl } from "../../src/service/weights/r2.ts";
import { dryRun, ROOT, runWorker, type Upload } from "./miniflare.ts";

const Q4 = join(ROOT, "models/edgewise-stories-q4_0.gguf");
const F16 = join(ROOT, "models/edgewise-stories-f16.gguf");
const PROMPT = "Once upon a time";

/** Miniflare's types leave the methods of R2 and of caches to a package of Workers types. */
interface Bucket {
  put(key: string, value: Uint8Array): Promise<{ etag: string; size: number }>;
}
interface Caches {
  open(
    name: string,
  ): Promise<{ match(url: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | undefined> }>;
}

let uploads: Upload[];
let folder: string;

beforeAll(async () => {
  [uploads, folder] = [await dryRun(), await mkdtemp(join(tmpdir(), "edgewise-weights-"))];
});
afterAll(() => rm(folder, { recursive: true }));

async function complete(worker: Miniflare) {
  const body = JSON.stringify({ prompt: PROMPT, max_tokens: 20, temperature: 0, logprobs: 0 });
  const url = new URL("/v1/completions", await worker.ready);
  const response = await fetch(url, { method: "POST", body });
  const answer = (await response.json()) as {
    choices?: { text: string; logprobs: { token_logprobs: number[] } }[];
    error?: { message: string };
  };
  return { status: response.status, choice: answer.choices?.[0], message: answer.error?.message };
}

/** The same, decoded in this process. */
async function expected(path: string) {
  const model = await loadModel(path);
  const logProbabilities: number[] = [];
  let text = "";
  for await (const piece of model.generate(PROMPT, { maxTokens: 20, temperature: 0, logProbabilities: 0 })) {
    text += piece.text;
    logProbabilities.push(piece.logProbability!);
  }
  model.close();
  return { text, logProbabilities };
}

async function expectModel(worker: Miniflare, path: string): Promise<void> {
  const { choice, message } = await complete(worker);
  expect(message).toBeUndefined();
  const { text, logProbabilities } = await expected(path);
  expect(choice!.text).toBe(text);
  // What tells the two files apart, which may say the same.
  expect(choice!.logprobs.token_logprobs).toEqual(logProbabilities);
}

describe("weights in R2", () => {
  const open = () =>
    runWorker(uploads, {
      r2Buckets: ["MODELS"],
      r2Persist: join(folder, "r2"),
      cachePersist: join(folder, "cache"),
      bindings: { MODEL: "models/a b.gguf", LOG: "none" },
    } as object);
  const put = async (worker: Miniflare, path: string) => {
    const bucket = (await worker.getR2Bucket("MODELS")) as unknown as Bucket;
    return await bucket.put("models/a b.gguf", new Uint8Array(await readFile(path)));
  };

  it("are loaded by ranges, kept in the cache, and never taken from it for another version", async () => {
    let worker = open();
    const { etag, size } = await put(worker, Q4);
    await expectModel(worker, Q4);
    const caches = (await worker.getCaches()) as unknown as Caches;
    const piece = await (await caches.open("weights")).match(pieceUrl("models/a b.gguf", etag, 0, size));
    expect(Buffer.from(await piece!.arrayBuffer()).equals(await readFile(Q4))).toBe(true);
    await worker.dispose();

    // Another isolate finds it there.
    worker = open();
    await expectModel(worker, Q4);
    await worker.dispose();

    worker = open();
    expect((await put(worker, F16)).etag).not.toBe(etag);
    await expectModel(worker, F16);
    await worker.dispose();
  });
});

describe("weights among static assets", () => {
  const open = async (key: string) => {
    const directory = join(folder, "assets");
    await mkdir(join(directory, "models"), { recursive: true });
    await writeFile(join(directory, "models/stories.gguf"), await readFile(Q4));
    const assets = {
      directory,
      binding: "ASSETS",
      routerConfig: { invoke_user_worker_ahead_of_assets: true, has_user_worker: true },
    };
    return runWorker(uploads, { assets, bindings: { MODEL: key, LOG: "none" } } as object);
  };

  it("are loaded, and not given to everybody", async () => {
    const worker = await open("models/stories.gguf");
    await expectModel(worker, Q4);
    expect((await fetch(new URL("/models/stories.gguf", await worker.ready))).status).toBe(404);
    await worker.dispose();
  });

  it("are missed with an error that names the key", async () => {
    const worker = await open("models/none.gguf");
    const { status, message } = await complete(worker);
    expect([status, message]).toEqual([500, 'Cannot load model: "ASSETS" has no object "models/none.gguf"']);
    await worker.dispose();
  });
});
