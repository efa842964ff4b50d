import type { Build } from "../src/backend/wasm/instantiate.ts";
import { UnsupportedError } from "../src/errors.ts";
import type { Missing } from "./report.ts";

/** What `open` gives, or null where this engine cannot run the build; why goes to `missing`. */
export async function ifSupported<T>(
  build: Build,
  missing: Missing[],
  open: () => T | Promise<T>,
): Promise<T | null> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    missing.push({ name: `edgewise ${build}`, reason: `${error.message}; Node 24 has it` });
    return null;
  }
}
