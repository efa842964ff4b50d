/** wrangler.toml, with every setting that it shows as a comment: what somebody pastes must be right. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "./miniflare.ts";

it("is accepted by a dry run with all that it shows", async () => {
  const folder = await mkdtemp(join(tmpdir(), "edgewise-wrangler-"));
  try {
    await mkdir(join(folder, "weights"));
    await writeFile(join(folder, "weights/model.gguf"), "GGUF");
    const toml = await readFile(join(ROOT, "wrangler.toml"), "utf8");
    const shown = toml.replace(/^# (?=\[|[\w.]+ = )/gm, "");
    const config = shown.replace('main = "', `main = "${ROOT}`);
    expect(config).toContain("\n[[r2_buckets]]\n");
    await writeFile(join(folder, "wrangler.toml"), config);
    const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [wrangler, "deploy", "--dry-run", "--outdir", join(folder, "out")],
      {
        cwd: folder,
        env: { ...process.env, WRANGLER_SEND_METRICS: "false", WRANGLER_LOG_PATH: folder, CI: "1" },
      },
    );
    expect(stdout + stderr).not.toMatch(/warning|error/i);
    for (const binding of ["MODELS", "ASSETS", "SESSIONS", "RATE_LIMITER", "MODEL", "MAX_RUNNING", "PLANS"]) {
      expect(stdout).toContain(`env.${binding} `);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
