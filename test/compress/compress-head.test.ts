import { describe, expect, it } from "vitest";
import { type CompressHeadOptions, compressHead } from "../../src/compress/compress-head.ts";
import { editGguf, openGguf } from "../../src/format/gguf-write.ts";
import { kernelModules, loadModel } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";

const VOCAB = 300;
const FILE = syntheticModelBytes({ vocab: VOCAB, type: "F16" });
const TIED = syntheticModelBytes({ vocab: VOCAB, tied: true });
const TEXT = Array.from({ length: 4000 }, (_, i) => ["tree", "a", "the", "sun", "of"][(i * i) % 5]).join(" ");

const modules = await kernelModules();
const compress = (options: Partial<CompressHeadOptions>, file = FILE) =>
  compressHead(file, modules, { method: "vq", states: 256, ...options });

async function written(file: Uint8Array, edit: Parameters<typeof editGguf>[1]): Promise<Uint8Array> {
  const source = await openGguf(async (from, to) => file.subarray(from, to), file.length);
  const pieces: BlobPart[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(piece.slice() as Uint8Array<ArrayBuffer>);
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

describe("a compressed head", () => {
  it("with a code for every token is the dense head, but for rounding", async () => {
    const { report } = await compress({ codes: VOCAB, text: TEXT });
    expect(report.quality.kl).toBeGreaterThanOrEqual(0);
    expect(report.quality.kl).toBeLessThan(0.02);
    expect(report.quality.top1).toBeGreaterThan(0.9);
    expect(Math.abs(report.quality.nllChange)).toBeLessThan(0.1);
    expect(report).toMatchObject({ method: "vq", role: "draft", vocab: VOCAB, hidden: 64, codes: VOCAB });
  });

  it("is the better the more codes it has, and the smaller the fewer", async () => {
    const reports = [];
    for (const codes of [4, 40, VOCAB]) reports.push((await compress({ codes })).report);
    const [few, some, all] = reports;
    expect(few.quality.kl).toBeGreaterThan(some.quality.kl);
    expect(some.quality.kl).toBeGreaterThan(all.quality.kl);
    expect(few.bytes).toBeLessThan(some.bytes);
    expect(few.quality.states).toBeGreaterThanOrEqual(64);
  });

  it("is nearer with residual codes, the more of them the nearer, also within a file", async () => {
    const made = [];
    for (const residual of [0, 1, 8, 32]) made.push(await compress({ codes: 12, residual, text: TEXT }));
    const [none, few, some, many] = made.map(({ report }) => report.quality.kl);
    expect(few).toBeLessThan(none);
    expect(some).toBeLessThan(0.7 * none);
    expect(many).toBeLessThan(0.5 * some);
    const { report, ...edit } = made[3];
    expect(report).toMatchObject({ residual: 32, codes: 12 });
    expect(report.bytes).toBeGreaterThan(made[0].report.bytes);
    const [plain, model] = [await loadModel(FILE), await loadModel(await written(FILE, edit))];
    const tokensOf = async (one: typeof model, draft: "none" | "self") => {
      const tokens: number[] = [];
      const options = { maxTokens: 24, seed: 2, ignoreEos: true, speculation: { adaptive: false, gamma: 3 } };
      for await (const { token } of one.generate([1, 2], { ...options, draft })) tokens.push(token);
      return tokens;
    };
    expect(await tokensOf(model, "self")).toEqual(await tokensOf(plain, "none"));
  });

  it("is the same each time, and depends on the seed", async () => {
    const tensorsOf = async (seed: number) => (await compress({ codes: 30, seed })).tensors;
    const once = await tensorsOf(1);
    expect(await tensorsOf(1)).toEqual(once);
    expect(await tensorsOf(2)).not.toEqual(once);
  });

  it("goes into the file, which decodes as before, and out again", async () => {
    const { report, ...edit } = await compress({ codes: 50 });
    const file = await written(FILE, edit);
    expect(report.fileBytes).toBe(50 * 68 + 2 * VOCAB + 2 * VOCAB);
    const [plain, model] = [await loadModel(FILE), await loadModel(file)];
    const options = { maxTokens: 30, seed: 2, ignoreEos: true } as const;
    const textOf = async (one: typeof model, draft: "none" | "self") => {
      const tokens: number[] = [];
      for await (const { token } of one.generate([1, 2], { ...options, draft })) tokens.push(token);
      return tokens;
    };
    expect(await textOf(model, "self")).toEqual(await textOf(plain, "none"));
    expect(
      await written(file, {
        metadata: {},
        tensors: [],
        drops: (name) => edit.drops(name) || name in edit.metadata,
      }),
    ).toEqual(FILE);
    // Compressed again, the new head takes the place of the old.
    const { report: _, ...again } = await compress({ codes: 20 }, file);
    const { weightBytes } = await loadModel(await written(file, again));
    expect(weightBytes).toBeLessThan(model.weightBytes);
  });

  it.each([
    ["of its own", FILE],
    ["that is the embedding too", TIED],
  ])("takes the place of a head %s", async (_, before) => {
    const { report, ...edit } = await compress({ codes: VOCAB, replace: true }, before);
    expect(report.role).toBe("model");
    const file = await written(before, edit);
    if (before === FILE) expect(file.length).toBeLessThan(before.length);
    const [plain, model] = [await loadModel(before), await loadModel(file)];
    expect(model.fingerprint).not.toBe(plain.fingerprint);
    const sessions = [plain.open(), model.open()];
    const [row, other] = await Promise.all(
      sessions.map(async (session) => (await session.forward([3, 1, 4, 1, 5])).row(0).slice()),
    );
    const centred = (values: Float32Array) => {
      const mean = values.reduce((a, b) => a + b) / VOCAB;
      return values.map((value) => value - mean);
    };
    const errors = centred(row).map((logit, i) => Math.abs(logit - centred(other)[i]));
    expect([...errors].sort((a, b) => a - b)[VOCAB / 2]).toBeLessThan(0.5);
    await expect(compress({}, file)).rejects.toThrow('the model has no dense one, its own is "vq"');
  });
});

describe("compression refuses", () => {
  it("options that do not fit", async () => {
    for (const method of ["pq", "certified"] as const) {
      await expect(compress({ codes: 5, method })).rejects.toThrow(
        `"codes" must not be given for "${method}", got 5: they are of vq`,
      );
    }
    await expect(compress({ codes: VOCAB + 1 })).rejects.toThrow(
      '"codes" must be an integer from 1 to 300, got 301',
    );
    await expect(compress({ residual: 65 })).rejects.toThrow('"residual" must be an integer from 0 to 64');
    await expect(compress({ residual: 33 })).rejects.toThrow('"residual" must be an integer from 1 to 32');
    await expect(compress({ method: "pq", residual: 8 })).rejects.toThrow('"residual" must be 0 for "pq"');
    await expect(compress({ states: 1 })).rejects.toThrow('"states" must be an integer from 64');
    await expect(compress({ method: "x" as "vq" })).rejects.toThrow('"method" must be one of vq');
    await expect(compress({ method: "certified", replace: true })).rejects.toThrow(
      '"replace" must not be set',
    );
    await expect(compress({ text: "too short" })).rejects.toThrow(
      "Cannot calibrate: the text must have at least",
    );
  });

  it("to go on when it is told to stop", async () => {
    let calls = 0;
    const stop = () => {
      if (++calls === 5) throw new DOMException("stopped", "AbortError");
    };
    await expect(compressHead(FILE, modules, { method: "vq", states: 64 }, stop)).rejects.toThrow("stopped");
    expect(calls).toBe(5);
  });
});
