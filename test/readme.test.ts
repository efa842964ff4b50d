/**
 * The snippets of the README and of docs/ do what they say. Languages: `ts` and `sh` are run, in the root; `sh server` with the service at
 * the address it names; `ts no-run` is type-checked only, `sh no-run` parsed only; `json` is a plan. The built package is what they get.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { transform } from "esbuild";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Server, startServer } from "../src/cli/serve.ts";
import { readPlan } from "../src/decoding/fuse.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const ADDRESS = "http://127.0.0.1:8787";

interface Snippet {
  /** As `README.md:12`. */
  title: string;
  language: string;
  code: string;
}

const PAGES = ["README.md", ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`)];
const pages = PAGES.map((name) => ({ name, text: readFileSync(join(ROOT, name), "utf8") }));
const readme = pages.map(({ text }) => text).join("\n");
const snippets: Snippet[] = pages.flatMap(({ name, text }) =>
  [...text.matchAll(/^```([a-z -]*)\n(.*?)^```$/gms)].map((match) => ({
    title: `${name}:${text.slice(0, match.index).split("\n").length}`,
    language: match[1],
    code: match[2],
  })),
);
const of = (...languages: string[]) => snippets.filter(({ language }) => languages.includes(language));

const built = existsSync(join(ROOT, "dist/cli/main.js"));
if (!built) console.log("skipped: dist/ is not built, which the README's snippets run on");

async function run(
  program: string,
  args: string[],
  environment: Record<string, string> = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    cwd: ROOT,
    env: { ...process.env, ...environment },
    timeout: 60_000,
  });
  return stdout;
}

describe("README", () => {
  it("has snippets in known languages only", () => {
    const languages = new Set(snippets.map(({ language }) => language));
    expect([...languages].sort()).toEqual(["", "json", "sh", "sh no-run", "sh server", "ts", "ts no-run"]);
  });

  it("names files and folders that exist", () => {
    const names = [...readme.matchAll(/`((?:bench|test|src|assembly|models)\/[\w./-]*|[\w-]+\.toml)`/g)];
    expect(names.map(([, name]) => name).filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
    expect(names.length).toBeGreaterThan(1);
    const layout = of("")[0].code;
    for (const [, folder] of layout.matchAll(/^(\w+)\//gm))
      expect(existsSync(join(ROOT, folder)), folder).toBe(true);
    for (const [, folder] of layout.matchAll(/^ {2}(\w+)\//gm)) {
      expect(existsSync(join(ROOT, "src", folder)), folder).toBe(true);
    }
  });

  it("links to pages and headings that exist", () => {
    const links = pages.flatMap(({ name, text }) =>
      [...text.matchAll(/\]\(([^):]+?)(?:#([\w-]+))?\)/g)].map(([, path, heading]) => ({
        name,
        path,
        heading,
      })),
    );
    expect(links.length).toBeGreaterThan(4);
    for (const { name, path, heading } of links) {
      const target = join(ROOT, dirname(name), path);
      expect(existsSync(target), `${path} in ${name}`).toBe(true);
      if (heading === undefined) continue;
      const headings = [...readFileSync(target, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
        title
          .toLowerCase()
          .replace(/[^\w -]/g, "")
          .replaceAll(" ", "-"),
      );
      expect(headings, `${path}#${heading} in ${name}`).toContain(heading);
    }
  });

  it("names scripts that package.json has", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const used = [...readme.matchAll(/npm (?:run ([\w:]+)|(start|test))/g)].map(
      ([, name, known]) => name ?? known,
    );
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(used));
  });
});

describe("a JSON snippet", () => {
  it.each(of("json"))("at $title is a plan", ({ code }) => {
    const plan = JSON.parse(code);
    expect(readPlan(plan).sources).toEqual(plan.sources);
  });
});

describe.skipIf(!built)("a TypeScript snippet", () => {
  it.each(of("ts", "ts no-run"))("at $title has no type errors", ({ code }) => {
    expect(typeErrors(code)).toEqual([]);
  });

  it("with a type error would be found", () => {
    expect(typeErrors('import { loadModel } from "edgewise";\nawait loadModel(7);\n')).toEqual([
      expect.stringContaining("Argument of type 'number'"),
    ]);
  });

  it.each(of("ts"))("at $title runs", async ({ code }) => {
    const { code: script } = await transform(code, { loader: "ts", format: "esm" });
    // As a script of the root, "edgewise" is the package itself.
    expect(await run(process.execPath, ["--input-type=module", "--eval", script])).toMatch(/[a-z]/);
  });
});

function typeErrors(code: string): string[] {
  const path = join(ROOT, "snippet.ts");
  const config = ts.readConfigFile(join(ROOT, "tsconfig.json"), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [path], include: [] }, ts.sys, ROOT);
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === path || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === path ? ts.createSourceFile(name, code, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  const program = ts.createProgram([path], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

describe.skipIf(!built)("a shell snippet", () => {
  let folder: string;
  let server: Server;
  beforeAll(async () => {
    // npx would link the checkout into its cache first; this is what it then finds.
    folder = await mkdtemp(join(tmpdir(), "edgewise-readme-"));
    const npx = join(folder, "npx");
    const script = `#!/bin/sh\n[ "$1" = edgewise ] || exit 9\nshift\nexec "${process.execPath}" "${ROOT}/dist/cli/main.js" "$@"\n`;
    await writeFile(npx, script);
    await chmod(npx, 0o755);
    server = await startServer({ port: 0 });
  });
  afterAll(async () => {
    await server?.close();
    await rm(folder, { recursive: true });
  });

  it.each(of("sh", "sh no-run", "sh server"))("at $title is well formed", async ({ code }) => {
    expect(await run("bash", ["-n", "-c", code])).toBe("");
  });

  it.each(of("sh", "sh server"))("at $title runs", async ({ code, language }) => {
    expect(code.includes(ADDRESS)).toBe(language === "sh server");
    const here = code.replaceAll(ADDRESS, server.url.origin);
    const output = await run("bash", ["-e", "-c", here], { PATH: `${folder}:${process.env.PATH}` });
    if (language === "sh server")
      expect(output).toMatch(/"(text|content)":"[^"]*[a-z]|^\{"(logits|scores|tokens|accepted)":/);
    else expect(output).toMatch(/[a-z]/);
  });
});
