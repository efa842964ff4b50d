/** `edgewise rows`: files that are made, converted and looked into, against the library and the model. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { rows } from "../../src/cli/rows.ts";
import type { RowsReport } from "../../src/cli/rows-report.ts";
import { ENCODING_CHOICES } from "../../src/cli/rows-usage.ts";
import {
  decodeRow,
  decodeRows,
  encodeRow,
  encodeRows,
  ROW_ENCODINGS,
  trainCodebook,
} from "../../src/format/wire/index.ts";
import { loadModel } from "../../src/node.ts";
import { lawOf, maskedRow, modelRow, totalVariation } from "../format/wire/support.ts";
import { createRandom } from "../support/random.ts";
import { edgewise, isBuilt, ROOT } from "./edgewise.ts";

const MODEL = join(ROOT, "models/edgewise-stories-q8_0.gguf");
const TEXT = "Once upon a time there was a little dog who liked to run in the park with a big red ball.";

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-rows-"));
});
afterAll(() => rm(folder, { recursive: true }));

const parse = (...args: string[]) =>
  (parseCommand(["rows", ...args]) as Extract<Command, { name: "rows" }>).options;

async function run(...args: string[]): Promise<{ out: string; error: string }> {
  const output = { out: "", error: "" };
  await rows(parse(...args), {
    out: (text) => {
      output.out += text;
    },
    error: (text) => {
      output.error += text;
    },
    signal: new AbortController().signal,
  });
  return output;
}

const messageOf = async (name: string) => decodeRows(await readFile(path(name)));

describe("dump", () => {
  it("writes the row after each token of a text, and the tokens", async () => {
    await run("dump", MODEL, "--text", TEXT, "-o", path("rows.f32"), "-e", "f32");
    const message = await messageOf("rows.f32");
    const model = await loadModel(MODEL);
    const tokens = model.tokenizer.encode(TEXT);
    expect(JSON.parse(message.note!)).toEqual({ model: model.name, fingerprint: model.fingerprint, tokens });
    const expected = await model.open().forward(tokens, tokens.length);
    expect([message.count, message.vocab]).toEqual([tokens.length, model.vocab]);
    for (let i = 0; i < message.count; i++) expect(message.row(i)).toEqual(expected.row(i).slice());
    model.close();
  });

  it("reads the text from a file, and writes f16 unless told otherwise", async () => {
    await writeFile(path("text.txt"), TEXT);
    const { error } = await run("dump", "-f", path("text.txt"), "-o", path("rows.f16"));
    const [message, exact] = [await messageOf("rows.f16"), await messageOf("rows.f32")];
    expect(error).toMatch(/^\d+ rows, \d+ bytes\n$/);
    expect(message.encoded[0].encoding).toBe("f16");
    expect(message.row(3)).toEqual(decodeRow(encodeRow(exact.row(3), "f16")));
  });

  it("says when the text is too long", async () => {
    const long = run("dump", "--text", TEXT, "-o", path("none"), "--context", "5");
    await expect(long).rejects.toThrow("Cannot dump rows: the text must have at most 5 tokens, got");
  });
});

describe("convert", () => {
  it.each([
    ["int8", [], "int8"],
    ["int4", ["--clip", "6"], { encoding: "int4", clip: 6 }],
    ["top-k", ["--count", "9", "--precision", "f32"], { encoding: "top-k", count: 9, precision: "f32" }],
    ["lattice", ["--resolution", "50", "--count", "7"], { encoding: "lattice", resolution: 50, count: 7 }],
    ["ids", [], "ids"],
  ] as const)("writes what the library does, and how far that is: %s", async (name, options, spec) => {
    const { error } = await run("convert", path("rows.f32"), path("out"), "--encoding", name, ...options);
    const [message, exact] = [await messageOf("out"), await messageOf("rows.f32")];
    expect(message.note).toBe(exact.note);
    const distances = exact.encoded.map((_, i) => {
      const row = exact.row(i);
      expect(message.encoded[i].data).toEqual(encodeRow(row, spec).data);
      return totalVariation(row, message.row(i));
    });
    const [, mean, most] = /total variation (\S+) on average, (\S+) at most\n$/.exec(error)!;
    expect(Number(mean)).toBeCloseTo(distances.reduce((a, b) => a + b) / distances.length, 3);
    expect(Number(most)).toBeCloseTo(Math.max(...distances), 2);
  });

  it("learns a codebook, and uses it", async () => {
    const { error } = await run(
      "codebook",
      path("rows.f32"),
      path("book"),
      "--codes",
      "20",
      "--dim",
      "4",
      "--seed",
      "3",
    );
    const [codebook] = (await messageOf("book")).codebooks;
    expect([codebook.count, codebook.dim, codebook.stages]).toEqual([20, 4, 1]);
    expect(error).toContain(codebook.id);
    await run("convert", path("rows.f32"), path("out.vq"), "-e", "vq", "--codebook", path("book"));
    const message = await messageOf("out.vq");
    const exact = await messageOf("rows.f32");
    expect(message.row(1)).toEqual(decodeRow(encodeRow(exact.row(1), { encoding: "vq", codebook })));
    await expect(
      run("convert", path("rows.f32"), path("x"), "-e", "vq", "--codebook", path("rows.f32")),
    ).rejects.toThrow('"--codebook" must be a file with one codebook');
  });
});

describe("inspect", () => {
  it("says what is in a file, in numbers that are made here", async () => {
    const random = createRandom(3);
    const given = [modelRow(random, 50), modelRow(random, 50), maskedRow(random, 50)];
    const bytes = encodeRows(given, ["f32", "f32", "int8"], { note: "\u001b[2J from afar" });
    await writeFile(path("mixed"), bytes);
    const report: RowsReport = JSON.parse((await run("inspect", path("mixed"), "--json")).out);
    const laws = decodeRows(bytes).encoded.map((row) => lawOf(decodeRow(row)));
    const entropies = laws.map((law) => -law.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0));
    const tops = laws.map((law) => Math.max(...law));
    expect([report.rows, report.vocab, report.bytes]).toEqual([3, 50, bytes.length]);
    expect(report.segments.map(({ encoding, rows, bytes }) => [encoding, rows, bytes])).toEqual([
      ["f32", 2, 400],
      ["int8", 1, 58],
    ]);
    expect(report.segments[0].entropy).toBeCloseTo((entropies[0] + entropies[1]) / 2, 9);
    expect(report.segments[0].top_probability).toBeCloseTo((tops[0] + tops[1]) / 2, 9);
    expect(report.segments[1].entropy).toBeCloseTo(entropies[2], 9);
    const { out } = await run("inspect", path("mixed"));
    expect(out).toContain("3 rows of 50 tokens");
    expect(out).toContain("note: \\u{1b}[2J from afar");
    expect(out).not.toContain("\u001b");
  });

  it("finds what is wrong in a row", async () => {
    const bytes = encodeRows([
      [1, 2],
      [3, 4],
    ]);
    bytes.fill(255, -4);
    await writeFile(path("wrong"), bytes);
    await expect(run("inspect", path("wrong"))).rejects.toThrow(
      '"rows[1].data" must have logits below ∞, got NaN at token 1',
    );
    await writeFile(path("cut"), bytes.subarray(0, 50));
    await expect(run("inspect", path("cut"))).rejects.toThrow("Cannot read rows: its header needs");
  });
});

describe("arguments", () => {
  it("know every encoding", () => expect(ENCODING_CHOICES).toEqual(ROW_ENCODINGS));

  it.each([
    [[], "Arguments of rows must begin with one of inspect, convert, dump, codebook, got nothing"],
    [["look"], 'must begin with one of inspect, convert, dump, codebook, got "look"'],
    [["inspect"], 'must be "edgewise rows inspect FILE", got nothing'],
    [["convert", "a"], 'must be "edgewise rows convert IN OUT --encoding int8", got "a"'],
    [["dump", "--text", "x"], '"--output" must be given: where the rows go'],
    [["dump", "-o", "x"], '"--text" or "--file" must be given, and not both'],
    [["dump", "m", "-m", "n", "--text", "x", "-o", "y"], "must have one model at most"],
    [["convert", "a", "b", "-e", "f8"], '"--encoding" must be one of f32, f16'],
    [
      ["convert", "a", "b", "-e", "int8", "--count", "4"],
      '"--count" is of top-k, lattice, ids, got "--encoding int8"',
    ],
    [["convert", "a", "b", "-e", "vq"], '"--encoding vq" needs "--codebook" beside it'],
    [["inspect", "a", "--dim", "4"], '"--dim" is not an option of "rows inspect"'],
  ])("are refused: %j", (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });

  it("leave what numbers may be to the format", async () => {
    await expect(run("convert", path("rows.f32"), path("x"), "-e", "int8", "--clip", "-1")).rejects.toThrow(
      '"clip" must be a number from 0 to 1000, got -1',
    );
  });
});

it.skipIf(!isBuilt)("runs as a command", async () => {
  const { code, out } = await edgewise(["rows", "inspect", path("mixed")]);
  if (code === 2) return console.log("skipped: dist/ was built before the command was");
  expect([code, out.includes("3 rows of 50 tokens")]).toEqual([0, true]);
});

it("says what cannot be written", async () => {
  const nowhere = path("no/where");
  await expect(run("dump", MODEL, "--text", "Once", "-o", nowhere)).rejects.toThrow(
    `Cannot write "${nowhere}": there is no such folder`,
  );
  await run("dump", MODEL, "--text", "Once", "-o", path("one"));
  await expect(run("convert", path("one"), folder, "-e", "int8")).rejects.toThrow(
    `Cannot write "${folder}": it is a folder`,
  );
});

it("keeps codebooks that no row needs", async () => {
  const random = createRandom(4);
  const [row, other] = [modelRow(random, 60), modelRow(random, 60)];
  const [kept, needed] = [row, other].map((one) => trainCodebook([one], { count: 4, dim: 4, rounds: 1 }));
  await writeFile(
    path("books"),
    encodeRows([row], { encoding: "vq", codebook: needed }, { codebooks: [kept] }),
  );
  await run("convert", path("books"), path("less"), "-e", "int8");
  const message = await messageOf("less");
  expect(message.codebooks).toEqual([kept]);
  expect(message.row(0)).toEqual(
    decodeRow(encodeRow((await messageOf("books")).row(0), { encoding: "int8" })),
  );
});
