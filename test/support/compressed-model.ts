/** The embedded model with another head, as `compress-head` writes it. */
import { readFileSync } from "node:fs";
import { type CompressHeadOptions, compressHead } from "../../src/compress/compress-head.ts";
import { editGguf, openGguf } from "../../src/format/gguf-write.ts";

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url));

export const modules = { simd: new WebAssembly.Module(file("build/simd.wasm")) };
export const stories = new Uint8Array(file("models/edgewise-stories-q8_0.gguf"));

/** Calibrated in a hurry. */
export async function withHead(options: CompressHeadOptions): Promise<Uint8Array> {
  const edit = await compressHead(stories, modules, { states: 256, ...options });
  const source = await openGguf(async (from, to) => stories.subarray(from, to), stories.length);
  const pieces: Uint8Array[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(piece);
  return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
}
