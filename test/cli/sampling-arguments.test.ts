import { describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { createPipeline } from "../../src/decoding/pipeline.ts";
import { openPipeline } from "../../src/engine/options.ts";

type Generate = Extract<Command, { name: "generate" }>["options"];

function generate(line: string): Generate {
  const command = parseCommand(["generate", ...line.split(" ").filter((word) => word !== "")]);
  return (command as { options: Generate }).options;
}

/** The steps that a command line asks for, but for the grammar's. */
function steps(line: string) {
  return openPipeline(generate(line).decode, [9]).steps.filter(({ step }) => step !== "bitmask");
}

/** No step but those that are asked for. */
const PLAIN = "--preset edgewise";

describe("the sampling options of generate", () => {
  it.each([
    ["--temperature 0.5", { step: "temperature", temperature: 0.5 }],
    ["--temp 0.5", { step: "temperature", temperature: 0.5 }],
    [
      "--temp 1 --dynatemp-range 0.5 --dynatemp-exp 2",
      { step: "dynamic-temperature", temperature: 1, range: 0.5, exponent: 2 },
    ],
    ["--top-k 3", { step: "top-k", k: 3 }],
    ["--top-p 0.5", { step: "top-p", p: 0.5 }],
    ["--min-p 0.1", { step: "min-p", p: 0.1 }],
    ["--typical 0.4", { step: "typical", p: 0.4 }],
    ["--typical-p 0.4", { step: "typical", p: 0.4 }],
    ["--top-nsigma 1.5", { step: "top-n-sigma", n: 1.5 }],
    ["--top-n-sigma 1.5", { step: "top-n-sigma", n: 1.5 }],
    ["--top-h 0.4", { step: "top-h", h: 0.4 }],
    ["--epsilon-cutoff 0.001", { step: "epsilon-cutoff", epsilon: 0.001 }],
    ["--eta-cutoff 0.002", { step: "eta-cutoff", epsilon: 0.002 }],
    ["--max-probability 0.9", { step: "confidence-limit", maxProbability: 0.9, minEntropy: 0 }],
    ["--min-entropy 0.5", { step: "confidence-limit", maxProbability: 1, minEntropy: 0.5 }],
    ["--xtc-probability 0.5", { step: "xtc", probability: 0.5, threshold: 0.1 }],
    ["--xtc-probability 0.5 --xtc-threshold 0.2", { step: "xtc", probability: 0.5, threshold: 0.2 }],
    ["--mirostat 1 --mirostat-tau 4", { step: "mirostat", tau: 4, eta: 0.1 }],
    ["--mirostat 2 --mirostat-ent 4 --mirostat-lr 0.2", { step: "mirostat-2", tau: 4, eta: 0.2 }],
    ["--repetition-penalty 1.1", { step: "repetition-penalty", penalty: 1.1 }],
    ["--repeat-penalty 1.1 --repeat-last-n 7", { step: "repetition-penalty", penalty: 1.1, lastN: 7 }],
    ["--repeat-penalty 1.1 --repeat-last-n -1", { step: "repetition-penalty", penalty: 1.1, lastN: 0 }],
    ["--presence-penalty -0.5", { step: "presence-penalty", penalty: -0.5 }],
    ["--frequency-penalty 0.3", { step: "frequency-penalty", penalty: 0.3 }],
    ["--no-repeat-ngram 3", { step: "no-repeat-ngram", size: 3 }],
    ["--dry-multiplier 0.8", { step: "dry", multiplier: 0.8, base: 1.75, allowedLength: 2, lastN: 0 }],
    [
      "--dry-multiplier 0.8 --dry-base 2 --dry-allowed-length 3 --dry-penalty-last-n 64",
      { step: "dry", multiplier: 0.8, base: 2, allowedLength: 3, lastN: 64 },
    ],
    ["--logit-bias 7=-5", { step: "logit-bias", bias: { 7: -5 } }],
    ["--logit-bias 7-5 --logit-bias 8+1.5", { step: "logit-bias", bias: { 7: -5, 8: 1.5 } }],
    ["--min-tokens 4", { step: "min-tokens", count: 4, endTokens: [9] }],
  ])("%s is one step", (line, step) => {
    const made = steps(`${PLAIN} ${line}`);
    expect(made).toEqual([expect.objectContaining(step)]);
  });

  it.each([
    "--temp 1 --top-k 0 --top-p 1 --min-p 0 --typical 1 --repeat-penalty 1 --presence-penalty 0",
    "--mirostat 0",
    "--dry-multiplier 0",
    "--dry-multiplier 0.8 --dry-penalty-last-n 0",
    "--xtc-probability 0",
    "--xtc-probability 0.5 --xtc-threshold 0.6",
    "--repeat-penalty 1.5 --repeat-last-n 0",
  ])("%s is off, as in llama.cpp", (line) => {
    expect(steps(`${PLAIN} ${line}`)).toEqual([]);
  });

  it("have llama.cpp's values where nothing else is asked for", () => {
    expect(steps("")).toMatchObject([
      { step: "temperature", temperature: 0.8 },
      { step: "top-k", k: 40 },
      { step: "top-p", p: 0.95 },
      { step: "min-p", p: 0.05 },
    ]);
    expect(steps("--top-k 7")).toMatchObject([{}, { k: 7 }, { p: 0.95 }, { p: 0.05 }]);
  });

  it("have no default cut-offs beside mirostat, unless they are asked for", () => {
    expect(steps("--mirostat 2")).toMatchObject([
      { step: "temperature", temperature: 0.8 },
      { step: "mirostat-2", tau: 5, eta: 0.1 },
    ]);
    expect(steps("--mirostat 2 --top-k 9").map(({ step }) => step)).toEqual([
      "temperature",
      "top-k",
      "mirostat-2",
    ]);
    expect(steps("--mirostat 0")).toEqual(steps(""));
  });

  it("have the preset's values and order where one is named", () => {
    expect(steps("--preset hf")).toMatchObject([{ step: "top-k", k: 50, ties: "all" }]);
    expect(steps("--preset edgewise")).toEqual([]);
    expect(steps("--preset llamacpp --temp 0.5").map(({ step }) => step)).toEqual([
      "top-k",
      "top-p",
      "min-p",
      "temperature",
    ]);
  });

  it("leave texts that end DRY's repetitions to the tokenizer", () => {
    expect(generate("--dry-multiplier 0.8").dryBreakers).toEqual(["\n", ":", '"', "*"]);
    expect(
      generate("--dry-multiplier 1 --dry-sequence-breaker a --dry-sequence-breaker b").dryBreakers,
    ).toEqual(["a", "b"]);
    expect(generate("--dry-multiplier 1 --dry-sequence-breaker none").dryBreakers).toEqual([]);
    expect(generate("--dry-multiplier 0").dryBreakers).toBeUndefined();
    expect(generate("").dryBreakers).toBeUndefined();
  });

  it("leave all to a file of steps", () => {
    const { pipelineFile, decode } = generate("--pipeline steps.json --seed 5");
    expect(pipelineFile).toBe("steps.json");
    expect(openPipeline(decode).steps).toEqual(createPipeline([{ step: "bitmask" }]).steps);
    expect(decode.seed).toBe(5);
  });

  it.each([
    ["--temp 101", '"--temp" must be a number from 0 to 100, got 101'],
    ["--temp -1 --temperature -2", '"--temperature" must be a number from 0 to 100, got -2'],
    ["--repeat-penalty 0", '"--repeat-penalty" must be a number from 0.01 to 100, got 0'],
    ["--typical 0", '"--typical" must be above 0 and at most 1, got 0'],
    ["--typical-p 2", '"--typical-p" must be a number from 0 to 1, got 2'],
    ["--top-nsigma -1", '"--top-nsigma" must be a number from 0 to 1000, got -1'],
    ["--xtc-probability 0.5 --xtc-threshold 2", '"--xtc-threshold" must be a number from 0 to 1, got 2'],
    ["--xtc-probability 2", '"--xtc-probability" must be a number from 0 to 1, got 2'],
    ["--xtc-threshold 0.2", '"--xtc-threshold" needs "--xtc-probability" beside it'],
    ["--dry-base 2", '"--dry-base" needs "--dry-multiplier" beside it'],
    ["--dry-multiplier 101", '"--dry-multiplier" must be a number from 0 to 100, got 101'],
    ["--dry-multiplier 1 --dry-base 0", '"--dry-base" must be a number from 1 to 100, got 0'],
    [
      "--dry-multiplier 1 --dry-allowed-length 0",
      '"--dry-allowed-length" must be an integer from 1 to 2147483647, got 0',
    ],
    [
      "--dry-multiplier 1 --dry-penalty-last-n -2",
      '"--dry-penalty-last-n" must be an integer from -1 to 2147483647, got -2',
    ],
    ["--mirostat 3", '"--mirostat" must be one of 0, 1, 2, got "3"'],
    ["--mirostat-ent 3", '"--mirostat-ent" needs "--mirostat" beside it'],
    ["--mirostat 1 --mirostat-tau -1", '"--mirostat-tau" must be a number from 0 to 100, got -1'],
    ["--mirostat 2 --mirostat-lr 2", '"--mirostat-lr" must be a number from 0 to 1, got 2'],
    ["--dynatemp-exp 2", '"--dynatemp-exp" needs "--dynatemp-range" beside it'],
    ["--dynatemp-range -1", '"--dynatemp-range" must be a number from 0 to 100, got -1'],
    ["--dynatemp-range 1 --dynatemp-exp 0", '"--dynatemp-exp" must be a number from 0.01 to 100, got 0'],
    ["--max-probability 2", '"--max-probability" must be a number from 1e-9 to 1, got 2'],
    ["--min-entropy -1", '"--min-entropy" must be a number from 0 to 20, got -1'],
    ["--no-repeat-ngram 257", '"--no-repeat-ngram" must be an integer from 0 to 256, got 257'],
    ["--repeat-last-n -2", '"--repeat-last-n" must be an integer from -1 to 2147483647, got -2'],
    ["--min-tokens -1", '"--min-tokens" must be an integer from 0 to 2147483647, got -1'],
    ["--logit-bias the=1", '"--logit-bias" must be a token id and a number, as in 15043=-5, got "the=1"'],
    ["--logit-bias 7", '"--logit-bias" must be a token id and a number, as in 15043=-5, got "7"'],
    ["--logit-bias 7=", '"--logit-bias" must be a token id and a number, as in 15043=-5, got "7="'],
    ["--logit-bias 7=x", '"--logit-bias" must be a token id and a number, as in 15043=-5, got "7=x"'],
    ["--logit-bias 7=9999999", '"--logit-bias" must be a number from -1000000 to 1000000, got 9999999'],
    ["--preset mine", '"--preset" must be one of edgewise, llamacpp, vllm, hf, webllm, got "mine"'],
    [
      "--preset webllm --top-k 3",
      '"--top-k" must be left out with preset "webllm", which has no step for it',
    ],
    [
      "--pipeline a.json --temp 1",
      '"--temp" must be left out beside "--pipeline", which says all that is done to a row',
    ],
    [
      "--pipeline a.json --preset hf",
      '"--preset" must be left out beside "--pipeline", which says all that is done to a row',
    ],
    ["--pipeline a.json --seed -1", '"--seed" must be an integer from 0 to 9007199254740991, got -1'],
  ])("%s is refused by its name", (line, message) => {
    expect(messageOf(() => generate(line))).toBe(message);
  });
});

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing was thrown";
}
