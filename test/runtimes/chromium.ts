/**
 * Headless Chromium out of npm packages alone: the browser of `@sparticuz/chromium`, driven by `playwright-core`, with a
 * local server for the files of a test. Linux x64; `npm install --prefix test/runtimes` first. Vulkan is SwiftShader or, with
 * EDGEWISE_GPU=1, the machine's own.
 */
import { execFile } from "node:child_process";
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { extname, join, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { createBrotliDecompress } from "node:zlib";

const FOLDER = fileURLToPath(new URL("./", import.meta.url));
const require = createRequire(import.meta.url);
const execFileAsync = promisify(execFile);

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** The part of playwright's Page that is used here; its own types are there only when it is installed. */
export interface Page {
  goto(url: string): Promise<unknown>;
  /** Runs in the page; argument and result cross as JSON. */
  evaluate<A, R>(script: string | ((argument: A) => R | Promise<R>), argument?: A): Promise<R>;
  on(event: "console", listener: (message: { text(): string; type(): string }) => void): unknown;
  on(event: "pageerror", listener: (error: Error) => void): unknown;
}

interface Browser {
  version(): string;
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

export interface ChromiumOptions {
  /** Folders served by the first part of the path: `{ dist: "/x/dist" }` answers `/dist/...`. */
  folders?: Readonly<Record<string, string>>;
  /** Sends COOP and COEP, which gives the page SharedArrayBuffer. Default false. */
  isolated?: boolean;
  /** More command-line switches. */
  args?: readonly string[];
}

/** A running browser with one page open on `origin`. Closing it stops the server too. */
export interface Chromium extends AsyncDisposable {
  readonly version: string;
  readonly origin: string;
  readonly page: Page;
}

/** Whether the packages are there and can run on this machine. */
export function chromiumInstalled(): boolean {
  return (
    process.platform === "linux" &&
    process.arch === "x64" &&
    existsSync(join(FOLDER, "node_modules/@sparticuz/chromium")) &&
    existsSync(join(FOLDER, "node_modules/playwright-core"))
  );
}

/**
 * Starts the browser; the first time on a checkout it is unpacked, which takes some seconds.
 *
 *   await using chromium = await launchChromium({ folders: { dist: "dist" } });
 *   const simd = await chromium.page.evaluate(() => import("/dist/index.js").then(...));
 */
export async function launchChromium(options: ChromiumOptions = {}): Promise<Chromium> {
  if (!chromiumInstalled()) throw new Error("Chromium is not installed: npm install --prefix test/runtimes");
  const home = await unpackedBrowser();
  const playwright = await import(pathToFileURL(require.resolve("playwright-core")).href);
  const server = createServer((request, response) => respond(request, response, options));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const browser: Browser = await playwright.default.chromium.launch({
    executablePath: join(home, "chromium"),
    headless: true,
    env: {
      ...process.env,
      LD_LIBRARY_PATH: [join(home, "lib"), home, process.env.LD_LIBRARY_PATH].filter(Boolean).join(":"),
      ...(process.env.EDGEWISE_GPU === undefined && {
        VK_ICD_FILENAMES: join(home, "vk_swiftshader_icd.json"),
      }),
    },
    args: ["--headless=shell", "--no-sandbox", ...(options.args ?? [])],
  });
  const page = await browser.newPage();
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await page.goto(origin);
  return {
    version: browser.version(),
    origin,
    page,
    async [Symbol.asyncDispose]() {
      await browser.close();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Folder with the browser, its libraries and SwiftShader, unpacked once per version. */
export async function unpackedBrowser(): Promise<string> {
  const source = join(FOLDER, "node_modules/@sparticuz/chromium");
  const { version } = JSON.parse(await readFile(join(source, "package.json"), "utf8"));
  const home = join(FOLDER, `node_modules/.chromium-${version}`);
  if (existsSync(home)) return home;
  // Unpacked beside and renamed: another process never sees half a browser.
  const temporary = await mkdtemp(`${home}-`);
  try {
    const decompress = async (name: string, file: string) => {
      const compressed = createReadStream(join(source, "bin", name));
      await pipeline(compressed, createBrotliDecompress(), createWriteStream(join(temporary, file)));
    };
    await decompress("chromium.br", "chromium");
    await chmod(join(temporary, "chromium"), 0o755);
    for (const archive of ["al2023.tar", "swiftshader.tar"]) {
      // By way of a file: tar stops reading at the end mark, and a pipe that is not read to its end is an error.
      await decompress(`${archive}.br`, archive);
      await execFileAsync("tar", ["-xf", archive], { cwd: temporary });
      await rm(join(temporary, archive));
    }
    await rename(temporary, home);
  } catch (error) {
    await rm(temporary, { recursive: true });
    if (!existsSync(home)) throw error;
  }
  return home;
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: ChromiumOptions,
): Promise<void> {
  if (options.isolated) {
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
  }
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
  if (path === "/") {
    response.setHeader("content-type", CONTENT_TYPES[".html"]).end("<!doctype html><title>test</title>");
    return;
  }
  const [name, ...rest] = path.slice(1).split("/");
  const folder = options.folders?.[name];
  const file = folder === undefined ? null : resolve(folder, ...rest);
  const size = await stat(file ?? "").then(
    (info) => (info.isFile() ? info.size : null),
    () => null,
  );
  if (file === null || size === null || !file.startsWith(resolve(folder!) + sep)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {
    "content-type": CONTENT_TYPES[extname(file)] ?? "application/octet-stream",
    "content-length": size,
  });
  createReadStream(file).pipe(response);
}
