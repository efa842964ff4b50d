import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseCommand } from "../../src/cli/arguments.ts";
import { accessVariables, asServer } from "../../src/cli/serve-access.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-access-"));
});
afterAll(() => rm(folder, { recursive: true }));

const file = async (text: string) => {
  const path = join(folder, "keys.txt");
  await writeFile(path, text);
  return path;
};

describe("options of serve", () => {
  it("say who may use it, and how much", () => {
    const line =
      "serve --api-key alice:key-of-alice --api-key key-of-bob,key-of-carol --api-keys-file keys.txt --cors https://a.example " +
      "--requests-per-minute 60 --tokens-per-minute 1000 --concurrency 2 --max-tokens 500 --log";
    expect(parseCommand(line.split(" "))).toMatchObject({
      options: {
        access: {
          apiKeys: ["alice:key-of-alice", "key-of-bob,key-of-carol"],
          apiKeyFile: "keys.txt",
          corsOrigins: "https://a.example",
          requestsPerMinute: 60,
          tokensPerMinute: 1000,
          concurrency: 2,
          maxTokens: 500,
        },
        log: true,
      },
    });
    expect(() => parseCommand(["serve", "--max-tokens", "0"])).toThrow(
      '"--max-tokens" must be an integer from 1',
    );
  });
});

describe("accessVariables", () => {
  it("are the options, with the keys of a file beside them", async () => {
    const apiKeyFile = await file("# ours\nalice:key-of-alice\n");
    const access = { apiKeys: ["key-of-bob,key-of-carol"], apiKeyFile, maxTokens: 5, corsOrigins: "*" };
    expect(await accessVariables(access, { API_KEYS: "key-of-nobody" })).toEqual({
      API_KEYS: ["key-of-bob", "key-of-carol", "alice:key-of-alice"],
      MAX_TOKENS: 5,
      CORS_ORIGINS: "*",
    });
  });

  it("take the environment's keys where there are no others", async () => {
    expect(await accessVariables({}, { API_KEYS: "key-of-dave" })).toEqual({ API_KEYS: ["key-of-dave"] });
    expect(await accessVariables({}, {})).toEqual({ API_KEYS: [] });
  });

  it("refuse an empty file, which would open the service, and malformed keys, without telling them", async () => {
    await expect(accessVariables({ apiKeyFile: await file("# none yet\n") })).rejects.toThrow(
      '"--api-key-file" must have at least one key',
    );
    const wrong = accessVariables({ apiKeys: ["s3cr3t"] });
    await expect(wrong).rejects.toThrow('"keys[0]" must have 8 to 512 characters');
    await expect(wrong).rejects.not.toThrow("s3cr3t");
  });
});

describe("asServer", () => {
  it("adds a key of its own to those there are, and none to an open service", async () => {
    const { variables, headers } = asServer({ API_KEYS: ["key-of-bob"], MAX_TOKENS: 5 });
    const [, own] = (variables as { API_KEYS: { key: string }[] }).API_KEYS;
    expect(headers).toEqual({ authorization: `Bearer ${own.key}` });
    expect(own.key.length).toBeGreaterThan(60);
    expect(asServer({ API_KEYS: [] })).toEqual({ variables: {}, headers: {} });
  });
});
