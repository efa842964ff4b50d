import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { ApiKeys, type KeyOptions, parseKeys } from "../../../src/service/access/keys.ts";

const hashOf = (key: string) => `sha256:${createHash("sha256").update(key).digest("hex")}`;

describe("ApiKeys", () => {
  it("knows keys and hashes of keys, by name or by number", async () => {
    const keys = new ApiKeys([
      "plain-key-1",
      "alice:plain-key-2",
      hashOf("hashed-key-3"),
      `bob:${hashOf("hashed-key-4").toUpperCase()}`,
      { key: "plain-key-5", name: "carol@example.org", tokensPerMinute: 5 },
    ]);
    const names = ["plain-key-1", "plain-key-2", "hashed-key-3", "hashed-key-4", "plain-key-5"].map(
      async (key) => (await keys.find(key))?.name,
    );
    expect(await Promise.all(names)).toEqual(["key-1", "alice", "key-3", "bob", "carol@example.org"]);
    for (const key of ["", "plain-key", "alice", hashOf("hashed-key-3"), hashOf("plain-key-1")]) {
      expect(await keys.find(key)).toBeUndefined();
    }
  });

  it("gives limits of a key, and those of all where it has none", async () => {
    const keys = new ApiKeys(["plain-key-1", { key: "plain-key-2", concurrency: 2 }], {
      concurrency: 1,
      requestsPerMinute: 7,
    });
    expect((await keys.find("plain-key-1"))!.limits).toEqual({ concurrency: 1, requestsPerMinute: 7 });
    expect((await keys.find("plain-key-2"))!.limits).toEqual({ concurrency: 2, requestsPerMinute: 7 });
  });

  it("is open without keys", () => {
    expect(new ApiKeys([]).isOpen).toBe(true);
    expect(new ApiKeys(["plain-key-1"]).isOpen).toBe(false);
  });

  it.each<[unknown, string]>([
    [["short"], '"keys[0]" must have 8 to 512 characters'],
    [["ok-long-key", "white space"], '"keys[1]" must have 8 to 512 characters'],
    [["schlüssel-1"], '"keys[0]" must have'],
    [["k".repeat(513)], "got 513 characters"],
    [["sha256:abc"], '"keys[0]" must have 64 hexadecimal digits after "sha256:", got 3 characters'],
    [[`sha256:${"g".repeat(64)}`], '"keys[0]" must have 64 hexadecimal digits'],
    [["a b:long-enough"], '"keys[0].name" must have 1 to 64 letters'],
    [["a:long-enough", "a:other-long"], '"keys[1].name" must be unique, got "a" again'],
    [["long-enough", { key: "other-long", name: "key-1" }], '"keys[1].name" must be unique'],
    [[5], '"keys[0]" must be a key, or an object with key, got "number"'],
    [[null], '"keys[0]" must be a key'],
    [[{ name: "a" }], '"keys[0]" must be a key'],
    [[{ key: "long-enough", concurrency: 0 }], '"keys[0].concurrency" must be an integer from 1'],
    [[{ key: "long-enough", tokensPerMinute: "9" }], '"keys[0].tokensPerMinute" must be an integer'],
  ])("refuses %j", (keys, message) => {
    expect(() => new ApiKeys(keys as string[])).toThrow(message);
  });

  it("never tells a key it refuses", () => {
    for (const key of ["my secret key", "secret!", `secret:${"x".repeat(3)}`, "sha256:secret"]) {
      const tell = () => new ApiKeys([key]);
      expect(tell).toThrow();
      expect(tell).not.toThrow(/secret key|secret!|:xxx|:secret/);
    }
  });
});

describe("parseKeys", () => {
  it.each<[string, (string | KeyOptions)[]]>([
    ["", []],
    [" \n ", []],
    ["key-one-1, alice:key-two-2", ["key-one-1", "alice:key-two-2"]],
    ["# mine\nkey-one-1 # old\r\n\nalice:key-two-2\n", ["key-one-1", "alice:key-two-2"]],
    [' ["a", {"key": "b", "concurrency": 2}]', ["a", { key: "b", concurrency: 2 }]],
  ])("%j", (text, keys) => {
    expect(parseKeys(text)).toEqual(keys);
  });

  it("does not quote what it cannot read", () => {
    expect(() => parseKeys('["secret"')).toThrow(
      new TypeError("API keys that begin with [ must be a JSON array"),
    );
  });
});
