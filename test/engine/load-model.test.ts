import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { loadModel as loadFromBytes } from "../../src/engine/load-model.ts";
import { WEIGHT_TYPES } from "../../src/format/blocks.ts";
import {
  type ByteInput,
  kernelModules,
  type LoadOptions,
  loadModel,
  UnsupportedError,
} from "../../src/node.ts";
import { f32, type GgufTensor, ggufBytes, string, tensorBytes, u32 } from "../support/gguf-writer.ts";
import { splitAt, streamOf } from "../support/streams.ts";
import { syntheticModel, syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

const PROMPT = [1, 2, 3, 4, 5];

async function tokensOf(input: ByteInput | string | URL, options?: LoadOptions): Promise<number[]> {
  const model = await loadModel(input, options);
  const tokens: number[] = [];
  for await (const { token } of model.generate(PROMPT, { maxTokens: 12, temperature: 0, ignoreEos: true })) {
    tokens.push(token);
  }
  model.close();
  return tokens;
}

describe("loadModel", () => {
  const bytes = syntheticModelBytes({ type: "Q8_0" });

  it("takes bytes, buffers, streams, blobs and responses, cut anywhere", async () => {
    const expected = await tokensOf(bytes);
    const pieces = splitAt(bytes, [1, 5, 100, 101, 4097, 60_000, bytes.length - 1]);
    const inputs: ByteInput[] = [
      bytes.slice().buffer,
      streamOf(pieces),
      streamOf(
        Array.from({ length: Math.ceil(bytes.length / 999) }, (_, i) =>
          bytes.subarray(i * 999, i * 999 + 999),
        ),
      ),
      new Blob([bytes.slice()]),
      new Response(bytes.slice()),
    ];
    for (const input of inputs) expect(await tokensOf(input)).toEqual(expected);
  });

  it("takes a path, a file URL and a web address", async () => {
    const url = new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url);
    const expected = await tokensOf(url);
    expect(await tokensOf(url.href)).toEqual(expected);
    expect(await tokensOf(decodeURIComponent(url.pathname))).toEqual(expected);
    const fetched: unknown[] = [];
    const { fetch } = globalThis;
    globalThis.fetch = async (input) => {
      fetched.push(String(input));
      return new Response(bytes.slice());
    };
    try {
      expect(await tokensOf("https://example.com/m.gguf")).toEqual(await tokensOf(bytes));
    } finally {
      globalThis.fetch = fetch;
    }
    expect(fetched).toEqual(["https://example.com/m.gguf"]);
  });

  it("reads from a web server as the bytes come", async () => {
    const seen: (readonly [number, number | undefined])[] = [];
    await using server = await serve(async (request, response) => {
      if (request.url !== "/chunked") response.setHeader("content-length", bytes.length);
      for (let at = 0; at < bytes.length; at += 30_011) {
        response.write(bytes.subarray(at, at + 30_011));
        await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    });
    const onProgress = (...progress: [number, number | undefined]) => void seen.push(progress);
    const expected = await tokensOf(bytes);
    expect(await tokensOf(new URL("known", server.url), { onProgress })).toEqual(expected);
    expect(seen.at(-1)).toEqual([bytes.length, bytes.length]);
    expect(await tokensOf(`${server.url}chunked`, { onProgress })).toEqual(expected);
    expect(seen.at(-1)).toEqual([bytes.length, undefined]);
  });

  it("tells what a web server answered", async () => {
    await using server = await serve((request, response) => {
      if (request.url === "/missing") response.statusCode = 404;
      response.end("<!doctype html>");
    });
    await expect(loadModel(`${server.url}missing`)).rejects.toThrow(
      `Cannot read "${server.url}missing": status must be 200 … 299, got 404 Not Found`,
    );
    await expect(loadModel(`${server.url}page`)).rejects.toThrow('file must begin with "GGUF"');
  });

  it("hangs up when the signal fires", async () => {
    const controller = new AbortController();
    let hungUp: Promise<unknown> | undefined;
    await using server = await serve((_, response) => {
      hungUp = once(response, "close");
      response.setHeader("content-length", bytes.length);
      response.write(bytes.subarray(0, bytes.length >> 1));
    });
    const loading = loadModel(server.url, {
      signal: controller.signal,
      // Half of the file is there: the header and some tensors.
      onProgress: (loaded) => void (loaded >= bytes.length >> 1 && controller.abort()),
    });
    await expect(loading).rejects.toMatchObject({ name: "AbortError" });
    await hungUp;
  });

  it("says which file is not there", async () => {
    const url = new URL("no-such-model.gguf", import.meta.url);
    await expect(loadModel(url)).rejects.toThrow(/no such file.*no-such-model\.gguf/);
    await expect(loadModel("no-such-model.gguf")).rejects.toThrow(/no such file.*no-such-model\.gguf/);
  });

  it("describes the model", async () => {
    const model = await loadModel(bytes);
    expect(model).toMatchObject({
      name: "synthetic-llama",
      architecture: "llama",
      vocab: 512,
      contextLength: 256,
      backend: "wasm",
      build: expect.stringMatching(/^(simd|relaxed)$/),
      fingerprint: expect.stringMatching(/^ew-[0-9a-f]+$/),
    });
    expect(model.weightBytes).toBeGreaterThan(100_000);
    expect(model.loadMs).toBeGreaterThan(0);
    expect((await loadModel(bytes, { name: "mine" })).name).toBe("mine");
    const file = new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url);
    expect((await loadModel(file)).name).toBe("edgewise-stories-q4_0");
  });

  it("has a fingerprint of weights and backend, not of the build", async () => {
    const fingerprint = async (input: Uint8Array, options: LoadOptions) =>
      (await loadModel(input, options)).fingerprint;
    const own = new Set<string>();
    for (const [, options] of ENGINES) own.add(await fingerprint(bytes, options));
    expect(own.size).toBe(2);
    expect(own).not.toContain(await fingerprint(syntheticModelBytes({ type: "Q8_0", seed: 2 }), {}));
    expect(own).not.toContain(await fingerprint(syntheticModelBytes({ type: "F16" }), {}));
  });

  it("reports progress to the last byte", async () => {
    const seen: [number, number | undefined][] = [];
    const pieces = splitAt(bytes, [1000, 50_000]);
    await loadModel(new Response(streamOf(pieces), { headers: { "content-length": String(bytes.length) } }), {
      onProgress: (loaded, total) => void seen.push([loaded, total]),
    });
    expect(seen).toEqual([
      [1000, bytes.length],
      [50_000, bytes.length],
      [bytes.length, bytes.length],
    ]);
  });

  it("stops when the signal fires, and lets the input go", async () => {
    let cancelled: unknown;
    const controller = new AbortController();
    const endless = new ReadableStream<Uint8Array>({
      start: (stream) => stream.enqueue(bytes.subarray(0, 5000)),
      cancel: (reason) => {
        cancelled = reason;
      },
    });
    const loading = loadModel(endless, { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await expect(loading).rejects.toMatchObject({ name: "AbortError" });
    expect(cancelled).toMatchObject({ name: "AbortError" });
    await expect(loadModel(bytes, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
  });

  it("lets the input go when it is of no use", async () => {
    let cancelled = false;
    const input = new ReadableStream<Uint8Array>({
      start: (stream) => stream.enqueue(new Uint8Array(100)),
      cancel: () => {
        cancelled = true;
      },
    });
    await expect(loadModel(input)).rejects.toThrow("must begin with");
    expect(cancelled).toBe(true);
  });

  it("holds as many positions as asked for, up to the model's own", async () => {
    expect((await loadModel(bytes, { contextLength: 7 })).contextLength).toBe(7);
    expect((await loadModel(syntheticModelBytes({ contextLength: 100_000 }))).contextLength).toBe(4096);
    await expect(loadModel(bytes, { contextLength: 257 })).rejects.toThrow("from 1 to 256, got 257");
    await expect(loadModel(bytes, { contextLength: 0 })).rejects.toThrow(RangeError);
  });

  it.each(ENGINES)(
    "keeps within the memory it is given on %s, and says what is missing",
    async (_, options) => {
      await expect(loadModel(bytes, { ...options, maxMemoryBytes: 200_000 })).rejects.toThrow(
        /^Cannot allocate: [\d,]+ bytes are needed, [\d,]+ of 200,000 are left$/,
      );
    },
  );

  it.each(["llama", "qwen2", "qwen3", "gemma3"] as const)(
    "runs %s alike on all backends",
    async (architecture) => {
      const model = syntheticModelBytes({ architecture, type: "F32" });
      const tokens = await Promise.all(ENGINES.map(([, options]) => tokensOf(model, options)));
      for (const other of tokens) expect(other).toEqual(tokens[0]);
    },
  );

  it("refuses options of another kind", async () => {
    const refused = (options: unknown, message: string) =>
      expect(loadModel(bytes, options as LoadOptions)).rejects.toThrow(message);
    for (const backend of ["wasm", "reference"]) {
      await refused({ backend, maxMemoryBytes: NaN }, '"maxMemoryBytes" must be an integer from 1 to');
      await refused({ backend, maxMemoryBytes: 0 }, '"maxMemoryBytes" must be an integer from 1 to');
      await refused({ backend, maxMemoryBytes: "1" }, '"maxMemoryBytes" must be an integer, got string');
    }
    await refused({ backend: "gpu" }, '"backend" must be "wasm", "reference", "webgpu" or "auto", got "gpu"');
    await refused({ build: "fast" }, '"build" must be "auto", "simd" or "relaxed", got "fast"');
    await expect(loadFromBytes(bytes)).rejects.toThrow(
      '"modules" must hold the compiled kernels, got undefined',
    );
    await expect(loadModel(7 as never)).rejects.toThrow('"input" must be a Uint8Array');
  });

  it("refuses the relaxed build where there is none, and uses the other by itself", async () => {
    const modules = { simd: (await kernelModules()).simd };
    await expect(loadModel(bytes, { modules, build: "relaxed" })).rejects.toThrow(UnsupportedError);
    expect((await loadModel(bytes, { modules })).build).toBe("simd");
  });

  it("refuses a module that is not ours", async () => {
    const empty = await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    await expect(loadModel(bytes, { modules: { simd: empty }, build: "simd" })).rejects.toThrow(
      'Cannot use the simd build: the module has no export "abi"',
    );
    // "auto" takes the one that works.
    const { simd } = await kernelModules();
    expect((await loadModel(bytes, { modules: { simd, relaxed: empty } })).build).toBe("simd");
  });

  it.each([
    ["another architecture", { "general.architecture": string("mamba") }, UnsupportedError, '"mamba"'],
    ["a mixture of experts", { "llama.expert_count": u32(8) }, UnsupportedError, '"llama.expert_count" is 8'],
    ["an unknown rope scaling", { "llama.rope.scaling.type": string("yarn") }, UnsupportedError, '"yarn"'],
    ["an unknown tokenizer", { "tokenizer.ggml.model": string("t5") }, UnsupportedError, '"t5"'],
    ["an unknown pre-tokenizer", { "tokenizer.ggml.pre": string("new") }, UnsupportedError, '"new"'],
    ["heads of 12", { "llama.attention.key_length": u32(12) }, UnsupportedError, "12"],
    ["keys unlike values", { "llama.attention.value_length": u32(8) }, UnsupportedError, "16 and 8"],
    ["heads that do not divide", { "llama.attention.head_count_kv": u32(3) }, RangeError, "got 4"],
    [
      "a width that the tensors do not have",
      { "llama.embedding_length": u32(128) },
      RangeError,
      "[128, 512]",
    ],
    ["layers that the file does not have", { "llama.block_count": u32(3) }, RangeError, '"blk.2.'],
    ["no layers", { "llama.block_count": u32(0) }, RangeError, "got 0"],
    ["a rope that is too fast", { "llama.rope.scale_linear": f32(1e-4) }, RangeError, "scale_linear"],
  ])("refuses %s, and names it", async (_, metadata, kind, naming) => {
    const spec = syntheticModel();
    const broken = ggufBytes({ ...spec, metadata: { ...spec.metadata, ...metadata } });
    const error = await loadModel(broken).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toMatch(/^[A-Z"].*[^.]$/);
    expect(error.message).toContain(naming);
  });

  it("refuses tensors of a type or shape that cannot run, and names them", async () => {
    const { metadata, tensors } = syntheticModel({ hidden: 256, heads: 16 });
    const load = (changed: Partial<GgufTensor>) => {
      const tensor = { ...tensors[4], ...changed };
      const data = [new Uint8Array(tensorBytes(tensor.type, tensor.shape))];
      const list = tensors.with(4, { ...tensor, data: () => data });
      return loadModel(ggufBytes({ metadata, tensors: list }));
    };
    expect(tensors[4]).toMatchObject({ name: "blk.0.attn_q.weight", shape: [256, 256] });
    for (const type of ["Q2_K", "Q3_K", "IQ4_XS", "MXFP4", "I8"]) {
      await expect(load({ type })).rejects.toThrow(
        `Cannot load model: tensor "blk.0.attn_q.weight" has type ${type}, supported are ${WEIGHT_TYPES.join(", ")}`,
      );
      await expect(load({ type })).rejects.toBeInstanceOf(UnsupportedError);
    }
    await expect(load({ shape: [256, 255] })).rejects.toThrow("must have shape [256, 256], got [256, 255]");
    await expect(load({ shape: [65_536] })).rejects.toThrow("must have shape [256, 256], got [65536]");
  });

  it("refuses a file with a tensor missing, twice, or unknown", async () => {
    const { metadata, tensors } = syntheticModel();
    const load = (list: typeof tensors) => loadModel(ggufBytes({ metadata, tensors: list }));
    await expect(load(tensors.slice(0, -1))).rejects.toThrow('file has no tensor "blk.1.ffn_down.weight"');
    await expect(load(tensors.slice(1))).rejects.toThrow('file has no tensor "token_embd.weight"');
    await expect(load([...tensors, tensors[3]])).rejects.toThrow("comes twice");
    const extra = { ...tensors[1], name: "blk.0.attn_sinks.weight" };
    await expect(load([...tensors, extra])).rejects.toThrow(
      'tensor "blk.0.attn_sinks.weight" is not part of a llama model',
    );
  });

  it("runs a model whose embedding is padded, whatever it draws", async () => {
    const { metadata } = syntheticModel({ vocab: 400 });
    const model = await loadModel(ggufBytes({ metadata, tensors: syntheticModel({ vocab: 512 }).tensors }));
    expect([model.tokenizer.vocab, model.vocab]).toEqual([400, 512]);
    const steps = model.generate([450, 1], { maxTokens: 40, temperature: 2, seed: 1, ignoreEos: true });
    const tokens: number[] = [];
    let text = "";
    for await (const piece of steps) {
      tokens.push(piece.token);
      text += piece.text;
    }
    // Rows without a token can be drawn; they have no text.
    expect(tokens.length).toBe(40);
    expect(tokens.some((token) => token >= 400)).toBe(true);
    expect(text).toBe(model.tokenizer.decode(tokens.filter((token) => token < 400)));
    const short = ggufBytes({
      ...syntheticModel({ vocab: 512 }),
      tensors: syntheticModel({ vocab: 400 }).tensors,
    });
    await expect(loadModel(short)).rejects.toThrow("the tokenizer has 512 tokens, the embedding 400 rows");
  });

  it("refuses a file that ends early, wherever", async () => {
    for (let cut = 0; cut < bytes.length; cut += Math.ceil(bytes.length / 40)) {
      for (const input of [bytes.subarray(0, cut), streamOf([bytes.subarray(0, cut)])]) {
        const error = await loadModel(input).catch((thrown) => thrown);
        expect(error, `cut at ${cut}`).toBeInstanceOf(RangeError);
        expect(error.message).toMatch(/^Cannot .*(input|file) has/);
      }
    }
  });
});

/** A web server of this machine, until the end of the scope. */
async function serve(listener: RequestListener): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
