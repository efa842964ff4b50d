import { describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { COMMAND_NAMES, COMMANDS, helpText, optionsOf } from "../../src/cli/usage.ts";
import { fusePreset } from "../../src/decoding/fuse.ts";

type Generate = Extract<Command, { name: "generate" }>["options"];

function generate(...args: string[]): Generate {
  const command = parseCommand(["generate", ...args]);
  expect(command.name).toBe("generate");
  return (command as { options: Generate }).options;
}

describe("parseCommand", () => {
  it("reads all options of generate", () => {
    const long =
      "-m file.gguf -p Once -n 60 --temperature 0.5 --top-k 3 --top-p 0.5 --min-p 0.1 --repetition-penalty 1.1 --seed 9 " +
      "--stop A --stop B --ignore-eos --json --chat --context 99 --backend reference --build simd";
    expect(generate(...long.split(" "))).toEqual({
      model: "file.gguf",
      prompt: "Once",
      promptFile: undefined,
      chat: true,
      json: true,
      load: { backend: "reference", build: "simd", contextLength: 99 },
      decode: {
        maxTokens: 60,
        temperature: 0.5,
        topK: 3,
        topP: 0.5,
        minP: 0.1,
        repetitionPenalty: 1.1,
        seed: 9,
        stop: ["A", "B"],
        ignoreEos: true,
      },
    });
  });

  it("has the defaults that the help tells", () => {
    const { decode, model, prompt, json, chat, texts, draft } = generate();
    expect(decode).toEqual({
      seed: undefined,
      temperature: 0.8,
      topK: 40,
      topP: 0.95,
      minP: 0.05,
      repetitionPenalty: 1,
      maxTokens: undefined,
      stop: [],
      ignoreEos: false,
    });
    expect([model, prompt, json, chat]).toEqual([undefined, "", false, false]);
    expect([texts, draft]).toEqual([undefined, undefined]);
    for (const value of ["0.8", "40", "0.95", "0.05", "1"]) {
      expect(helpText("generate")).toContain(`(default: ${value})`);
    }
  });

  it.each([
    [["-p", "- a list"], "- a list"],
    [["-p", "--"], "--"],
    [["-p", "-1"], "-1"],
    [["-p", ""], ""],
    [["-p", "--unknown"], "--unknown"],
    [["--prompt=--json"], "--json"],
    [["-pOnce"], "Once"],
    [["-p", "a", "-p", "b"], "b"],
    [["-p", "line\nline\u{1f600}"], "line\nline\u{1f600}"],
  ])("takes the prompt of %j as it is", (args, prompt) => {
    expect(generate(...args).prompt).toBe(prompt);
  });

  it("reads how many texts are asked for", () => {
    expect(generate("--n", "3", "-n", "7")).toMatchObject({
      texts: { n: 3, bestOf: 3 },
      decode: { maxTokens: 7 },
    });
    expect(generate("--best-of", "4").texts).toEqual({ n: 1, bestOf: 4 });
    expect(generate("--n", "2", "--best-of", "4").texts).toEqual({ n: 2, bestOf: 4 });
    expect(generate("--json", "--logprobs", "0").decode.logProbabilities).toBe(0);
  });

  it("reads inspect and serve", () => {
    expect(parseCommand(["inspect", "a.gguf"])).toEqual({
      name: "inspect",
      options: { model: "a.gguf", json: false },
    });
    expect(parseCommand(["inspect", "--json", "--context", "8", "--", "-a.gguf"])).toEqual({
      name: "inspect",
      options: { model: "-a.gguf", json: true, contextLength: 8 },
    });
    expect(parseCommand(["serve"])).toEqual({ name: "serve", options: {} });
    expect(parseCommand("serve -m a.gguf --port 0 --host 0.0.0.0 --context 9".split(" "))).toEqual({
      name: "serve",
      options: { model: "a.gguf", port: 0, host: "0.0.0.0", contextLength: 9 },
    });
  });

  it("reads score", () => {
    expect(parseCommand("score -f a.txt -m b.gguf --context 9 --json".split(" "))).toEqual({
      name: "score",
      options: {
        file: "a.txt",
        model: "b.gguf",
        scores: [{ name: "nll", options: {} }],
        contextLength: 9,
        json: true,
      },
    });
    const names = "energy:temperature=2,nll,renyi-entropy:order=0.5,kl";
    const options = ["score", "-f", "a", "--against", "b", "--scores", names];
    expect(parseCommand(options)).toMatchObject({
      options: {
        against: "b",
        scores: [
          { name: "energy", options: { temperature: 2 } },
          { name: "nll", options: {} },
          { name: "renyi-entropy", options: { order: 0.5 } },
          { name: "kl", options: {} },
        ],
      },
    });
  });

  it("reads plans", () => {
    const line = "--plan plan.json --source base=a.gguf --source x=b=c.gguf --prefix x=Once --explain";
    expect(generate(...line.split(" "))).toMatchObject({
      plan: {
        file: "plan.json",
        sources: new Map([
          ["base", "a.gguf"],
          ["x", "b=c.gguf"],
        ]),
        prefixes: new Map([["x", "Once"]]),
      },
      explain: true,
    });
    const preset = generate("--plan", "preset:dlf:solver=continuous,limit=1.5", "--json", "--audit");
    expect(preset.plan!.plan).toEqual(fusePreset("dlf", { solver: "continuous", limit: 1.5 }));
    expect(preset.decode.audit).toBe(true);
    expect(generate("--plan", "preset:cad").plan!.plan).toEqual(fusePreset("cad"));
  });

  it("reads help and version, whatever else is there", () => {
    expect(parseCommand(["--help"])).toEqual({ name: "help" });
    expect(parseCommand(["--version"])).toEqual({ name: "version" });
    for (const name of COMMAND_NAMES)
      expect(parseCommand([name, "x", "-h"])).toEqual({ name: "help", of: name });
  });

  it.each([
    [
      "",
      'A command must be one of compress-head, generate, inspect, rows, score, serve, got ""; see edgewise --help',
    ],
    [
      "toString",
      'A command must be one of compress-head, generate, inspect, rows, score, serve, got "toString"; see edgewise --help',
    ],
    ["generate --toString", 'Option "--toString" is unknown; see edgewise generate --help'],
    ["generate -x", 'Option "-x" is unknown; see edgewise generate --help'],
    ["inspect a --top-k 1", 'Option "--top-k" is unknown; see edgewise inspect --help'],
    ["generate --no-json", 'Option "--no-json" is unknown; see edgewise generate --help'],
    ["generate a b", 'Arguments of generate must have options only, got "a" "b"'],
    ["inspect", 'Arguments of inspect must be "edgewise inspect FILE", got nothing'],
    ["inspect a b", 'Arguments of inspect must be "edgewise inspect FILE", got "a" "b"'],
    ["generate --prompt", '"--prompt" must have a value, got nothing'],
    [
      "generate -p --json",
      '"--prompt" must have a value, got the option "--json"; write --prompt=--json to mean it',
    ],
    ["generate -p -n 5", '"--prompt" must have a value, got the option "-n"; write --prompt=-n to mean it'],
    ["generate --json=yes", '"--json" must have no value, got "yes"'],
    ["generate -p a -f b", '"--prompt" and "--prompt-file" must not be given both'],
    ["generate -n many", '"--max-tokens" must be an integer, got "many"'],
    ["generate -n 1.5", '"--max-tokens" must be an integer, got "1.5"'],
    ["generate -n=", '"--max-tokens" must be an integer, got "="'],
    ["generate --max-tokens=", '"--max-tokens" must be an integer, got ""'],
    ["generate -n -1", '"--max-tokens" must be an integer from 0 to 2147483647, got -1'],
    ["generate --temperature NaN", '"--temperature" must be a number, got "NaN"'],
    ["generate --temperature -0.1", '"--temperature" must be a number from 0 to 100, got -0.1'],
    ["generate --top-p 0", '"--top-p" must be above 0 and at most 1, got 0'],
    ["generate --top-p 1.1", '"--top-p" must be a number from 0 to 1, got 1.1'],
    ["generate --min-p 2", '"--min-p" must be a number from 0 to 1, got 2'],
    ["generate --top-k -2", '"--top-k" must be an integer from 0 to 2147483647, got -2'],
    ["generate --repetition-penalty 0", '"--repetition-penalty" must be a number from 0.01 to 100, got 0'],
    [
      "generate --seed 9007199254740992",
      '"--seed" must be an integer from 0 to 9007199254740991, got 9007199254740992',
    ],
    ["generate --stop=", '"--stop[0]" must not be empty'],
    [`generate${" --stop a".repeat(17)}`, '"--stop" must have at most 16 texts, got 17'],
    ["generate --n 0", '"--n" must be an integer from 1 to 64, got 0'],
    ["generate --n 3 --best-of 2", '"--best-of" must be an integer from 3 to 64, got 2'],
    ["generate --json --logprobs 257", '"--logprobs" must be an integer from 0 to 256, got 257'],
    ["generate --logprobs 2", '"--logprobs" needs "--json" beside it'],
    ["generate -f - --pipeline -", '"--prompt-file" and "--pipeline" must not both be standard input'],
    [
      "generate --temp --top-p 1",
      '"--temp" must have a value, got the option "--top-p"; write --temp=--top-p to mean it',
    ],
    ["generate --backend gpu", '"--backend" must be one of wasm, reference, webgpu, auto, got "gpu"'],
    ["generate --build fast", '"--build" must be one of auto, simd, relaxed, got "fast"'],
    ["generate --context 0", '"--context" must be an integer from 1 to 2147483647, got 0'],
    ["generate --source a=b", '"--source" needs "--plan" beside it'],
    ["generate --explain", '"--explain" needs "--plan" beside it'],
    ["generate --plan p.json --audit", '"--audit" needs "--json" beside it'],
    ["generate --plan p.json -m a.gguf", '"--model" must be left out beside "--plan", whose models are'],
    ["generate --plan p.json --source a", '"--source" must be like base=model.gguf, got "a"'],
    ["generate --plan p.json --source =a", '"--source" must be like base=model.gguf, got "=a"'],
    ["generate --plan p.json --source a=", '"--source" must be like base=model.gguf, got "a="'],
    ["generate --plan p --source a=b --source a=c", '"--source" must name each source once, got "a" again'],
    ["generate --plan p --prefix a=b", '"--prefix a=" needs "--source a=FILE" beside it'],
    ["generate --plan preset:", '"--plan preset:" must be one of align-distil, amu, '],
    ["generate --plan preset:toString", 'got "toString"'],
    [
      "generate --plan preset:dlf:limit",
      '"--plan" must have options like alpha=0.5 after the preset, got "limit"',
    ],
    [
      "generate --plan preset:dlf:limit=a",
      '"--plan preset:dlf options.limit" must be of kind number, got string',
    ],
    ["generate --plan preset:dlf:alpha=1", '"--plan preset:dlf options" must be of base, expert, anti'],
    ["generate --plan - -f -", '"--prompt-file" and "--plan" must not both be standard input'],
    ["score", '"--file" must be given: the text to score'],
    ["score -f - --plan -", '"--plan" and "--file" must not both be standard input'],
    ["score -f a --scores perplexity", '"--scores" must be of nll, rank, '],
    ["score -f a --scores nan", 'got "nan"'],
    ["score -f a --scores p-kl", 'got "p-kl"'],
    ["score -f a --scores=", '"--scores" must be names like nll,energy:temperature=2, got ""'],
    ["score -f a --scores nll,nll", '"--scores" must name each score once, got "nll" again'],
    ["score -f a --scores kl", '"--scores kl" needs a second model beside it, "--against FILE"'],
    [
      "score -f a --scores temperature=2",
      '"--scores" must be names like nll,energy:temperature=2, got "temperature=2"',
    ],
    [
      "score -f a --scores energy:temperature=0",
      '"--scores energy.temperature" must be a number from 0.001 to 1000, got 0',
    ],
    ["score -f a --scores energy:tau=1", '"--scores energy" may have "temperature", got "tau"'],
    ["score -f a --scores jei-gate", '"--scores jei-gate.maxProbability" must be a number, got undefined'],
    ["serve --port 65536", '"--port" must be an integer from 0 to 65535, got 65536'],
    ["serve --runtime deno", '"--runtime" must be one of workerd, node, got "deno"'],
    ["serve file.gguf", 'Arguments of serve must have options only, got "file.gguf"'],
  ])("refuses %s", (line, message) => {
    expect(() => parseCommand(line.split(" "))).toThrow(message);
    expect(() => parseCommand(line.split(" "))).toThrow(/^[^\n]*[^.\n]$/);
  });

  it("refuses nothing at all", () => {
    expect(() => parseCommand([])).toThrow("got none");
  });
});

describe("helpText", () => {
  it("lists the commands, and every option of each", () => {
    for (const name of COMMAND_NAMES) {
      expect(helpText()).toContain(COMMANDS[name].summary);
      for (const option of Object.keys(optionsOf(name))) expect(helpText(name)).toContain(`--${option}`);
    }
  });

  it("groups the options of generate by theme", () => {
    const titles = helpText("generate")
      .split("\n")
      .filter((line) => /^[A-Z]\w+$/.test(line));
    expect(titles).toEqual(["Prompt", "Sampling", "Speculation", "Output", "Fusion", "Model"]);
  });

  it("names every alias once at most, and none that is an option", () => {
    for (const name of COMMAND_NAMES) {
      const options = optionsOf(name);
      const names = Object.entries(options).flatMap(([long, { aliases = [] }]) => [long, ...aliases]);
      expect(new Set(names).size).toBe(names.length);
      const total = COMMANDS[name].groups.reduce((sum, group) => sum + Object.keys(group.options).length, 0);
      expect(Object.keys(options).length).toBe(total);
    }
  });

  it("fits a terminal", () => {
    for (const name of [undefined, ...COMMAND_NAMES]) {
      expect(
        Math.max(
          ...helpText(name)
            .split("\n")
            .map((line) => line.length),
        ),
      ).toBeLessThanOrEqual(100);
    }
  });
});
