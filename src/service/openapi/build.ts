/** What `npm run build` writes to build/openapi.js: a module, so that it loads alike in Node, Deno, Bun and workerd. */
import { openApi } from "./document.ts";
import { page } from "./page.ts";

export function openApiModule(version: string): string {
  const document = openApi(version);
  return [
    "// Made by scripts/openapi.mjs from src/service/openapi.",
    `export const documentJson = ${JSON.stringify(JSON.stringify(document))};`,
    `export const documentPage = ${JSON.stringify(page(document))};`,
    "",
  ].join("\n");
}
