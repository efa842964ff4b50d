/**
 * The same bits everywhere: one program in Node, Deno, Bun, workerd and Chromium, in both builds; and the command line
 * in all that have one. After a change that is meant to change bits, `npx vitest run test/runtimes -u` renews bits.json.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it, type TestContext } from "vitest";
import { type Bits, computeBits, type ModelBits } from "./bits.ts";
import { launchChromium } from "./chromium.ts";
import { MODEL_NAMES, readInput } from "./input.ts";
import { installRuntimes, RUNTIMES } from "./install.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BUILD = join(ROOT, "build");
const MODELS = join(ROOT, "models");
const INSTALL_MS = 900_000;
const RUN_MS = 180_000;

let bundles: string;
/** Why the runtimes of test/runtimes are not there. */
let missing: string | null;

beforeAll(async () => {
  missing = await installRuntimes();
  if (missing !== null) console.log(`skipped Node 24, Deno, Bun and Chromium: ${missing}`);
}, INSTALL_MS);

/** The worker's assets, by the name under which the bundle imports them. */
const assets = new Map<string, string>();

beforeAll(async () => {
  bundles = await mkdtemp(join(tmpdir(), "edgewise-bits-"));
  await build({
    // The browser entry is served beside /build, as dist/ lies beside build/ in the package.
    entryPoints: [
      "test/runtimes/run.ts",
      "test/runtimes/page.ts",
      "test/runtimes/worker.ts",
      "src/web.ts",
    ].map((path) => ({ in: join(ROOT, path), out: basename(path, ".ts") })),
    outdir: bundles,
    bundle: true,
    format: "esm",
    target: "es2022",
    external: ["node:*"],
    plugins: [
      {
        name: "assets",
        setup({ onResolve }) {
          onResolve({ filter: /\.(wasm|gguf)$/ }, ({ path, resolveDir }) => {
            assets.set(basename(path), resolve(resolveDir, path));
            return { path: `./${basename(path)}`, external: true };
          });
        },
      },
    ],
  });
});
afterAll(() => rm(bundles, { recursive: true }));

function needRuntimes({ skip }: TestContext): void {
  if (missing !== null) skip(missing);
}

async function run(command: readonly string[], args: readonly string[]): Promise<string> {
  const [program, ...first] = command;
  const options = { cwd: ROOT, maxBuffer: 1 << 26, env: { ...process.env, NO_COLOR: "1" } };
  return (await promisify(execFile)(program, [...first, ...args], options)).stdout;
}

describe("same bits", () => {
  /** Of this process: what every other runtime is held against, itself held against the committed file. */
  let golden: { kernels: Record<string, ModelBits>; reference: Record<string, ModelBits> };

  beforeAll(async () => {
    const bits = await computeBits(await readInput((folder, name) => readFile(join(ROOT, folder, name))));
    golden = { kernels: bits.simd, reference: bits.reference };
  }, RUN_MS);

  function expectSameBits(bits: Bits, builds: readonly string[]): void {
    expect(Object.keys(bits).sort()).toEqual([...builds, "reference"].sort());
    for (const build of builds) expect(bits[build], build).toEqual(golden.kernels);
    expect(bits.reference).toEqual(golden.reference);
  }

  it("are the committed ones", async () => {
    await expect(`${JSON.stringify(golden, null, 2)}\n`).toMatchFileSnapshot("bits.json");
  });

  it.each([...MODEL_NAMES, "gemma3", "vq"])(
    "do not depend on how %s's tokens are split into calls",
    (name) => {
      const { rows, rowsInChunks, rowsOneByOne, rowsAfterTruncate } = golden.kernels[name];
      expect({ rowsInChunks, rowsOneByOne, rowsAfterTruncate }).toEqual({
        rowsInChunks: rows,
        rowsOneByOne: rows,
        rowsAfterTruncate: rows,
      });
    },
  );

  it.each([...MODEL_NAMES, "gemma3", "vq"])("do not depend on drafts, nor on trees, for %s", (name) => {
    const { plain, drafted, tree, treeByPaths, fused, fusedDrafted } = golden.kernels[name];
    expect({ drafted, treeByPaths, fusedDrafted }).toEqual({
      drafted: plain,
      treeByPaths: tree,
      fusedDrafted: fused,
    });
  });

  it("differ between weight formats, so that the hashes are of something", () => {
    const hashes = MODEL_NAMES.flatMap((name) => {
      // Tokens may be the same: formats that keep enough bits say the same.
      const { rows, probabilities, tree, fused } = golden.kernels[name];
      return [rows, probabilities, tree, fused];
    });
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it.for(Object.keys(RUNTIMES))("in %s", { timeout: RUN_MS }, async (name, context) => {
    needRuntimes(context);
    const output = await run(RUNTIMES[name], [join(bundles, "run.js"), BUILD, MODELS]);
    expectSameBits(JSON.parse(output), ["simd", "relaxed"]);
  });

  it("in this Node as a process of its own, with relaxed SIMD where it has it", async () => {
    const bits: Bits = JSON.parse(await run([process.execPath], [join(bundles, "run.js"), BUILD, MODELS]));
    expectSameBits(
      bits,
      Object.keys(bits).filter((build) => build !== "reference"),
    );
    expect(bits).toHaveProperty("simd");
  });

  it("in workerd", { timeout: RUN_MS }, async () => {
    const miniflare = new Miniflare({
      cf: false,
      modules: [
        {
          type: "ESModule",
          path: "worker.js",
          contents: await readFile(join(bundles, "worker.js"), "utf8"),
        },
        ...(await Promise.all(
          [...assets].map(async ([path, file]) => ({
            type: path.endsWith(".wasm") ? ("CompiledWasm" as const) : ("Data" as const),
            path,
            contents: await readFile(file),
          })),
        )),
      ],
      compatibilityDate: "2026-04-01",
    });
    try {
      const response = await miniflare.dispatchFetch("http://localhost/");
      expectSameBits((await response.json()) as Bits, ["simd", "relaxed"]);
    } finally {
      await miniflare.dispose();
    }
  });

  it("in Chromium", { timeout: RUN_MS }, async (context) => {
    needRuntimes(context);
    await using chromium = await launchChromium({
      folders: { build: BUILD, models: MODELS, bundles },
    });
    const bits = await chromium.page.evaluate(`import("/bundles/page.js").then(({ bits }) => bits)`);
    expectSameBits(bits as Bits, ["simd", "relaxed"]);
  });
});

describe("the relaxed build", () => {
  it(
    "passes the specification of backends, and speculation does not change its text, in Node 24",
    async (context) => {
      needRuntimes(context);
      // A suite of its own in a Node that runs relaxed SIMD; the one this runs in may not.
      const suites = ["test/backend", "test/engine/speculation.test.ts"];
      const { stdout } = await promisify(execFile)(
        RUNTIMES["Node 24"][0],
        [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", "--reporter=json", "-t", "relaxed", ...suites],
        {
          cwd: ROOT,
          maxBuffer: 1 << 28,
          env: { ...process.env, VITEST: undefined, VITEST_WORKER_ID: undefined },
        },
      );
      const { success, testResults } = JSON.parse(stdout.slice(stdout.indexOf("{")));
      expect(success).toBe(true);
      const passed = testResults
        .flatMap((file: { assertionResults: object[] }) => file.assertionResults)
        .filter(
          (test: { status: string; fullName: string }) =>
            test.status === "passed" && /relaxed/.test(test.fullName),
        );
      expect(passed.length).toBeGreaterThan(150);
    },
    2 * RUN_MS,
  );
});

describe("the browser entry", () => {
  /** Its own text, so that nothing is compiled into it; ends as the value of the page. */
  const SCRIPT = `(async () => {
    const { loadModel } = await import("/bundles/web.js");
    const url = "/models/edgewise-stories-q4_0.gguf";
    const texts = [];
    const progress = [];
    const onProgress = (loaded, total) => progress.push([loaded, total]);
    for (const input of [url, new File([await (await fetch(url)).arrayBuffer()], "q4_0.gguf")]) {
      const model = await loadModel(input, { onProgress });
      let text = "";
      for await (const piece of model.generate("Once", { maxTokens: 8, temperature: 0 })) text += piece.text;
      texts.push([text, model.backend, model.build]);
    }
    const error = await loadModel("/models/none.gguf").catch((error) => error.name + ": " + error.message);
    return { texts, last: progress.at(-1), error };
  })()`;

  it("fetches kernels and models, and takes a file that the user picked", {
    timeout: RUN_MS,
  }, async (context) => {
    needRuntimes(context);
    await using chromium = await launchChromium({ folders: { build: BUILD, models: MODELS, bundles } });
    const { texts, last, error } = (await chromium.page.evaluate(SCRIPT)) as {
      texts: string[][];
      last: number[];
      error: string;
    };
    expect(texts[0]).toEqual([expect.stringMatching(/[a-z]/), "wasm", expect.stringMatching(/simd|relaxed/)]);
    expect(texts[1]).toEqual(texts[0]);
    expect(last).toEqual([1_284_512, 1_284_512]);
    expect(error).toMatch(/^RangeError: Cannot read ".*none.gguf": status must be 200 … 299, got 404/);
  });
});

describe("the command line", () => {
  const COMMAND = join(ROOT, "dist/cli/main.js");
  const built = existsSync(COMMAND);
  if (!built) console.log("skipped the command line in other runtimes: dist/ is not built");

  const ARGUMENTS = ["generate", "-p", "The little dog", "-n", "40", "--seed", "7", "--stop", "##", "--json"];

  it.skipIf(!built).for(Object.keys(RUNTIMES))(
    "gives the same tokens and text in %s",
    { timeout: RUN_MS },
    async (name, context) => {
      needRuntimes(context);
      const here = JSON.parse(await run([process.execPath], [COMMAND, ...ARGUMENTS]));
      const there = JSON.parse(await run(RUNTIMES[name], [COMMAND, ...ARGUMENTS]));
      const { timings, build: _, ...same } = here;
      expect(there).toMatchObject(same);
      expect(Object.keys(there)).toEqual(Object.keys(here));
      expect(Object.keys(there.timings)).toEqual(Object.keys(timings));
      expect(here.tokens.length).toBeGreaterThan(10);
    },
  );

  it.skipIf(!built).for(Object.keys(RUNTIMES))(
    "says what is wrong in one line in %s",
    { timeout: RUN_MS },
    async (name, context) => {
      needRuntimes(context);
      const wrong = await run(RUNTIMES[name], [COMMAND, "generate", "--top-k", "many"]).catch(
        (error) => error,
      );
      expect([wrong.code, wrong.stdout, wrong.stderr]).toEqual([
        2,
        "",
        'edgewise: "--top-k" must be an integer, got "many"\n',
      ]);
      const absent = await run(RUNTIMES[name], [COMMAND, "inspect", "none.gguf"]).catch((error) => error);
      expect([absent.code, absent.stdout, absent.stderr]).toEqual([
        1,
        "",
        'edgewise: Cannot read "none.gguf": there is no such file\n',
      ]);
    },
  );
});
