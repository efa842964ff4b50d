import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inspect, inspectModel } from "../../src/cli/inspect.ts";
import { groupTensors, reportText } from "../../src/cli/inspect-text.ts";
import { loadModel } from "../../src/node.ts";
import { type GgufTensor, ggufBytes, ggufHeader, string, u32 } from "../support/gguf-writer.ts";
import { syntheticModel, syntheticModelBytes } from "../support/synthetic-model.ts";

const EMBEDDED = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-inspect-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** A file of ours with its tensors' types changed; only the header is looked at. */
function withTypes(types: Readonly<Record<string, string>>): Uint8Array {
  const { metadata, tensors } = syntheticModel({ hidden: 256, feedForward: 256 });
  return ggufBytes({ metadata, tensors: tensors.map((tensor) => retyped(tensor, types[tensor.name])) });
}

function retyped(tensor: GgufTensor, type = tensor.type): GgufTensor {
  const bytes = { Q2_K: 84, Q6_K: 210 }[type];
  if (bytes === undefined) return tensor;
  const blocks = tensor.shape.reduce((product, size) => product * size, 1) / 256;
  return { ...tensor, type, data: () => [new Uint8Array(blocks * bytes)] };
}

describe("inspectModel", () => {
  it("describes the embedded model", async () => {
    const report = await inspectModel({ model: EMBEDDED });
    expect(report).toMatchObject({
      bytes: 2_303_392,
      gguf_version: 3,
      name: "edgewise-stories",
      architecture: "llama",
      shape: { layers: 5, width: 160, feed_forward: 448, heads: 5, kv_heads: 1 },
      parameters: 2_039_520,
      context_length: 256,
      tokenizer: { model: "gpt2", pre: "gpt-2", vocab: 4096 },
      chat_template: false,
      types: { Q8_0: { tensors: 36, supported: true }, F32: { tensors: 11, supported: true } },
      runs: true,
      reason: null,
    });
    expect(report.tensors.length).toBe(47);
    expect(report.tensors[0]).toEqual({
      name: "token_embd.weight",
      type: "Q8_0",
      shape: [160, 4096],
      bytes: 696_320,
    });
  });

  it.each(["llama", "qwen2", "qwen3"] as const)("foretells the memory of a %s", async (architecture) => {
    const bytes = syntheticModelBytes({ architecture, type: "Q8_0" });
    const { memory } = await inspectModel({ model: await write("m.gguf", bytes) });
    const { positions, weights, working, context, total } = memory!;
    expect([positions, weights + working + context]).toEqual([256, total]);
    // That much is enough for a full context, and a little less than the weights is refused.
    const model = await loadModel(bytes, { maxMemoryBytes: total + (1 << 16) });
    expect(model.weightBytes).toBe(weights);
    const session = model.open();
    await session.forward(Array.from({ length: positions }, (_, i) => i));
    await expect(loadModel(bytes, { maxMemoryBytes: weights })).rejects.toThrow("bytes are needed");
  });

  it("counts the context for the positions asked for", async () => {
    const model = await write("m.gguf", syntheticModelBytes({ contextLength: 50_000 }));
    const standard = (await inspectModel({ model })).memory!;
    const large = (await inspectModel({ model, contextLength: 44_096 })).memory!;
    expect([standard.positions, large.positions]).toEqual([4096, 44_096]);
    const added = (large.context - standard.context) / (40 * standard.context_per_1000_positions);
    expect(added).toBeCloseTo(1, 4);
    // Two layers, two heads of 16, keys and values, two bytes each; and what scales take beside them.
    const values = 1000 * 2 * 2 * 16 * 2 * 2;
    expect(standard.context_per_1000_positions).toBeGreaterThanOrEqual(values);
    expect(standard.context_per_1000_positions).toBeLessThanOrEqual(1.25 * values);
    await expect(inspectModel({ model, contextLength: 50_001 })).rejects.toThrow(
      "from 1 to 50000, got 50001",
    );
  });

  it("says why a type cannot run, and lists it", async () => {
    const bytes = withTypes({ "blk.0.ffn_up.weight": "Q2_K", "blk.1.ffn_up.weight": "Q6_K" });
    const report = await inspectModel({ model: await write("k.gguf", bytes) });
    expect(report).toMatchObject({
      runs: false,
      reason: expect.stringContaining('tensor "blk.0.ffn_up.weight" has type Q2_K, supported are'),
      memory: null,
      types: {
        Q2_K: { tensors: 1, parameters: 65_536, bytes: 21_504, supported: false },
        Q6_K: { tensors: 1, parameters: 65_536, bytes: 53_760, supported: true },
      },
    });
    await expect(loadModel(bytes)).rejects.toThrow(report.reason!);
    const text = reportText(report);
    expect(text).toMatch(/^Q2_K +1 +65,536 +21,504 {2}cannot run here$/m);
    expect(text).toMatch(/^blk\.0\.ffn_up\.weight +1 {2}Q2_K /m);
    expect(text).toContain(`Cannot run here. ${report.reason}`);
  });

  it("describes another architecture, and says that it cannot run", async () => {
    const { metadata, tensors } = syntheticModel();
    const model = await write(
      "mamba.gguf",
      ggufBytes({
        metadata: {
          ...metadata,
          "general.architecture": string("mamba"),
          "mamba.block_count": u32(64),
          "mamba.context_length": u32(9999),
        },
        tensors,
      }),
    );
    expect(await inspectModel({ model })).toMatchObject({
      architecture: "mamba",
      shape: { layers: 64 },
      context_length: 9999,
      runs: false,
      reason: 'Cannot run architecture "mamba": supported are llama, qwen2, qwen3, gemma3',
    });
  });

  it("describes a file without anything", async () => {
    const report = await inspectModel({
      model: await write("none.gguf", ggufBytes({ metadata: {}, tensors: [] })),
    });
    expect(report).toMatchObject({
      name: null,
      architecture: null,
      shape: {},
      parameters: 0,
      tokenizer: null,
      tensors: [],
      types: {},
      runs: false,
      reason: expect.stringContaining("general.architecture"),
    });
    expect(reportText(report)).toContain("architecture   not given");
  });

  it("reads a URL's header and leaves the rest", async () => {
    const spec = syntheticModel();
    const header = ggufHeader(spec).bytes;
    let left = () => {};
    const clientLeft = new Promise<void>((done) => {
      left = done;
    });
    const server = createServer((_, response) => {
      // The tensors never come.
      response.on("close", left);
      response.write(header);
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    const report = await inspectModel({ model: `http://127.0.0.1:${port}/m.gguf` });
    expect(report).toMatchObject({ bytes: null, architecture: "llama", runs: true });
    await clientLeft;
    await new Promise((done) => server.close(done));
  });

  it("refuses what is no GGUF", async () => {
    await expect(inspectModel({ model: await write("x", new Uint8Array(100)) })).rejects.toThrow(
      "must begin with",
    );
    await expect(inspectModel({ model: join(folder, "none") })).rejects.toThrow("ENOENT");
  });
});

describe("inspect", () => {
  it("prints one JSON object, or a page of text", async () => {
    const printed: string[] = [];
    const terminal = {
      out: (text: string) => void printed.push(text),
      error: () => {},
      signal: AbortSignal.any([]),
    };
    await inspect({ model: EMBEDDED, json: true }, terminal);
    await inspect({ model: EMBEDDED, json: false }, terminal);
    expect(JSON.parse(printed[0])).toEqual(await inspectModel({ model: EMBEDDED }));
    expect(printed[1]).toMatch(
      /^architecture +llama, layers 5, width 160, feed forward 448, heads 5, kv heads 1$/m,
    );
    expect(printed[1]).toMatch(/^blk\.0-4\.attn_q\.weight +5 {2}Q8_0 +160 x 160 +136,000$/m);
    expect(printed[1]).toMatch(/^Can run\.\nMemory for 256 positions: \d+\.\d MB\n {2}weights +2\.2 MB$/m);
    expect(printed[1]).toMatch(/per 1,000 positions\n$/);
    expect(printed[1]).not.toMatch(/ $/m);
  });
});

describe("reportText", () => {
  it("sends no commands of the file to the terminal", async () => {
    const { metadata, tensors } = syntheticModel();
    const evil = "\u001b]0;title\u0007\u202e\r\n";
    const model = await write(
      "evil.gguf",
      ggufBytes({
        metadata: { ...metadata, "general.name": string(evil), "tokenizer.ggml.pre": string(evil) },
        tensors: [{ ...tensors[0], name: `x${evil}` }, ...tensors.slice(1)],
      }),
    );
    const text = reportText(await inspectModel({ model }));
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(text).toContain("\\u{1b}]0;title\\u{7}\\u{202e}");
  });
});

describe("groupTensors", () => {
  const tensor = (name: string, type = "F16", bytes = 8) => ({ name, type, shape: [2, 2], bytes });

  it("joins layers that are alike, whatever their order", () => {
    const names = ["blk.2.a", "blk.0.a", "out", "blk.1.a", "blk.7.a", "blk.1.b"];
    expect(groupTensors(names.map((name) => tensor(name)))).toEqual([
      { label: "blk.0-2,7.a", count: 4, type: "F16", shape: [2, 2], bytes: 32 },
      { label: "out", count: 1, type: "F16", shape: [2, 2], bytes: 8 },
      { label: "blk.1.b", count: 1, type: "F16", shape: [2, 2], bytes: 8 },
    ]);
  });

  it("keeps apart what differs in type or shape, or only looks like a layer", () => {
    const labels = groupTensors([
      tensor("blk.0.a"),
      tensor("blk.1.a", "Q8_0"),
      { ...tensor("blk.2.a"), shape: [4] },
      tensor("a"),
      tensor("blk.x.a"),
      tensor("blk.3."),
    ]).map(({ label }) => label);
    expect(labels).toEqual(["blk.0.a", "blk.1.a", "blk.2.a", "a", "blk.x.a", "blk.3."]);
  });
});
