import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ByteReader } from "../../src/format/bytes.ts";
import { readGguf } from "../../src/format/gguf.ts";
import { createTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";

const folder = new URL("../../../shared/models/", import.meta.url);
const TEXT = "Hello world  <s> 1234 </s>";

/** Ids of `TEXT` that llama.cpp gives, without BOS. */
const files: [string, number[]][] = [
  ["edgewise-stories-q4_0", [1637, 1154, 33, 33, 61, 116, 63, 2193, 51, 52, 53, 33, 61, 48, 116, 63]],
  [
    "stories260K-f16",
    [346, 306, 414, 263, 304, 341, 410, 410, 504, 419, 505, 410, 475, 479, 472, 484, 410, 504, 492, 419, 505],
  ],
  [
    "stories3M-q8_0",
    [
      346, 2226, 1471, 3994, 3994, 4088, 4003, 4089, 3994, 4059, 4063, 4056, 4068, 3994, 4088, 4076, 4003,
      4089,
    ],
  ],
];

describe.each(files)("%s", (name, tokens) => {
  const file = new URL(`${name}.gguf`, folder);
  const isThere = existsSync(file);
  if (!isThere) console.log(`Skipped: ${name}.gguf is not in ../shared/models`);

  it.skipIf(!isThere)("gives llama.cpp's tokens from the file", async () => {
    const tokenizer = await open(file);
    expect(tokenizer.encode(TEXT)).toEqual([tokenizer.bos, ...tokens]);
    expect(tokenizer.decode(tokens).trimStart()).toBe(TEXT);
  });
});

async function open(file: URL): Promise<Tokenizer> {
  const { metadata } = await readGguf(ByteReader.from(readFileSync(file)));
  return createTokenizer(metadata);
}
