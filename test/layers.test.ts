/** The design as tests: imports point down, packages stay in their place, and nothing inexact reaches a row or a token. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Bottom up; a file may import from its own entry and those before it. Longest path wins. */
const LAYERS: readonly (readonly string[])[] = [
  ["src/errors.ts", "src/math.ts", "src/exp-below.ts", "src/philox.ts"],
  ["src/format"],
  ["src/backend"],
  ["src/decoding"],
  ["src/model"],
  ["src/engine"],
  ["src/compress"],
  ["src/index.ts"],
  ["src/node.ts", "src/web.ts", "src/workerd.ts"],
  ["src/service"],
  ["src/cli", "src/playground"],
];

/** Kernel folders are neighbours: they share lib/ and nothing else. */
const KERNEL_LAYERS: readonly (readonly string[])[] = [
  ["assembly/lib"],
  [
    "assembly/matmul",
    "assembly/head",
    "assembly/layer",
    "assembly/sample",
    "assembly/fuse",
    "assembly/verify",
    "assembly/wire",
  ],
  ["assembly/index.ts"],
];

/** Where a package, or a kind of import, may be used. */
const PLACES: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^node:/, ["src/node.ts", "src/cli", "src/service/node.ts"]],
  [/^@hono\/node-server$/, ["src/service/node.ts"]],
  [/^(hono|zod)(\/|$)/, ["src/service"]],
  [/^(miniflare|esbuild)$/, ["src/cli/serve.ts", "src/cli/serve-workerd.ts"]],
  [/^@huggingface\/(jinja|tokenizers)$/, ["src/model"]],
  [/^@assemblyscript\/loader$/, ["src/backend/wasm"]],
  [/\.(wasm|gguf)$/, ["src/workerd.ts", "src/service/worker.ts"]],
];

/** The functions engines may compute differently in the last bit. */
const INEXACT = /^(a?cosh?|a?sinh?|a?tanh?|atan2|cbrt|exp|expm1|hypot|log|log1p|log2|log10|pow|random)$/;

const PUBLIC_NAMES = [
  "Aggregate",
  "Backend",
  "ByteInput",
  "ByteReader",
  "ChatMessage",
  "ChoiceConstraint",
  "Codebook",
  "Constraint",
  "DecodedRows",
  "Draft",
  "DraftLaw",
  "DraftMethod",
  "Drafter",
  "DrafterName",
  "EncodedRow",
  "EncodingSpec",
  "FinishReason",
  "FuseAudit",
  "FuseModelsOptions",
  "FuseOptions",
  "GenerateManyOptions",
  "GenerateOptions",
  "GenerateResult",
  "Grammar",
  "GrammarSpec",
  "HeadDraw",
  "HeadMethod",
  "HeadTensor",
  "IndexedPiece",
  "KernelModules",
  "LoadOptions",
  "Model",
  "OpenHeadOptions",
  "OpenedHead",
  "Piece",
  "Pipeline",
  "Plan",
  "Policy",
  "PresetName",
  "ROWS_MEDIA_TYPE",
  "RemoteError",
  "RemoteModelOptions",
  "RowEncoding",
  "RowSet",
  "Rows",
  "SamplingOptions",
  "ScoreName",
  "Session",
  "SessionOptions",
  "Source",
  "SpeculationOptions",
  "SpeculationSummary",
  "Step",
  "Timings",
  "Tokenizer",
  "UnsupportedError",
  "Verdict",
  "VerifierName",
  "VerifyRequest",
  "bridgeText",
  "buildPlan",
  "compileGrammar",
  "conceptRow",
  "connectModel",
  "createDrafter",
  "createPipeline",
  "createReferenceBackend",
  "createWasmBackend",
  "decodeRow",
  "decodeRows",
  "encodeRow",
  "encodeRows",
  "evaluatePlan",
  "explainPlan",
  "fuse",
  "fuseModels",
  "fusePreset",
  "loadModel",
  "op",
  "openHead",
  "presetSteps",
  "readGguf",
  "readPlan",
  "score",
  "seededRandom",
  "stride",
  "trainCodebook",
  "transitionGraph",
  "verify",
];

interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
  /** As written; types included. */
  readonly imports: readonly string[];
}

function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort()
    .map((path) => {
      const text = readFileSync(join(ROOT, path), "utf8");
      const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
      return { path, text, imports };
    });
}

function isIn(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}/`);
}

function layerOf(layers: typeof LAYERS, path: string): number {
  return layers.findIndex((places) => places.some((place) => isIn(path, place)));
}

/** The imported file from the root; null for a package. */
function target({ path }: SourceFile, specifier: string): string | null {
  if (!specifier.startsWith(".")) return null;
  const file = relative(ROOT, resolve(ROOT, dirname(path), specifier)).replaceAll("\\", "/");
  return path.startsWith("assembly/") ? `${file}.ts` : file;
}

const isAsset = (specifier: string) => /\.(wasm|gguf)$/.test(specifier);

const src = sourceFiles("src");
const assembly = sourceFiles("assembly");

describe("layers", () => {
  it("have all files", () => {
    expect(src.length).toBeGreaterThan(50);
    expect(src.filter(({ path }) => layerOf(LAYERS, path) < 0).map(({ path }) => path)).toEqual([]);
    expect(assembly.filter(({ path }) => layerOf(KERNEL_LAYERS, path) < 0).map(({ path }) => path)).toEqual(
      [],
    );
  });

  it("of src import downwards only", () => {
    const upward = src.flatMap((file) =>
      file.imports
        .filter((specifier) => !isAsset(specifier))
        .map((specifier) => target(file, specifier))
        .filter((to): to is string => to !== null && !(layerOf(LAYERS, to) <= layerOf(LAYERS, file.path)))
        .map((to) => `${file.path} imports ${to}`),
    );
    expect(upward).toEqual([]);
  });

  it("of assembly import downwards only, and nothing from outside", () => {
    const wrong = assembly.flatMap((file) =>
      file.imports.flatMap((specifier) => {
        const to = target(file, specifier);
        const layer = layerOf(KERNEL_LAYERS, file.path);
        const sameFolder = to !== null && dirname(to) === dirname(file.path);
        const below = to !== null && layerOf(KERNEL_LAYERS, to) >= 0 && layerOf(KERNEL_LAYERS, to) < layer;
        return sameFolder || below ? [] : [`${file.path} imports ${specifier}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  it("keep packages, platforms and binary files in their places", () => {
    const wrong = src.flatMap((file) =>
      file.imports
        .filter((specifier) => isAsset(specifier) || target(file, specifier) === null)
        .filter((specifier) => {
          const places = PLACES.find(([pattern]) => pattern.test(specifier))?.[1] ?? [];
          return !places.some((place) => isIn(file.path, place));
        })
        .map((specifier) => `${file.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it("sees what it looks for", () => {
    const file = src.find(({ path }) => path === "src/decoding/generate.ts")!;
    const wrong: SourceFile = { ...file, imports: ["../engine/model.ts"] };
    expect(target(wrong, wrong.imports[0])).toBe("src/engine/model.ts");
    expect(layerOf(LAYERS, "src/engine/model.ts")).toBeGreaterThan(layerOf(LAYERS, file.path));
    expect(inexact("Math.exp(1); Math.sqrt(2) ** x; const { log } = Math; 2 ** 5; // Math.pow")).toEqual([
      "Math.exp",
      "**",
      "Math",
    ]);
  });
});

/** Uses of Math that may differ between engines, in order. `2 ** 26` is a constant, and exact. */
function inexact(text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && node.text === "Math") {
      const { parent } = node;
      const name = ts.isPropertyAccessExpression(parent) ? parent.name.text : null;
      if (name === null) found.push("Math");
      else if (INEXACT.test(name)) found.push(`Math.${name}`);
    }
    if (ts.isBinaryExpression(node) && isPower(node.operatorToken.kind)) {
      const constant = ts.isNumericLiteral(node.right) && node.left.getText() === "2";
      if (!constant) found.push("**");
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile("file.ts", text, ts.ScriptTarget.ES2022, true));
  return found;
}

function isPower(kind: ts.SyntaxKind): boolean {
  return kind === ts.SyntaxKind.AsteriskAsteriskToken || kind === ts.SyntaxKind.AsteriskAsteriskEqualsToken;
}

describe("arithmetic", () => {
  const exact = ["src/math.ts", "src/format", "src/backend", "src/decoding", "src/model", "src/engine"];
  it("uses nothing that engines compute differently, where rows and tokens are made", () => {
    const found = src
      .filter(({ path }) => exact.some((place) => isIn(path, place)))
      .flatMap(({ path, text }) => inexact(text).map((use) => `${path}: ${use}`));
    expect(found).toEqual([]);
  });
});

describe("files", () => {
  it("have fewer than 400 lines", () => {
    const long = [...src, ...assembly].filter(({ text }) => text.split("\n").length > 400);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  it("of src/index.ts export the public names and no others", () => {
    const { text } = src.find(({ path }) => path === "src/index.ts")!;
    const file = ts.createSourceFile("index.ts", text, ts.ScriptTarget.ES2022);
    const names = file.statements.flatMap((statement) => {
      if (!ts.isExportDeclaration(statement)) return [];
      const clause = statement.exportClause;
      expect(clause !== undefined && ts.isNamedExports(clause), "src/index.ts names what it exports").toBe(
        true,
      );
      return (clause as ts.NamedExports).elements.map((element) => element.name.text);
    });
    expect(names.sort()).toEqual(PUBLIC_NAMES);
  });
});
