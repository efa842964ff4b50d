/** One pass over every operation, for comparing the bits of two backends. */
import { type Backend, stride } from "../../../src/backend/backend.ts";
import { productShape } from "../../../src/backend/screen-kernels.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { WEIGHT_TYPES } from "../../../src/format/blocks.ts";
import { createRandom } from "../../support/random.ts";
import { copyOf, extremeWeights, fillMatrix, load, usualWeights, vectors } from "./harness.ts";

const ROWS = 67;
const COLS = 512;
const COLUMNS = 7;

/** Results by operation, from seeded inputs. */
export async function runWorkload(backend: Backend): Promise<Map<string, Float32Array>> {
  const random = createRandom(42);
  const results = new Map<string, Float32Array>();
  const normal = (length: number, scale = 1) => Float32Array.from({ length }, () => random.normal() * scale);
  const keep = async (name: string, x: ReturnType<Backend["floats"]>) => {
    results.set(name, await copyOf(backend, x));
  };

  for (const type of WEIGHT_TYPES) {
    for (const weightBytes of [usualWeights, extremeWeights]) {
      const weights = fillMatrix(backend, type, ROWS, COLS, weightBytes(type, ROWS, COLS, random));
      const embedded = backend.floats(3 * COLS);
      backend.embed(embedded, weights, [0, 5, ROWS - 1]);
      await keep(`embed ${type} ${weightBytes.name}`, embedded);
      const out = backend.floats(COLUMNS * stride(ROWS));
      const x = load(
        backend,
        vectors(COLUMNS, COLS, () => random.normal()),
      );
      backend.matmul(x, COLUMNS, [{ weights, out }]);
      await keep(`matmul ${type} ${weightBytes.name}`, out);
    }
  }

  const x = load(backend, normal(1024));
  backend.rmsNorm(x, x, load(backend, normal(128)), 128, 8, 1e-5);
  await keep("rmsNorm", x);
  backend.addBias(x, load(backend, normal(256)), 256, 4);
  backend.add(x, load(backend, normal(1024)), 1024);
  await keep("add", x);
  backend.swiglu(x, x, load(backend, normal(1024, 20)), 1024);
  await keep("swiglu", x);
  backend.scale(x, 1.7, 1024);
  backend.geglu(x, x, load(backend, normal(1024, 20)), 1024);
  await keep("geglu", x);
  for (const pairs of ["interleaved", "half-split"] as const) {
    const shape = { position: 1, columns: 4, heads: 4, headDim: 64, rotary: 32, pairs };
    backend.rope(x, load(backend, normal(5 * 32)), shape);
    await keep(`rope ${pairs}`, x);
  }
  const cache = backend.kvCache({ layers: 2, kvHeads: 2, headDim: 64 }, 50);
  backend.claimKv(cache, 0, 50);
  const [key, value] = [load(backend, normal(50 * 128)), load(backend, normal(50 * 128))];
  backend.storeKv(cache, key, value, { layer: 1, position: 0, columns: 50 });
  const attended = backend.floats(1024);
  backend.attention(attended, x, cache, { layer: 1, position: 46, columns: 4, heads: 4, scale: 0.125 });
  await keep("attention", attended);
  const windowed = { layer: 1, position: 46, columns: 4, heads: 4, scale: 0.125, window: 19 };
  backend.attention(attended, x, cache, windowed);
  await keep("attention in a window", attended);

  const row = load(backend, normal(32_003, 8));
  results.set("argmax", Float32Array.of(await backend.argmax(row, 32_003)));
  // A number is f64: all of its bits.
  results.set("logSumExp", new Float32Array(Float64Array.of(await backend.logSumExp(row, 32_003)).buffer));
  const { ids, logits } = await backend.top(row, 32_003, 100);
  results.set("top", Float32Array.of(...ids, ...logits));
  const kernels = backend.lawKernels(row, 32_003);
  const law = {
    temperature: 0.9,
    edits: { tokens: Uint32Array.of(7, 900), logits: Float64Array.of(NaN, 3) },
  };
  const { most } = kernels.range(law);
  const { total, mass } = kernels.buckets(law, most, 3);
  results.set("buckets", new Float32Array(Float64Array.of(most, total, ...mass).buffer));
  const contest = kernels.contest(law, most, { bar: most - 9, last: 32_002 }, 5, 6);
  results.set("contest", Float32Array.of(contest?.total ?? NaN, ...(contest?.tokens ?? [])));
  backend.softmax(row, row, 32_003);
  await keep("softmax", row);

  const screen = backend.screenKernels();
  const [vocab, hidden] = [1000, 64];
  const codes = screen.productCodes({
    vocab,
    hidden,
    codes: Uint8Array.from({ length: productShape(vocab, hidden).codes }, () => random.below(256)),
    codebook: normal(hidden * 16),
    scales: Uint16Array.from({ length: vocab }, () => random.below(0x7c00)),
    biases: Uint16Array.from({ length: vocab }, () => 0x8000 | random.below(0x7c00)),
  });
  const productRow = backend.floats(1008);
  screen.productLogits(load(backend, normal(hidden)), codes, productRow);
  await keep("productLogits", productRow);
  const places = Array.from({ length: 20 }, (_, position) => position);
  const bars = places.map((position) => ({ temperature: 0.8, top: 0, score: 0.04, seed: 3, position }));
  results.set(
    "racer",
    Float32Array.from(bars, (bar) => screen.racer(row, 32_003, bar)),
  );

  const math = backend.rowMath();
  const [p, q] = [1, 0.7].map((temperature) => math.tempered(normal(32_003, 4), temperature));
  const rest = math.residual(p, q, 0.9);
  results.set("tempered", Float32Array.from(p.values));
  results.set("residual", Float32Array.from(rest.values));
  results.set("mass", new Float32Array(Float64Array.of(p.mass, q.mass, rest.mass).buffer));
  const positions = Array.from({ length: 50 }, (_, position) => position);
  const raced = positions.map((position) => math.gumbelArgmax(p, seededRandom(9), position));
  results.set("race", Float32Array.from(raced));
  results.set(
    "draw",
    Float32Array.from(positions, (position) => math.draw(rest, position / 50)),
  );
  return results;
}
