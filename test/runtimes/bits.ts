/**
 * What the same-bits test runs in every runtime: rows, tokens and log-probabilities, as SHA-256 hashes.
 *
 * Nothing here knows the platform; run.ts, worker.ts and page.ts bring the bytes and take the answer out.
 */
import {
  type Backend,
  createReferenceBackend,
  createWasmBackend,
  decodeRows,
  type EncodingSpec,
  encodeRows,
  fuseModels,
  fusePreset,
  type GenerateOptions,
  type KernelModules,
  loadModel,
  type Model,
  type Rows,
  type Session,
  trainCodebook,
} from "../../src/index.ts";
import { type Pair, randomPair } from "../engine/on-off.ts";
import { createRandom } from "../support/random.ts";
import { type SyntheticModelOptions, syntheticModelBytes } from "../support/synthetic-model.ts";
import { vqModelBytes } from "../support/vq-model.ts";

/**
 * Models by name; sampled tokens and all rows of each, of a gemma3 and of a model whose head is a codebook are hashed, with
 * every build that `modules` has.
 */
export interface BitsInput {
  modules: KernelModules;
  models: Readonly<Record<string, Uint8Array>>;
}

export interface ModelBits {
  /** One call for all rows. */
  rows: string;
  /** Must equal `rows`: the same positions in chunks, one at a time, and again after a truncate. */
  rowsInChunks: string;
  rowsOneByOne: string;
  rowsAfterTruncate: string;
  greedy: string;
  sampled: string;
  /** log Σ exp and softmax of the rows. */
  probabilities: string;
  /** Texts of random requests, and the same requests with speculation of all kinds; must be equal. */
  plain: string;
  drafted: string;
  /** Rows of a tree, and of its paths one by one; must be equal. */
  tree: string;
  treeByPaths: string;
  /** Rows and texts of plans over the model on several prefixes; the texts also with drafts, which must be equal. */
  fused: string;
  fusedDrafted: string;
  /** Rows in every encoding of the wire format, as bytes of messages, and what is read from these. */
  encoded: string;
  decoded: string;
}

/** By build, then by model. "reference" is the backend in plain TypeScript, which has other bits than the kernels. */
export type Bits = Readonly<Record<string, Readonly<Record<string, ModelBits>>>>;

/** How much is computed: rows of a fixed sequence, and tokens of each text. */
interface Extent {
  readonly rows: number;
  readonly tokens: number;
  readonly pairs: number;
}

const KERNELS: Extent = { rows: 101, tokens: 60, pairs: 40 };
/** A hundred times slower. */
const REFERENCE: Extent = { rows: 21, tokens: 8, pairs: 1 };

/** Every width that a kernel treats in its own way; repeated until the sequence ends. */
const CHUNKS = [1, 2, 3, 4, 5, 7, 8, 9, 33];

/** Each uses another part of the pipeline. */
const SAMPLINGS: readonly GenerateOptions[] = [
  { seed: 0 },
  { seed: 1, temperature: 0.7, topK: 50 },
  { seed: 2 ** 53 - 1, temperature: 1.3, topP: 0.9 },
  { seed: 123456789, temperature: 0.9, minP: 0.05, repetitionPenalty: 1.2 },
];

/** Windows, norms and a gate that the models given do not have; 101 rows are several windows. */
const GEMMA: SyntheticModelOptions = { architecture: "gemma3", type: "F16", vocab: 420 };

/** Draws by noise of its own, and makes few rows. */
const VQ: SyntheticModelOptions = { type: "Q8_0", vocab: 420, seed: 2 };

export async function computeBits({ modules, models }: BitsInput): Promise<Bits> {
  const { simd, relaxed } = modules;
  const all = { ...models, gemma3: syntheticModelBytes(GEMMA), vq: vqModelBytes(VQ) };
  const bits: Record<string, Record<string, ModelBits>> = {};
  bits.simd = await bitsOfModels(all, { modules, build: "simd" }, () => createWasmBackend(simd), KERNELS);
  if (relaxed !== undefined) {
    const backend = () => createWasmBackend(relaxed, { build: "relaxed" });
    bits.relaxed = await bitsOfModels(all, { modules, build: "relaxed" }, backend, KERNELS);
  }
  const [[name, bytes]] = Object.entries(models);
  const options = { backend: "reference" } as const;
  bits.reference = await bitsOfModels({ [name]: bytes }, options, createReferenceBackend, REFERENCE);
  return bits;
}

async function bitsOfModels(
  models: BitsInput["models"],
  options: Parameters<typeof loadModel>[1],
  createBackend: () => Backend,
  extent: Extent,
): Promise<Record<string, ModelBits>> {
  const bits: Record<string, ModelBits> = {};
  for (const [name, bytes] of Object.entries(models)) {
    const model = await loadModel(bytes, options);
    bits[name] = await bitsOfModel(model, createBackend(), extent);
    model.close();
  }
  return bits;
}

async function bitsOfModel(model: Model, backend: Backend, extent: Extent): Promise<ModelBits> {
  const length = extent.rows;
  const half = length >> 1;
  const tokens = Array.from({ length }, (_, i) => (i * i * 7 + i * 1237 + 11) % model.vocab);
  const session = model.open({ capacity: length });
  const rows = copy(await session.forward(tokens, length));
  session.truncate(half);
  const after = copy(await session.forward(tokens.slice(half), length - half));
  const inChunks = await rowsInSteps(session, tokens, CHUNKS);
  const oneByOne = await rowsInSteps(session, tokens, [1]);
  session.truncate(half);
  const tree = copy(await session.forward(TREE_TOKENS, TREE_TOKENS.length, TREE_PARENTS));
  session.truncate(half);
  const treeByPaths = await rowsByPaths(session);
  session.close();
  const pairs = await pairsOf(model, extent.pairs);
  return {
    rows: await hash(rows),
    rowsInChunks: await hash(inChunks),
    rowsOneByOne: await hash(oneByOne),
    rowsAfterTruncate: await hash([...rows.slice(0, half), ...after]),
    greedy: await hashOfTexts(model, [{ temperature: 0 }], extent.tokens),
    sampled: await hashOfTexts(model, SAMPLINGS, extent.tokens),
    probabilities: await hash(await probabilities(backend, rows)),
    plain: await hashOfJson(pairs.map(({ plain }) => [plain.tokens, plain.text, plain.error])),
    drafted: await hashOfJson(pairs.map(({ drafted }) => [drafted.tokens, drafted.text, drafted.error])),
    tree: await hash(tree),
    treeByPaths: await hash(treeByPaths),
    ...(await fusedBits(model, extent)),
    ...(await wireBits(rows.slice(0, WIRE_ROWS), backend)),
  };
}

const WIRE_ROWS = 5;

async function wireBits(rows: readonly Float32Array[], backend: Backend) {
  const kernels = backend.wireKernels();
  const codebook = trainCodebook(rows, { stages: 2, count: 60, dim: 8, rounds: 3 });
  const specs: readonly EncodingSpec[] = [
    "f32",
    "f16",
    "int8",
    "int4",
    { encoding: "int4", clip: 5 },
    { encoding: "vq", codebook },
    "top-k",
    { encoding: "top-k", count: 3, precision: "f32" },
    { encoding: "lattice", resolution: 5000 },
    { encoding: "ids", count: 9 },
  ];
  const messages = specs.map((spec) => encodeRows(rows, spec, { kernels }));
  const decoded = messages.flatMap((bytes) => {
    const { count, row } = decodeRows(bytes, { kernels });
    return Array.from({ length: count }, (_, index) => row(index));
  });
  const all = new Uint8Array(await new Blob(messages as BlobPart[]).arrayBuffer());
  return { encoded: await sha256(all), decoded: await hash(decoded) };
}

/** Weights that are constant, solved for, and of a cut; a mixture; each with the model on prefixes of its own. */
const FUSIONS = [
  { plan: fusePreset("proxy-tuning"), names: ["base", "expert", "anti"] },
  { plan: fusePreset("dlf", { solver: "continuous" }), names: ["base", "expert", "anti"] },
  { plan: fusePreset("contrastive"), names: ["expert", "amateur"] },
  { plan: fusePreset("mixture"), names: ["a", "b"] },
];
const PREFIXES = [[], [30, 31, 32, 33, 34], [90, 91]];

async function fusedBits(model: Model, { rows, tokens }: Extent) {
  const hashes: string[] = [];
  const plain: unknown[] = [];
  const drafted: unknown[] = [];
  for (const { plan, names } of FUSIONS) {
    const fused = fuseModels(
      plan,
      Object.fromEntries(names.map((name, i) => [name, { source: model, prefix: PREFIXES[i] }])),
    );
    const text = Array.from({ length: rows >> 2 }, (_, i) => (i * 37 + 5) % model.vocab);
    const session = fused.open({ capacity: text.length });
    hashes.push(await hash(copy(await session.forward(text, text.length))));
    session.close();
    for (const options of [{ temperature: 0 }, { seed: 5, temperature: 0.8, topP: 0.95 }]) {
      const asked = { maxTokens: tokens >> 1, ignoreEos: true, ...options };
      plain.push(await tokensOf(fused, asked));
      drafted.push(
        await tokensOf(fused, { ...asked, draft: model, speculation: { adaptive: false, gamma: 3 } }),
      );
    }
  }
  return {
    fused: await hashOfJson([hashes, plain]),
    fusedDrafted: await hashOfJson([hashes, drafted]),
  };
}

async function tokensOf(model: Model, options: GenerateOptions): Promise<unknown> {
  const pieces = model.generate("Once upon a time", options);
  for (;;) {
    const step = await pieces.next();
    if (step.done) return [step.value.tokens, step.value.text];
  }
}

const TREE_TOKENS = [30, 31, 32, 33, 34, 35, 36, 37, 38, 39];
const TREE_PARENTS = [-1, 0, 0, 1, 1, 2, 3, 3, 6, 8];

/** The row of each node, computed as the end of a text. */
async function rowsByPaths(session: Session): Promise<Float32Array[]> {
  const start = session.length;
  const rows: Float32Array[] = [];
  for (const node of TREE_TOKENS.keys()) {
    const path: number[] = [];
    for (let at = node; at >= 0; at = TREE_PARENTS[at]) path.unshift(TREE_TOKENS[at]);
    rows.push(...copy(await session.forward(path)));
    session.truncate(start);
  }
  return rows;
}

/** The model is its own draft model here: the drafters that run none are no different for that. */
async function pairsOf(model: Model, count: number) {
  const random = createRandom(99);
  const pairs: Pair[] = [];
  while (pairs.length < count) pairs.push(await randomPair(model, [model], random));
  return pairs;
}

async function rowsInSteps(session: Session, tokens: readonly number[], steps: readonly number[]) {
  session.truncate(0);
  const rows: Float32Array[] = [];
  for (let step = 0; session.length < tokens.length; step++) {
    const chunk = tokens.slice(session.length, session.length + steps[step % steps.length]);
    rows.push(...copy(await session.forward(chunk, chunk.length)));
  }
  return rows;
}

function copy(rows: Rows): Float32Array[] {
  return Array.from({ length: rows.count }, (_, index) => rows.row(index).slice());
}

async function probabilities(backend: Backend, rows: readonly Float32Array[]): Promise<Float32Array[]> {
  const vocab = rows[0].length;
  const x = backend.floats(vocab);
  const out = backend.floats(vocab);
  const results: Float32Array[] = [];
  for (const row of rows) {
    backend.write(x, row);
    backend.softmax(out, x, vocab);
    results.push(Float32Array.of(await backend.logSumExp(x, vocab)), (await backend.read(out)).slice());
  }
  return results;
}

async function hashOfTexts(
  model: Model,
  options: readonly GenerateOptions[],
  maxTokens: number,
): Promise<string> {
  const texts: unknown[] = [];
  for (const settings of options)
    texts.push(await tokensOf(model, { maxTokens, ignoreEos: true, ...settings }));
  return hashOfJson(texts);
}

function hashOfJson(value: unknown): Promise<string> {
  return sha256(new TextEncoder().encode(JSON.stringify(value)));
}

/** Of the values' bytes, little-endian on every platform that runs this. */
function hash(arrays: readonly Float32Array[]): Promise<string> {
  const all = new Float32Array(arrays.reduce((length, array) => length + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return sha256(new Uint8Array(all.buffer));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
