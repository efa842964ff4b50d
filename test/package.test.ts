/** What is published: the files, the entries of every platform, the types, and the Wasm. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { beforeAll, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

const built = existsSync(join(ROOT, "dist/node.js"));
if (!built) console.log("skipped: dist/ is not built, so there is nothing to publish");

/** npm of this run where there is one; npx vitest has none. */
function npm(...args: string[]) {
  const script = process.env.npm_execpath;
  const [command, ...first] = script?.endsWith("npm-cli.js") ? [process.execPath, script] : ["npm"];
  return run(command, [...first, ...args], { cwd: ROOT, maxBuffer: 1 << 26 });
}

describe.skipIf(!built)("the packed files", () => {
  let paths: string[];
  let bytes: number;
  beforeAll(async () => {
    const { stdout } = await npm("pack", "--dry-run", "--json", "--ignore-scripts");
    const packed = JSON.parse(stdout);
    // An array up to npm 11, an object by package name later.
    const { files, size } = (Array.isArray(packed) ? packed : Object.values(packed))[0];
    paths = files.map(({ path }: { path: string }) => path);
    bytes = size;
  });

  it("are what it takes to run, and nothing else", () => {
    const folders = new Set(paths.map((path) => (path.includes("/") ? path.split("/")[0] : path)));
    expect([...folders].sort()).toEqual([
      "LICENSE",
      "README.md",
      "build",
      "dist",
      "docs",
      "models",
      "package.json",
    ]);
    expect(paths).toEqual(expect.arrayContaining(["build/simd.wasm", "build/relaxed.wasm"]));
    expect(paths).toContain("models/edgewise-stories-q8_0.gguf");
    expect(paths.filter((path) => /(^|\/)(test|bench|node_modules)\//.test(path))).toEqual([]);
    expect(bytes).toBeLessThan(10e6);
  });

  it("hold the file behind every export and command", () => {
    const targets = [...targetsOf(manifest.exports), ...Object.values<string>(manifest.bin)];
    const missing = targets.map((target) => target.replace("./", "")).filter((path) => !paths.includes(path));
    expect(missing).toEqual([]);
    expect(targets.length).toBeGreaterThan(8);
  });

  it("need no package at run time that is not a dependency", () => {
    // Asked for when `edgewise serve` is called, or WebGPU, with a message where they are not installed.
    const names = new Set(["miniflare", "esbuild", "webgpu"]);
    for (const path of paths.filter((name) => /^dist\/.*\.js$/.test(name))) {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(ROOT, path), "utf8"), true, true);
      for (const { fileName: specifier } of importedFiles) {
        if (/^(\.|node:)/.test(specifier)) continue;
        names.add(specifier.split("/", specifier[0] === "@" ? 2 : 1).join("/"));
      }
    }
    // Whoever serves on Node, or decodes there on WebGPU, installs the adapter; nobody else needs it.
    const optional = ["esbuild", "miniflare", ...Object.keys(manifest.peerDependencies)];
    expect([...names].sort()).toEqual([...Object.keys(manifest.dependencies), ...optional].sort());
  });
});

describe.skipIf(!built)("the entries", () => {
  const resolved = async (specifier: string, ...conditions: string[]) => {
    const script = `console.log(import.meta.resolve(${JSON.stringify(specifier)}))`;
    const flags = conditions.map((condition) => `--conditions=${condition}`);
    return (
      await run(process.execPath, [...flags, "--input-type=module", "-e", script], { cwd: ROOT })
    ).stdout.trim();
  };
  const url = (path: string) => pathToFileURL(join(ROOT, path)).href;

  it.each([
    ["edgewise", [], "dist/node.js"],
    ["edgewise", ["workerd"], "dist/workerd.js"],
    ["edgewise/core", [], "dist/index.js"],
    ["edgewise/service", [], "dist/service/app.js"],
    ["edgewise/simd.wasm", [], "build/simd.wasm"],
    ["edgewise/relaxed.wasm", [], "build/relaxed.wasm"],
    ["edgewise/package.json", [], "package.json"],
  ])("%s under %j is %s", async (specifier, conditions, path) => {
    expect(await resolved(specifier, ...conditions)).toBe(url(path));
    expect(existsSync(join(ROOT, path))).toBe(true);
  });

  it.each([
    [["deno"], "./dist/node.js"],
    [["bun"], "./dist/node.js"],
    [["browser"], "./dist/web.js"],
    [["worker", "workerd"], "./dist/workerd.js"],
  ])("edgewise under %j is %s", (conditions, path) => {
    expect(targetFor(manifest.exports["."], [...conditions, "default"])).toBe(path);
  });

  it("do not open what is inside", async () => {
    await expect(resolved("edgewise/dist/math.js")).rejects.toThrow("ERR_PACKAGE_PATH_NOT_EXPORTED");
  });

  it("load a model by the package's name", async () => {
    const script = `
      import { loadModel } from "edgewise";
      const model = await loadModel("models/edgewise-stories-q4_0.gguf");
      let text = "";
      for await (const piece of model.generate("Once", { maxTokens: 5, temperature: 0 })) text += piece.text;
      model.close();
      console.log(JSON.stringify({ text, architecture: model.architecture }));
    `;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT });
    expect(JSON.parse(stdout)).toEqual({ text: expect.stringMatching(/[a-z]/), architecture: "llama" });
  });

  it("fetch and compile nothing when they are imported", async () => {
    const script = `
      globalThis.fetch = WebAssembly.compile = WebAssembly.Module = () => { throw new Error("touched"); };
      await import("edgewise");
      await import("edgewise/core");
      await import("edgewise/service");
      await import(${JSON.stringify(url("dist/web.js"))});
      console.log("imported");
    `;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT });
    expect(stdout).toBe("imported\n");
  });

  it("have types", () => {
    for (const entry of Object.values<Record<string, string | Record<string, string>>>(manifest.exports)) {
      if (typeof entry !== "object") continue;
      expect(Object.keys(entry)[0], "types come first, or TypeScript does not look for them").toBe("types");
      const types = typeof entry.types === "string" ? [entry.types] : Object.values(entry.types);
      for (const path of types) expect(readFileSync(join(ROOT, path), "utf8")).toMatch(/export/);
    }
  });

  it("have a command that says how it is run", () => {
    const command = readFileSync(join(ROOT, manifest.bin.edgewise), "utf8");
    expect(command.split("\n")[0]).toBe("#!/usr/bin/env node");
    // npm makes it executable when it links it, not when it is built anew.
    if (process.platform !== "win32")
      expect(statSync(join(ROOT, manifest.bin.edgewise)).mode & 0o111).toBe(0o111);
  });
});

describe.each(["simd", "relaxed"])("%s.wasm", (name) => {
  const bytes = readFileSync(join(ROOT, `build/${name}.wasm`));

  it("has at most 64 KiB", () => {
    console.log(`${name}.wasm: ${bytes.length} bytes`);
    expect(bytes.length).toBeLessThanOrEqual(65_536);
  });

  it.skipIf(!WebAssembly.validate(bytes))("imports nothing", async () => {
    const module = await WebAssembly.compile(bytes);
    expect(WebAssembly.Module.imports(module)).toEqual([]);
    const started = performance.now();
    const { exports } = await WebAssembly.instantiate(module, {});
    console.log(`${name}.wasm: instantiated in ${(performance.now() - started).toFixed(2)} ms`);
    expect(exports.memory).toBeInstanceOf(WebAssembly.Memory);
  });

  it("has no import section", () => {
    // Also where the engine does not compile it: sections are an id, a length and that many bytes.
    const ids: number[] = [];
    for (let at = 8; at < bytes.length; ) {
      ids.push(bytes[at++]);
      let length = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        length |= (byte & 127) << shift;
        if (byte < 128) break;
      }
      at += length;
    }
    expect(ids).toContain(10);
    expect(ids).not.toContain(2);
  });
});

/** The paths of an exports map, at any depth. */
function targetsOf(entry: unknown): string[] {
  return typeof entry === "string" ? [entry] : Object.values(entry as object).flatMap(targetsOf);
}

/** What a resolver with these conditions takes: the first that matches, in the map's order. */
function targetFor(entry: unknown, conditions: readonly string[]): string | undefined {
  if (typeof entry === "string") return entry;
  for (const [condition, value] of Object.entries(entry as object)) {
    const target = conditions.includes(condition) ? targetFor(value, conditions) : undefined;
    if (target !== undefined) return target;
  }
  return undefined;
}
