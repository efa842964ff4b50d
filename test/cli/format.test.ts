/** `edgewise generate --json-schema` and `--regex`, within this process. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Command, parseCommand } from "../../src/cli/arguments.ts";
import { generate } from "../../src/cli/generate.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "edgewise-format-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function run(...line: string[]): Promise<string> {
  const command = parseCommand(["generate", "-p", "Once", "-n", "120", "--seed", "3", ...line]);
  let text = "";
  const { options } = command as Extract<Command, { name: "generate" }>;
  const { signal } = new AbortController();
  await generate(options, { out: (part) => (text += part), error: () => {}, signal });
  return text;
}

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

describe("a text of a form", () => {
  it("is JSON under the schema of a file", async () => {
    const schema = {
      type: "object",
      properties: { age: { type: "integer", minimum: 1, maximum: 9 } },
      required: ["age"],
    };
    const text = await run("--json-schema", await file("schema.json", JSON.stringify(schema)));
    expect(JSON.parse(text).age).toBeGreaterThan(0);
  });

  it("is matched by an expression, each of several", async () => {
    const text = await run("--regex", "(Tom|Lily) (ran|sat)\\.", "--n", "2");
    expect(text).toMatch(/^(Tom|Lily) (ran|sat)\.\n─+\n(Tom|Lily) (ran|sat)\.\n$/);
  });

  it("is asked for rightly", async () => {
    await expect(run("--regex", "(")).rejects.toThrow(
      '"--regex" must be a regular expression: a group must end with )',
    );
    const path = await file("wrong.json", "{");
    await expect(run("--json-schema", path)).rejects.toThrow(`Cannot read "${path}": `);
    const no = await file("no.json", '{"not": {}}');
    await expect(run("--json-schema", no)).rejects.toThrow(`"${no}" must allow at least one text`);
    const odd = await file("odd.json", '{"unevaluatedItems": false}');
    await expect(run("--json-schema", odd)).rejects.toThrow(`"${odd}.unevaluatedItems" is not supported`);
    expect(() => parseCommand(["generate", "--regex", "a", "--json-schema", "x"])).toThrow(
      '"--json-schema" and "--regex" must not be given both',
    );
    expect(() => parseCommand(["generate", "--regex", "a", "--ignore-eos"])).toThrow(
      '"--ignore-eos" must be left out beside "--regex", which ends by itself',
    );
  });
});
