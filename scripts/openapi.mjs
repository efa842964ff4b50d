/** Writes build/openapi.js, the description of the service that it serves itself. Called by `npm run build`. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
const folder = await mkdtemp(join(tmpdir(), "edgewise-openapi-"));
try {
  // Node 20 runs no TypeScript by itself.
  const outfile = join(folder, "build.mjs");
  const entryPoints = [join(ROOT, "src/service/openapi/build.ts")];
  await build({ entryPoints, outfile, bundle: true, format: "esm", platform: "node" });
  const { openApiModule } = await import(pathToFileURL(outfile).href);
  await mkdir(join(ROOT, "build"), { recursive: true });
  await writeFile(join(ROOT, "build/openapi.js"), openApiModule(version));
} finally {
  await rm(folder, { recursive: true });
}
