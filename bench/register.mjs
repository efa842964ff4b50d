/**
 * Lets Node 20 run the TypeScript files here and in `src` as they are: `node --import ./bench/register.mjs file.ts`.
 * Node 24, Deno and Bun strip the types themselves and do not need this.
 */
import { register } from "node:module";

register("./strip-types.mjs", import.meta.url);
