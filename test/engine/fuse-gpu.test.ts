/** Plans over models of one WebGPU device: fused there, to the same rows but for rounding, and what happens when it goes away. */
import { afterAll, describe, expect, it } from "vitest";
import { referenceKernels } from "../../src/decoding/fuse.ts";
import {
  fuse,
  fuseModels,
  fusePreset,
  type GenerateOptions,
  type Model,
  type Session,
} from "../../src/node.ts";
import { bytesReadBy, devices, load, skip, TEXT, TIMEOUT_MS, VOCAB } from "./fuse-gpu.ts";
import { membersOf, planZoo } from "./fuse-plans.ts";

if (skip !== undefined) console.info(`fusion on WebGPU: skipped, ${skip}`);

/** Rows are of f32 that went through some operations. */
const CLOSE = 2e-4;

async function rowsOf(session: Session, tokens: readonly number[], count = tokens.length) {
  const rows = await session.forward(tokens, count);
  return Array.from({ length: count }, (_, i) => rows.row(i).slice());
}

function expectNear(found: Float32Array, expected: Float32Array, what: string): void {
  for (let id = 0; id < expected.length; id++) {
    const size = Math.max(1, Math.abs(expected[id]));
    if (found[id] === expected[id] || Math.abs(found[id] - expected[id]) <= CLOSE * size) continue;
    throw new Error(`${what}, token ${id}: ${found[id]} for ${expected[id]}`);
  }
}

describe.skipIf(skip !== undefined)("plans on one device", { timeout: TIMEOUT_MS }, async () => {
  if (skip !== undefined) return;
  const models = [await load(1), await load(2), await load(3)];
  afterAll(() => {
    for (const model of models) model.close();
  });

  it("shares the device", () => {
    expect(devices.length).toBe(1);
  });

  it.each(planZoo(VOCAB))("gives the rows of the definition: $what", async (named) => {
    const members = membersOf(named, models);
    const open = (kernels?: typeof referenceKernels) =>
      fuse(named.plan, members, { ...named.options, kernels }).open({
        seed: 5,
        promptLength: 3,
        capacity: 40,
      });
    const [session, definition] = [open(), open(referenceKernels)];
    const [found, expected] = [await rowsOf(session, TEXT), await rowsOf(definition, TEXT)];
    for (const [i, row] of found.entries()) expectNear(row, expected[i], `row ${i}`);
    // Bit for bit however calls are cut, in forks and in trees.
    const cut = open();
    await cut.forward(TEXT.slice(0, 2), 0);
    expect(await rowsOf(cut, TEXT.slice(2, 4))).toEqual(found.slice(2, 4));
    const fork = cut.fork();
    const tree = await fork.forward([7, ...TEXT.slice(4, 6)], 2, [-1, -1, 1]);
    expect([tree.row(0), tree.row(1)]).toEqual(found.slice(4, 6));
    fork.truncate(4, [1, 2]);
    expect(await rowsOf(fork, TEXT.slice(6), 1)).toEqual(found.slice(7));
    for (const one of [session, definition, cut, fork]) one.close();
  });

  it("reads the fused row, and no other", async () => {
    const members = { base: models[0], expert: models[1], anti: models[2] };
    for (const name of ["dlf", "proxy-tuning", "dexperts"] as const) {
      const session = fuse(fusePreset(name), members).open({ capacity: 40 });
      await session.forward(TEXT.slice(0, 4));
      const readBytes = await bytesReadBy(() => session.forward(TEXT.slice(4, 5)));
      // Answers of a sweep over 21 α take more than a row of a vocabulary this small.
      expect(readBytes, name).toBeLessThan(4 * VOCAB + 1200);
      expect(readBytes, name).toBeGreaterThanOrEqual(4 * VOCAB);
      session.close();
    }
  });

  it("tells how rows came about", async () => {
    const members = { base: models[0], expert: models[1], anti: models[2] };
    const audits = await Promise.all(
      [undefined, referenceKernels].map(async (kernels) => {
        const session = fuse(fusePreset("dlf"), members, { kernels }).open({ audit: true, capacity: 40 });
        await session.forward(TEXT, TEXT.length);
        return session.audits();
      }),
    );
    const [found, expected] = audits;
    expect(found.length).toBe(expected.length);
    for (const [i, { entropy, entropies, matches }] of found.entries()) {
      expect(entropy).toBeCloseTo(expected[i].entropy, 4);
      expect(entropies.expert).toBeCloseTo(expected[i].entropies.expert, 4);
      expect(matches[0].alpha).toBe(expected[i].matches[0].alpha);
    }
  });

  it("says which token of which row is none", async () => {
    const constant = new Float32Array(VOCAB).fill(-Infinity).fill(1, 5, 6);
    const plan = { sources: ["a", "b"], lin: [{ source: "a" }, { source: "b" }] };
    const fused = fuse(plan, { a: models[0], b: constant });
    const rows = await fused.open({ capacity: 40 }).forward(TEXT);
    expect(rows.argmax(0)).toBe(5);
    const none = { ...plan, support: [{ allow: [6] }] };
    const empty = await fuse(none, { a: models[0], b: constant }).open({ capacity: 40 }).forward(TEXT);
    expect(() => empty.row(0)).toThrow("Cannot fuse: the plan leaves no token above −∞");
  });

  it("decodes what the definition decodes, with drafts too, and several texts at once", async () => {
    const members = { base: models[0], expert: models[1], anti: models[2] };
    const fused = fuseModels(fusePreset("dlf"), members);
    const plain = fuseModels(fusePreset("dlf"), members, { kernels: referenceKernels });
    const options: GenerateOptions = { maxTokens: 6, temperature: 0, ignoreEos: true };
    const expected = await tokensOf(plain, options);
    expect(await tokensOf(fused, options)).toEqual(expected);
    const speculation = { gamma: 3, adaptive: false };
    expect(await tokensOf(fused, { ...options, draft: "recycling-tree", speculation })).toEqual(expected);
    const texts: number[][] = [[], []];
    for await (const { index, token } of fused.generateMany(TEXT, { ...options, n: 2 })) {
      texts[index].push(token);
    }
    expect(texts).toEqual([expected, expected]);
  });

  it("goes on without the device, and loses no token", async () => {
    const own = [await load(4), await load(5)];
    const fused = fuseModels(fusePreset("proxy-tuning"), { base: own[0], expert: own[1], anti: own[0] });
    const options: GenerateOptions = { maxTokens: 6, temperature: 0, ignoreEos: true };
    const expected = await tokensOf(fused, options);
    const found = await tokensOf(fused, options, (count) => {
      if (count === 3) devices.at(-1)!.destroy();
    });
    expect(found).toEqual(expected);
    expect(own.map(({ backend }) => backend)).toEqual(["wasm", "wasm"]);
    expect(own[1].fallback).toMatch(/^Cannot go on with WebGPU: device lost/);
  });
});

async function tokensOf(
  model: Model,
  options: GenerateOptions,
  afterToken: (count: number) => void = () => {},
): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of model.generate(TEXT, options)) {
    tokens.push(token);
    afterToken(tokens.length);
  }
  return tokens;
}
