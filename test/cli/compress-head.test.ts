/** `edgewise compress-head`: the file it writes, and what it says. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseCommand } from "../../src/cli/arguments.ts";
import { compressHeadCommand } from "../../src/cli/compress-head.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { loadModel, readGguf } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-compress-"));
  model = join(folder, "model.gguf");
  await writeFile(model, syntheticModelBytes({ vocab: 300 }));
});
afterAll(() => rm(folder, { recursive: true }));

async function run(args: readonly string[], signal = new AbortController().signal) {
  const command = parseCommand(["compress-head", ...args]);
  if (command.name !== "compress-head") throw new Error(`parsed as ${command.name}`);
  const output = { out: "", error: "" };
  await compressHeadCommand(command.options, {
    out(text) {
      output.out += text;
    },
    error(text) {
      output.error += text;
    },
    signal,
  });
  return output;
}

const small = ["--method", "vq", "--codes", "60", "--states", "128"];

describe("edgewise compress-head", () => {
  it("writes a file that the loader uses, and reports in words", async () => {
    const path = join(folder, "words.gguf");
    const { out, error } = await run([model, "-o", path, ...small]);
    expect(out).toMatch(/^.*words\.gguf\n {2}head +vq, 60 codes; 300 tokens of 64\n/);
    for (const part of [
      "of the dense head's 38,400",
      "that were held out",
      "of the best ten",
      "nats a token",
    ]) {
      expect(out).toContain(part);
    }
    expect(error.split("\n")).toContain("groups of tokens");
    const gguf = await readGguf(ByteReader.from(await readFile(path)));
    expect(gguf.metadata.get("edgewise.head.draft")).toBe("vq");
    expect(gguf.tensors.map(({ name }) => name)).toContain("output_vq.codes");
    const loaded = await loadModel(path);
    const texts = loaded.generate([1], { maxTokens: 5, draft: "self", seed: 1 });
    expect((await texts.next()).done).toBe(false);
    loaded.close();
  });

  it("reports in JSON, and calibrates with a text", async () => {
    const text = join(folder, "text.txt");
    await writeFile(text, "A tree, a sun, and the sea. ".repeat(400));
    const path = join(folder, "json.gguf");
    const args = [...small, "--residual", "8", "--calibrate", text, "--replace", "--json"];
    const { out } = await run([model, "-o", path, ...args]);
    const report = JSON.parse(out);
    expect(report).toMatchObject({
      file: path,
      method: "vq",
      role: "model",
      codes: 60,
      residual: 8,
      vocab: 300,
      hidden: 64,
    });
    expect(report.quality.kl).toBeGreaterThan(0);
    expect(report.quality.top1).toBeLessThanOrEqual(1);
    const { tensors, metadata } = await readGguf(ByteReader.from(await readFile(path)));
    expect(metadata.get("edgewise.head.model")).toBe("vq");
    expect(tensors.some(({ name }) => name === "output.weight")).toBe(false);
  });

  it("leaves nothing behind when it is stopped or fails", async () => {
    const before = await readdir(folder);
    const path = join(folder, "none.gguf");
    await expect(run([model, "-o", path, ...small], AbortSignal.abort())).rejects.toThrow("abort");
    await expect(run([model, "-o", path, "--method", "vq", "--codes", "301"])).rejects.toThrow(
      '"codes" must be',
    );
    const nowhere = join(folder, "no/where.gguf");
    await expect(run([model, "-o", nowhere, ...small])).rejects.toThrow(
      `Cannot write "${nowhere}": there is no such folder`,
    );
    expect(await readdir(folder)).toEqual(before);
  });

  it("refuses to write over the model, and arguments that are wrong", async () => {
    await expect(run([model, "-o", join(folder, ".", "model.gguf"), ...small])).rejects.toThrow(
      '"--out" must be another file than the model',
    );
    const parse = (...args: string[]) => parseCommand(["compress-head", ...args]);
    expect(() => parse(model, "--method", "vq")).toThrow('"--out" must be given: the file to write');
    expect(() => parse(model, "-o", "x")).toThrow('"--method" must be given: one of vq');
    expect(() => parse(model, "-o", "x", "--method", "best")).toThrow('"--method" must be one of vq');
    expect(() => parse(model, "-o", "x", "--method", "vq", "--codes", "0")).toThrow(
      '"--codes" must be an integer',
    );
    expect(() => parse(model, "-o", "x", "--method", "vq", "--residual", "65")).toThrow(
      '"--residual" must be an integer from 0 to 64',
    );
    expect(() => parse("-o", "x", "--method", "vq")).toThrow();
  });
});
