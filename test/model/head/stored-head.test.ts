/** Files with heads beside the dense one, or instead of it. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createPipeline, type Step } from "../../../src/decoding/pipeline.ts";
import { aheadOf } from "../../../src/engine/ahead.ts";
import { encodeWeights } from "../../../src/format/blocks.ts";
import { numberToF16 } from "../../../src/format/half.ts";
import { VqHead } from "../../../src/model/head/vq-head.ts";
import { ByteReader, loadModel, type Model, readGguf } from "../../../src/node.ts";
import { type GgufTensor, ggufBytes, string } from "../../support/gguf-writer.ts";
import { attempt, watchMemory } from "../../support/load-attempt.ts";
import { createRandom } from "../../support/random.ts";
import { syntheticModel } from "../../support/synthetic-model.ts";

const VOCAB = 300;
const HIDDEN = 64;
const CODES = 20;

const random = createRandom(3);
const CODE_OF = Array.from({ length: VOCAB }, () => random.below(CODES));
const BIAS = Array.from({ length: VOCAB }, () => Math.round(64 * random.normal()) / 32);
const WORDS = Float32Array.from({ length: CODES * HIDDEN }, () => 0.5 * random.normal());

const tensor = (name: string, type: string, shape: number[], bytes: Uint8Array): GgufTensor => ({
  name,
  type,
  shape,
  data: () => [bytes],
});

const HEAD: Readonly<Record<string, GgufTensor>> = {
  words: tensor("output_vq.codebook.weight", "F16", [HIDDEN, CODES], encodeWeights("F16", WORDS)),
  codes: tensor("output_vq.codes", "I16", [VOCAB], new Uint8Array(Uint16Array.from(CODE_OF).buffer)),
  bias: tensor(
    "output_vq.bias",
    "F16",
    [VOCAB],
    new Uint8Array(Uint16Array.from(BIAS, (value) => numberToF16(value)).buffer),
  ),
};

/** Residual codes of 4 bytes, 8 sub-vectors of 2 columns. */
const RESIDUAL: Readonly<Record<string, GgufTensor>> = {
  basis: tensor(
    "output_vq.residual.basis.weight",
    "F16",
    [HIDDEN, 16],
    encodeWeights(
      "F16",
      Float32Array.from({ length: 16 * HIDDEN }, () => 0.2 * random.normal()),
    ),
  ),
  residualWords: tensor(
    "output_vq.residual.codebook",
    "F32",
    [16, 2, 8],
    encodeWeights(
      "F32",
      Float32Array.from({ length: 256 }, () => random.normal()),
    ),
  ),
  residuals: tensor(
    "output_vq.residual.codes",
    "I8",
    [4, VOCAB],
    Uint8Array.from({ length: 4 * VOCAB }, () => random.below(256)),
  ),
  residualBias: tensor("output_vq.residual.bias", "F16", [VOCAB], new Uint8Array(2 * VOCAB)),
};

interface FileOptions {
  readonly parts?: Readonly<Record<string, GgufTensor | undefined>>;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly withoutDense?: boolean;
}

function fileOf({ parts, metadata = {}, withoutDense = false }: FileOptions = {}): Uint8Array {
  const spec = syntheticModel({ vocab: VOCAB, hidden: HIDDEN });
  const heads = Object.values({ ...HEAD, ...parts }).filter((part) => part !== undefined);
  return ggufBytes({
    metadata: {
      ...spec.metadata,
      ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, string(value)])),
    },
    tensors: [...spec.tensors.filter(({ name }) => !withoutDense || name !== "output.weight"), ...heads],
  });
}

const PLAIN = ggufBytes(syntheticModel({ vocab: VOCAB, hidden: HIDDEN }));
const OWN = { metadata: { "edgewise.head.model": "vq" }, withoutDense: true };

async function generated(model: Model, draft: "none" | "self", temperature: number) {
  // However little it pays.
  const speculation = { adaptive: false, gamma: 3 };
  const texts = model.generate([1, 2, 3], {
    maxTokens: 40,
    temperature,
    seed: 4,
    ignoreEos: true,
    draft,
    speculation,
  });
  for (;;) {
    const { done, value } = await texts.next();
    if (done) return value;
  }
}

/** The row after some tokens. */
async function rowAfter(model: Model, tokens: number[]): Promise<Float32Array> {
  const session = model.open();
  const row = (await session.forward(tokens)).row(0).slice();
  session.close();
  return row;
}

describe.each(["wasm", "reference"] as const)("a file with a vq head, on %s", (backend) => {
  it("decodes as without it, to the bit, and drafts with it", async () => {
    const plain = await loadModel(PLAIN, { backend });
    const model = await loadModel(fileOf(), { backend });
    expect(model.fingerprint).toBe(plain.fingerprint);
    expect(model.weightBytes).toBeGreaterThan(plain.weightBytes);
    for (const temperature of [0, 1]) {
      const expected = await generated(plain, "none", temperature);
      expect((await generated(model, "none", temperature)).tokens).toEqual(expected.tokens);
      const drafted = await generated(model, "self", temperature);
      expect(drafted.tokens).toEqual(expected.tokens);
      expect(drafted.speculation?.drafted).toBeGreaterThan(0);
    }
    const session = model.open();
    const draft = aheadOf(session)!.openHead();
    expect(draft.bytes).toBeLessThan(aheadOf(session)!.headBytes);
    draft.close();
    session.close();
  });

  it("is a model of its own if it has no other head", async () => {
    const model = await loadModel(fileOf(OWN), { backend });
    const row = await rowAfter(model, [5, 6, 7]);
    // By the definition: tokens of a code differ by their biases, and by nothing else.
    const scores = row.map((logit, i) => logit - BIAS[i]);
    for (let i = 0; i < VOCAB; i++) expect(scores[i]).toBe(scores[CODE_OF.indexOf(CODE_OF[i])]);
    expect(new Set(scores).size).toBeGreaterThan(CODES / 2);
    // The scores are those of the codebook, by the state that ran ahead.
    const session = model.open();
    await session.forward([5, 6], 0);
    const draft = aheadOf(session)!.openHead();
    expect((await draft.read(await aheadOf(session)!.run([7]))).row()).toEqual(row);
    draft.close();
    session.close();
    // A row does not depend on its company.
    const whole = model.open();
    expect((await whole.forward([5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], 12)).row(2)).toEqual(row);
    whole.close();
    const { tokens } = await generated(model, "none", 1);
    expect((await generated(model, "self", 1)).tokens).toEqual(tokens);
  });

  it("makes no row where the codebook alone can tell the token, and writes the same", async () => {
    const model = await loadModel(fileOf({ ...OWN, parts: RESIDUAL }), { backend });
    const rows = vi.spyOn(VqHead.prototype, "rows");
    try {
      for (const options of [
        { temperature: 0 },
        { temperature: 1, topK: 9, topP: 1, seed: 5 },
        { temperature: 1, topK: 0, topP: 0.9, seed: 5 },
      ]) {
        const steps: Step[] = [{ step: "temperature", temperature: options.temperature }];
        if (options.topK) steps.unshift({ step: "top-k", k: options.topK });
        else if (options.topP) steps.push({ step: "top-p", p: options.topP });
        const pipeline = createPipeline(steps);
        rows.mockClear();
        const tokens: number[] = [];
        const text = model.generate([1, 2, 3], { maxTokens: 12, ignoreEos: true, ...options });
        for await (const { token } of text) tokens.push(token);
        expect(rows.mock.calls.length).toBe(options.topK === 0 ? 12 : 0);
        const history = [1, 2, 3];
        for (const token of tokens) {
          const row = await rowAfter(model, history);
          expect(pipeline.sample(row, { history, promptLength: 3, seed: options.seed ?? 0 }).token).toBe(
            token,
          );
          history.push(token);
        }
      }
    } finally {
      rows.mockRestore();
    }
  });

  it("decodes with residual codes, alone and drafting", async () => {
    const [plain, ours] = [
      await loadModel(fileOf(OWN), { backend }),
      await loadModel(fileOf({ ...OWN, parts: RESIDUAL }), { backend }),
    ];
    expect(ours.fingerprint).not.toBe(plain.fingerprint);
    const [row, before] = [await rowAfter(ours, [1, 2]), await rowAfter(plain, [1, 2])];
    expect(row.filter((logit, i) => logit !== before[i]).length).toBeGreaterThan(VOCAB / 2);
    for (const temperature of [0, 1]) {
      const { tokens } = await generated(ours, "none", temperature);
      expect((await generated(ours, "self", temperature)).tokens).toEqual(tokens);
    }
  });

  it("takes codes of 32 bits and biases of f32", async () => {
    const parts = {
      codes: tensor("output_vq.codes", "I32", [VOCAB], new Uint8Array(Int32Array.from(CODE_OF).buffer)),
      bias: tensor("output_vq.bias", "F32", [VOCAB], new Uint8Array(Float32Array.from(BIAS).buffer)),
    };
    const [ours, theirs] = [
      await loadModel(fileOf(OWN), { backend }),
      await loadModel(fileOf({ ...OWN, parts }), { backend }),
    ];
    expect(await rowAfter(theirs, [1, 2])).toEqual(await rowAfter(ours, [1, 2]));
  });
});

describe("a file with a head that is not sound is refused:", () => {
  const codesOf = (codes: number[], type = "I16") =>
    tensor("output_vq.codes", type, [codes.length], new Uint8Array(Uint16Array.from(codes).buffer));
  const biasOf = (values: number[]) =>
    tensor("output_vq.bias", "F32", [values.length], new Uint8Array(Float32Array.from(values).buffer));
  const wordsWith = (at: number, value: number) =>
    tensor(
      "output_vq.codebook.weight",
      "F32",
      [HIDDEN, CODES],
      new Uint8Array(WORDS.map((word, i) => (i === at ? value : word)).buffer),
    );
  const cases: [string, FileOptions, string][] = [
    ["a tensor is missing", { parts: { bias: undefined } }, 'file has no tensor "output_vq.bias"'],
    [
      "a tensor is one too many",
      { parts: { more: tensor("output_vq.more", "F32", [1], new Uint8Array(4)) } },
      'tensor "output_vq.more" is not part of a vq head here',
    ],
    [
      "a part of the residual codes is missing",
      { ...OWN, parts: { ...RESIDUAL, basis: undefined } },
      'residual codes need tensor "output_vq.residual.basis.weight"',
    ],
    [
      "residual codes are of other sub-vectors",
      {
        ...OWN,
        parts: {
          ...RESIDUAL,
          residualWords: tensor("output_vq.residual.codebook", "F32", [16, 4, 4], new Uint8Array(1024)),
        },
      },
      '"sub-vectors of residual.codebook" must be an integer from 8 to 8, got 4',
    ],
    [
      "there are codes for fewer tokens",
      { parts: { codes: codesOf(CODE_OF.slice(1)) } },
      'tensor "output_vq.codes" must have shape [300], got [299]',
    ],
    [
      "a code is out of range",
      { parts: { codes: codesOf([...CODE_OF.slice(1), CODES]) } },
      '"codes[299]" must be an integer from 0 to 19, got 20',
    ],
    [
      "a bias is not finite",
      { parts: { bias: biasOf([NaN, ...BIAS.slice(1)]) } },
      '"bias[0]" must be a number from -2048 to 2048, got NaN',
    ],
    ...(["NaN", "Infinity"] as const).map((value): [string, FileOptions, string] => [
      `a codeword has ${value}`,
      { ...OWN, parts: { words: wordsWith(7 * HIDDEN + 63, Number(value)) } },
      `its vq head is not sound: tensor "output_vq.codebook.weight" must be finite, is ${value} in row 7`,
    ]),
    [
      "codes are of a type that is no code",
      { parts: { codes: tensor("output_vq.codes", "F16", [VOCAB], new Uint8Array(2 * VOCAB)) } },
      'tensor "output_vq.codes" has type F16, supported are I16, I32',
    ],
    [
      "the codewords are of another width",
      { parts: { words: tensor("output_vq.codebook.weight", "F16", [32, 40], new Uint8Array(2 * 32 * 40)) } },
      'tensor "output_vq.codebook.weight" must have shape [64, at most 65536], got [32, 40]',
    ],
    [
      "the metadata names a head that is not there",
      { metadata: { "edgewise.head.model": "pq" } },
      'Metadata "edgewise.head.model" must be "dense" or a head of the file, got "pq"',
    ],
    [
      "it is no method",
      { metadata: { "edgewise.head.draft": "toString" } },
      'Metadata "edgewise.head.draft" must be "shortlist" or a head of the file, got "toString"',
    ],
  ];
  it.each(cases)("%s", async (_, options, message) => {
    await expect(loadModel(fileOf(options))).rejects.toThrow(message);
  });

  it("but not if the head is there and not to be used", async () => {
    const model = await loadModel(
      fileOf({
        metadata: { "edgewise.head.draft": "shortlist" },
        parts: { codes: codesOf(CODE_OF.map(() => CODES)) },
      }),
    );
    expect(model.vocab).toBe(VOCAB);
    model.close();
  });
});

describe.each(["wasm", "reference"] as const)("a file with a vq head that was damaged, on %s", (backend) => {
  beforeAll(watchMemory);
  afterAll(() => void vi.unstubAllGlobals());

  it("loads and decodes, or is refused in words", async () => {
    const file = fileOf({ ...OWN, parts: RESIDUAL });
    const { tensors, dataOffset } = await readGguf(ByteReader.from(file));
    const random = createRandom(17);
    const ranges = tensors
      .filter(({ name }) => name.startsWith("output_vq."))
      .map(({ offset, bytes }) => [offset, offset + bytes]);
    // Where the header names the head's tensors, and where it says what makes the rows.
    ranges.push([dataOffset - 400, dataOffset]);
    const errors = new Set<string>();
    for (let round = 0; round < 120; round++) {
      const damaged = file.slice();
      const [start, end] = ranges[round % ranges.length];
      for (let count = 1 + random.below(3); count > 0; count--) {
        damaged[start + random.below(end - start)] = random.below(256);
      }
      errors.add((await attempt(damaged, backend)) ?? "");
    }
    expect(errors.has("")).toBe(true);
    expect([...errors].some((error) => error.includes("its vq head is not sound"))).toBe(true);
    expect(errors.size).toBeGreaterThan(10);
  });
});
