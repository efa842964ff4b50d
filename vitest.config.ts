import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Two workers: CI has two cores, and each worker holds its own Wasm memory.
    maxWorkers: 2,
  },
});
