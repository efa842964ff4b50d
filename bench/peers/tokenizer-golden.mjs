/**
 * Writes test/golden/tokenizer-*.json: what llama.cpp makes of some thousand strings.
 *
 *   node bench/peers/tokenizer-golden.mjs path/to/edgewise-stories.gguf [output folder]
 *   node bench/peers/tokenizer-golden.mjs --gemma [output folder]
 *
 * Four vocabularies, all of them ours: the story model's, and three that are trained here on the strings themselves. With
 * `--gemma` only the one that has Gemma's marks is made.
 * Their merges cross every boundary that a pre-tokenizer could draw, so that a wrong cut gives other tokens.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { f32, ggufBytes, i32 } from "./tokenizer-gguf.mjs";
import { GEMMA_SPECIAL, GEMMA_TEXTS, makeTexts, SPECIAL } from "./tokenizer-texts.mjs";
import { trainByteLevel, trainSentencePiece } from "./tokenizer-train.mjs";

const PRE_TOKENIZERS = [
  ...[
    "default",
    "llama-bpe",
    "dbrx",
    "qwen2",
    "qwen35",
    "gpt-2",
    "smollm",
    "tekken",
    "gpt-4o",
    "falcon",
    "bloom",
  ],
  ...["viking", "deepseek-coder", "deepseek-v3", "bailingmoe", "seed-coder"],
];

const [storyModel, folder = new URL("../../test/golden", import.meta.url).pathname] = process.argv.slice(2);
if (storyModel === undefined) throw new TypeError("Path of the story model is missing");

const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  logLevel: LlamaLogLevel.disabled,
});
const release = `llama.cpp ${llama.llamaCppRelease.release}`;
const scratch = await mkdtemp(join(tmpdir(), "tokenizer-golden-"));
let texts = makeTexts();

if (storyModel !== "--gemma") {
  await save("texts", { texts });
  await save("edgewise-stories", await goldenOf(storyModel, { ids: true }));

  const byteLevel = trainByteLevel(texts, 1500, SPECIAL);
  const byteLevelFiles = {};
  for (const pre of PRE_TOKENIZERS) {
    const { hashes, pieces } = await goldenOf(
      await synthetic({ ...byteLevel, "tokenizer.ggml.pre": pre }),
      {},
    );
    byteLevelFiles[pre] = { hashes, ...(pre === "qwen2" && { pieces }) };
  }
  await save("byte-level", { metadata: plain(byteLevel), pre: byteLevelFiles });

  const sentencePiece = trainSentencePiece(texts, 1200, SPECIAL);
  const bare = { ...sentencePiece, "tokenizer.ggml.add_space_prefix": false };
  await save("sentencepiece", {
    metadata: plain(sentencePiece),
    prefixed: await goldenOf(await synthetic(sentencePiece), {}),
    bare: await goldenOf(await synthetic(bare), {}),
  });
}

const gemma = {
  ...trainSentencePiece(texts, 600, GEMMA_SPECIAL, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]),
  "tokenizer.ggml.pre": "default",
  "tokenizer.ggml.bos_token_id": 2,
  "tokenizer.ggml.eos_token_id": 1,
  "tokenizer.ggml.unknown_token_id": 3,
  "tokenizer.ggml.padding_token_id": 0,
  "tokenizer.ggml.add_bos_token": true,
  "tokenizer.ggml.add_eos_token": false,
  "tokenizer.ggml.add_space_prefix": false,
};
texts = [...GEMMA_TEXTS, ...texts];
await save("gemma", {
  metadata: plain(gemma),
  texts: GEMMA_TEXTS,
  ...(await goldenOf(await synthetic(gemma), {})),
});

await rm(scratch, { recursive: true });
await llama.dispose();
process.exit(0);

/**
 * What llama.cpp makes of the texts: ids where asked for, otherwise a hash of each text's ids without and with control
 * tokens recognised.
 */
async function goldenOf(modelPath, { ids }) {
  const model = await llama.loadModel({ modelPath, vocabOnly: true });
  const plainTokens = texts.map((text) => model.tokenize(text, false));
  const specialTokens = texts.map((text) => model.tokenize(text, true));
  const ggml = model.fileInfo.metadata.tokenizer.ggml;
  const vocab = ggml.tokens.length;
  const endTokens = Array.from({ length: vocab }, (_, id) => id).filter((id) => model.isEogToken(id));
  const golden = {
    endTokens,
    bos: model.tokens.shouldPrependBosToken,
    eos: model.tokens.shouldAppendEosToken,
    ...(ids
      ? { tokens: plainTokens, special: differing(plainTokens, specialTokens) }
      : { hashes: plainTokens.map((tokens, i) => hash([...tokens, -1, ...specialTokens[i]])).join("") }),
    pieces: makeSequences(vocab).map((tokens) => [tokens, model.detokenize(tokens, false)]),
  };
  if (ids)
    golden.metadata = Object.fromEntries(Object.entries(ggml).map(([k, v]) => [`tokenizer.ggml.${k}`, v]));
  await model.dispose();
  return golden;
}

/** Tokens with control tokens recognised, where that makes a difference: index -> ids. */
function differing(plainTokens, specialTokens) {
  const entries = specialTokens.map((tokens, index) => [index, tokens]);
  return Object.fromEntries(entries.filter(([index, tokens]) => `${tokens}` !== `${plainTokens[index]}`));
}

/** FNV-1a over the ids, eight hex digits. */
function hash(ids) {
  return ids
    .reduce((state, id) => Math.imul(state ^ id, 0x01000193) >>> 0, 0x811c9dc5)
    .toString(16)
    .padStart(8, "0");
}

/** Token lists nobody would encode: half characters, control tokens, anything. */
function makeSequences(vocab) {
  let state = 1;
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  return Array.from({ length: 200 }, () =>
    Array.from({ length: 1 + random(12) }, () => random(random(2) ? vocab : 300)),
  );
}

async function synthetic(metadata) {
  const path = join(scratch, "synthetic.gguf");
  await writeFile(path, ggufBytes(metadata));
  return path;
}

/** JSON has no typed arrays. */
function plain(metadata) {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [
      key,
      value instanceof i32 || value instanceof f32 ? [...value] : value,
    ]),
  );
}

async function save(name, content) {
  await writeFile(
    join(folder, `tokenizer-${name}.json`),
    `${JSON.stringify({ from: release, ...content })}\n`,
  );
}
