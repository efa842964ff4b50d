import { describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { helpText } from "../../src/cli/usage.ts";
import { DRAFTER_NAMES } from "../../src/decoding/drafter/registry.ts";
import { VERIFIERS } from "../../src/decoding/verify/registry.ts";

type Generate = Extract<Command, { name: "generate" }>["options"];

function generate(line: string): Generate {
  const command = parseCommand(["generate", ...line.split(" ")]);
  return (command as { options: Generate }).options;
}

describe("the speculation options of generate", () => {
  it.each(["none", ...DRAFTER_NAMES])("know the drafter %s", (draft) => {
    expect(generate(`--draft ${draft}`)).toMatchObject({ draft });
    expect(helpText("generate")).toContain(draft);
  });

  it("take a draft model by path or URL", () => {
    expect(generate("--draft model:https://a.b/c.gguf")).toMatchObject({
      draftModel: "https://a.b/c.gguf",
    });
    expect(generate("--draft model:a.gguf").draft).toBeUndefined();
    expect(generate("--draft model:a.gguf --draft-tree").decode.speculation).toEqual({ tree: true });
  });

  it("take a length and a prediction", () => {
    expect(generate("--draft suffix --draft-max 7").decode.speculation).toEqual({ gamma: 7, tree: false });
    expect(generate("--prediction old.ts --draft-max 64")).toMatchObject({
      predictionFile: "old.ts",
      decode: { speculation: { gamma: 64 } },
    });
    expect(generate("--draft suffix --draft-fixed").decode.speculation).toEqual({
      tree: false,
      adaptive: false,
    });
    expect(generate("--draft suffix").decode).not.toHaveProperty("speculation");
  });

  it.each(Object.keys(VERIFIERS))("know the verifier %s", (verifier) => {
    const needed: Readonly<Record<string, string>> = {
      threshold: ":threshold=0.5",
      reverse: ":threshold=0.5",
      "target-only-threshold": ":acceptThreshold=0.9,singleThreshold=0.9",
    };
    const { decode } = generate(`--draft model:a.gguf --verifier ${verifier}${needed[verifier] ?? ""}`);
    if (verifier in needed) expect(decode.verifier).toMatchObject({ verifier });
    else expect(decode.verifier).toBe(verifier);
  });

  it.each([
    ["typical:epsilon=0.1,delta=0.3", { verifier: "typical", epsilon: 0.1, delta: 0.3 }],
    ["typical:delta=.5", { verifier: "typical", delta: 0.5 }],
    ["threshold:threshold=0.9", { verifier: "threshold", threshold: 0.9 }],
    ["relaxed:topK=2,boundary=151668", { verifier: "relaxed", topK: 2, boundary: 151_668 }],
  ])("read the verifier %s with its options", (text, policy) => {
    expect(generate(`--draft suffix --verifier ${text}`).decode.verifier).toEqual(policy);
  });

  it.each([
    [
      "--draft guess",
      `"--draft" must be one of none, self, ${DRAFTER_NAMES.join(", ")}, model:FILE, got "guess"`,
    ],
    [
      "--draft toString",
      `"--draft" must be one of none, self, ${DRAFTER_NAMES.join(", ")}, model:FILE, got "toString"`,
    ],
    ["--draft model:", '"--draft" must name a file after "model:", got nothing'],
    ["--draft-max 3", '"--draft-max" needs "--draft" or "--prediction" beside it'],
    ["--draft-fixed", '"--draft-fixed" needs "--draft" or "--prediction" beside it'],
    ["--verifier token", '"--verifier" needs "--draft" or "--prediction" beside it'],
    ["--draft suffix --draft-max 0", '"--draft-max" must be an integer from 1 to 64, got 0'],
    ["--draft suffix --draft-tree", '"--draft-tree" needs a draft model beside it, "--draft model:FILE"'],
    [
      "--draft suffix --verifier best",
      `"--verifier" must be one of ${Object.keys(VERIFIERS).join(", ")}, got "best"`,
    ],
    ["--draft suffix --verifier token:x=1", '"--verifier token" must have no options, got "x"'],
    [
      "--draft suffix --verifier typical:epsilom=1",
      '"--verifier typical" may have the options epsilon, delta, got "epsilom"',
    ],
    [
      "--draft suffix --verifier typical:",
      '"--verifier typical" may have the options epsilon, delta, got ""',
    ],
    [
      "--draft suffix --verifier typical:epsilon",
      '"--verifier typical" must have a number after "epsilon=", got "epsilon"',
    ],
    [
      "--draft suffix --verifier typical:epsilon=much",
      '"--verifier typical" must have a number after "epsilon=", got "epsilon=much"',
    ],
    [
      "--draft suffix --verifier typical:epsilon=2",
      '"--verifier typical:epsilon" must be a number from 0 to 1, got 2',
    ],
    [
      "--draft suffix --verifier threshold",
      '"--verifier threshold:threshold" must be a number, got undefined',
    ],
    [
      "--draft suffix --verifier target-only-threshold:acceptThreshold=1",
      '"--verifier target-only-threshold:singleThreshold" must be a number, got undefined',
    ],
    [
      "--prediction a --verifier traversal",
      '"--verifier traversal" must have a draft model, "--draft model:FILE"',
    ],
    [
      "--draft recycling-tree --verifier threshold:threshold=1",
      '"--verifier threshold" must have a drafter of chains, got "recycling-tree"',
    ],
    ["-f - --prediction -", '"--prompt-file" and "--prediction" must not both be standard input'],
  ])("refuse %s", (line, message) => {
    expect(() => generate(line)).toThrow(message);
    expect(() => generate(line)).toThrow(/^[^\n]*[^.\n]$/);
  });
});
