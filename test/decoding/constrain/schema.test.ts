/** Keywords that limit each other, held against a validator that reads them one by one. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compileGrammar } from "../../../src/decoding/constrain/grammar.ts";
import { ByteReader } from "../../../src/format/bytes.ts";
import { readGguf } from "../../../src/format/gguf.ts";
import { createTokenizer } from "../../../src/model/tokenizer.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { allowedBy, anyOf, spelledVocabulary } from "../../support/spelled-vocabulary.ts";
import { isValid } from "./json-schema-validator.ts";
import { randomSchema, tangledSchema, when } from "./random-schema.ts";

const target = spelledVocabulary();
const { vocab, end } = target;
const compile = (jsonSchema: unknown) => compileGrammar({ jsonSchema }, target);

/** A text drawn from the masks alone; null if it did not end in time. */
function draw(jsonSchema: unknown, random: Random, { vocab, tokenizer, end } = target): string | null {
  const constraint = compileGrammar({ jsonSchema }, { vocab, tokenizer }).open();
  const bytes: number[] = [];
  for (let i = 0; i < 200; i++) {
    const allowed = allowedBy(constraint.mask(), vocab);
    if (allowed.length === 0) expect.fail(`dead end: ${JSON.stringify(jsonSchema)} ${bytes}`);
    const token = anyOf(allowed, { vocab, tokenizer, end }, random);
    constraint.accept(token);
    if (token === end) return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    bytes.push(...tokenizer.bytes(token));
  }
  return null;
}

function takes(jsonSchema: unknown, value: unknown): boolean {
  const constraint = compile(jsonSchema).open();
  try {
    for (const byte of new TextEncoder().encode(JSON.stringify(value))) constraint.accept(byte);
    constraint.accept(end);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** A vocabulary that a model really has. */
async function realVocabulary() {
  const file = new URL("../../../models/edgewise-stories-q8_0.gguf", import.meta.url);
  const tokenizer = createTokenizer((await readGguf(ByteReader.from(readFileSync(file)))).metadata);
  return { vocab: tokenizer.vocab, tokenizer, end: [...tokenizer.endTokens][0] };
}

describe("random schemas", () => {
  it("are kept in the tokens of a real vocabulary", async () => {
    const real = await realVocabulary();
    const random = createRandom(104);
    let ended = 0;
    for (let i = 0; i < 15; i++) {
      const jsonSchema = tangledSchema(random);
      try {
        compileGrammar({ jsonSchema }, real);
      } catch {
        continue;
      }
      for (let text = 0; text < 3; text++) {
        const drawn = draw(jsonSchema, random, real);
        if (drawn === null) continue;
        ended++;
        expect(isValid(JSON.parse(drawn), jsonSchema), JSON.stringify({ jsonSchema, drawn })).toBe(true);
      }
    }
    expect(ended).toBeGreaterThan(15);
  });

  it.each([1, 2])("never let an invalid text end, nor leave it without a way on: %j", (seed) => {
    const random = createRandom(100 + seed);
    const refused: string[] = [];
    let ended = 0;
    for (let i = 0; i < 80; i++) {
      const jsonSchema = i % 4 === 0 ? randomSchema(random) : tangledSchema(random);
      try {
        compile(jsonSchema);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        if (!(error as Error).message.includes("at least one text")) refused.push((error as Error).message);
        continue;
      }
      for (let text = 0; text < 4; text++) {
        const drawn = draw(jsonSchema, random);
        if (drawn === null) continue;
        ended++;
        const told = JSON.stringify({ jsonSchema, drawn });
        expect(isValid(JSON.parse(drawn), jsonSchema), told).toBe(true);
      }
    }
    expect(ended).toBeGreaterThan(170);
    expect(refused.length, refused.join("\n")).toBeLessThan(10);
  });
});

/** Every object of some properties, in their order, and every array of up to `most` items. */
const objectsOf = (names: readonly string[], values: readonly unknown[]): unknown[] =>
  names.reduce<object[]>(
    (all, name) => all.concat(all.flatMap((one) => values.map((value) => ({ ...one, [name]: value })))),
    [{}],
  );
const arraysOf = (values: readonly unknown[], most: number): unknown[] => {
  let last: unknown[][] = [[]];
  const all = [...last];
  for (let length = 0; length < most; length++) {
    last = last.flatMap((one) => values.map((value) => [...one, value]));
    all.push(...last);
  }
  return all;
};

const NAMES = ["a", "b", "c"];
const OBJECTS = objectsOf(NAMES, [1, "x", null]);
const ARRAYS = arraysOf([1, 2, 3, "x"], 4);
const NUMBERS = [...Array(81).keys()].map((i) => i - 40).concat([0.5, 0.25, -1.75, 2.1, 7.7, 100, 250, 1e6]);
const STRINGS = arraysOf(["a", "b", "é"], 3).map((letters) => (letters as string[]).join(""));
const MIXED = [
  ...OBJECTS.slice(0, 9),
  ...ARRAYS.slice(0, 9),
  ...NUMBERS.slice(38, 44),
  ...STRINGS.slice(0, 5),
];
const WORLD = [...MIXED, true, false, null];

const closed = (more: object) => ({
  type: "object",
  properties: { a: { enum: [1, "x", null] }, b: { enum: [1, "x", null] }, c: { enum: [1, "x", null] } },
  additionalProperties: false,
  ...more,
});
const list = (more: object) => ({ type: "array", items: { enum: [1, 2, 3, "x"] }, ...more });
const any = { type: ["object", "array", "string", "number", "boolean", "null"], additionalProperties: true };

describe("a schema allows exactly what is valid", () => {
  it.each<[string, unknown[], object[]]>([
    [
      "objects",
      OBJECTS,
      [
        closed({}),
        closed({ required: ["b"] }),
        closed({ not: { required: ["a"] } }),
        closed({ not: { required: ["a", "b"] } }),
        closed({ not: { properties: { a: { const: 1 } } } }),
        closed({ not: { properties: { a: { const: 1 } }, required: ["a"] } }),
        closed({ not: { const: { a: 1, b: "x" } } }),
        closed({ not: { enum: [{}, { a: 1 }, { b: null, c: "x" }] } }),
        closed({ enum: [{ a: 1 }, { a: 2 }, { c: null }, {}] }),
        closed(when({ required: ["a"] }, { required: ["b"] })),
        closed(
          when(
            { properties: { a: { const: "x" } }, required: ["a"] },
            { required: ["b"] },
            { properties: { c: { type: "null" } } },
          ),
        ),
        closed(when({ minProperties: 2 }, { not: { required: ["c"] } })),
        closed({ dependentRequired: { a: ["b"], b: ["c"] } }),
        closed({ dependencies: { a: ["c"], b: { properties: { c: { const: 1 } } } } }),
        closed({ dependentSchemas: { a: { properties: { b: false } } } }),
        closed({ not: { dependentRequired: { a: ["b"] } } }),
        closed({ minProperties: 1 }),
        closed({ minProperties: 2 }),
        closed({ maxProperties: 1 }),
        closed({ minProperties: 2, maxProperties: 2, required: ["c"] }),
        closed({ not: { maxProperties: 2 } }),
        closed({ oneOf: [{ required: ["a"] }, { required: ["b"] }] }),
        closed({ oneOf: [{ required: ["a"] }, { required: ["b"] }, { required: ["c"] }] }),
        {
          oneOf: [
            closed({ properties: { a: { enum: [1, "x"] }, b: { type: "string" } }, required: ["a"] }),
            closed({ properties: { b: { type: "string" }, c: { type: "null" } }, required: ["b"] }),
            closed({ properties: { a: { enum: ["x", null] }, c: { type: "null" } }, required: ["a"] }),
          ],
        },
        {
          ...closed({}),
          allOf: [1, "x", null].map((kind) =>
            when({ properties: { a: { const: kind } } }, { required: kind ? ["b"] : ["c"] }),
          ),
          required: ["a"],
        },
        closed({ not: { oneOf: [{ required: ["a"] }, { required: ["b"] }] } }),
        closed({ anyOf: [{ required: ["a"] }, { properties: { b: { const: 1 } } }] }),
        closed({ propertyNames: { enum: ["a", "c"] } }),
        closed({ propertyNames: { pattern: "[bc]" } }),
        closed({ propertyNames: { not: { const: "b" } } }),
        closed({ patternProperties: { "^[ab]$": { type: "string" } } }),
        closed({ not: { patternProperties: { "^[ab]$": { type: "string" } } } }),
        closed({ not: { additionalProperties: false, properties: { a: true } } }),
        closed({
          oneOf: [{ additionalProperties: false, properties: { a: true, b: true } }, { required: ["a"] }],
        }),
        {
          type: "object",
          patternProperties: { "^[ab]$": { type: "integer" } },
          additionalProperties: { type: "string" },
        },
        {
          type: "object",
          patternProperties: { a: { const: 1 }, "^.$": { type: ["integer", "null"] } },
          additionalProperties: false,
        },
        { type: "object", additionalProperties: { enum: [1, "x"] }, maxProperties: 2 },
        { type: "object", properties: { a: true, b: true }, required: ["a"], minProperties: 3 },
        {
          type: "object",
          additionalProperties: { enum: [1, "x"] },
          minProperties: 1,
          propertyNames: { pattern: "^[bc]$" },
        },
      ],
    ],
    [
      "arrays",
      ARRAYS,
      [
        list({}),
        list({ uniqueItems: true }),
        list({ uniqueItems: true, minItems: 2, maxItems: 3 }),
        list({ contains: { type: "string" } }),
        list({ contains: { const: 2 }, minContains: 2 }),
        list({ contains: { const: 2 }, maxContains: 1 }),
        list({ contains: { type: "integer" }, minContains: 1, maxContains: 2, minItems: 3 }),
        list({ contains: { const: 2 }, minContains: 0 }),
        list({ not: { contains: { const: 2 } } }),
        list({ not: { contains: { const: 2 }, minContains: 2 } }),
        list({ not: { items: { type: "integer" } } }),
        list({ not: { minItems: 2 } }),
        list({ not: { const: [1, 2] } }),
        list({ not: { prefixItems: [{ const: 1 }, { type: "integer" }] } }),
        list({ enum: [[1, 2], [], ["y"], [3, 3, 3]] }),
        list(when({ contains: { const: "x" } }, { maxItems: 2 }, { minItems: 2 })),
        list({ oneOf: [{ contains: { const: 1 } }, { contains: { const: 2 } }] }),
        { type: "array", prefixItems: [{ const: 1 }], items: { enum: [2, "x"] }, contains: { const: "x" } },
        list({ allOf: [{ contains: { const: 1 } }, { contains: { const: 2 }, maxContains: 1 }] }),
        {
          allOf: [
            list({ maxItems: 3 }),
            { prefixItems: [{ const: 1 }, { const: 2 }], items: { type: "integer" } },
          ],
        },
      ],
    ],
    [
      "numbers",
      NUMBERS,
      [
        { type: "integer", multipleOf: 7 },
        { type: "integer", multipleOf: 250 },
        { type: "integer", multipleOf: 12, minimum: -30 },
        { type: "integer", not: { multipleOf: 3 } },
        { type: "number", multipleOf: 0.5 },
        { type: "number", multipleOf: 0.7 },
        { type: "number", multipleOf: 2.5, exclusiveMaximum: 10 },
        { type: "number", not: { multipleOf: 1 } },
        { type: "number", not: { type: "integer" } },
        { type: "number", not: { enum: [0, 3, 0.5, -1.75] } },
        { type: "number", not: { minimum: -3, maximum: 3 } },
        { type: "number", not: { exclusiveMinimum: 0 } },
        { type: "number", oneOf: [{ multipleOf: 2 }, { multipleOf: 3 }] },
        { type: "number", allOf: [{ multipleOf: 2 }, { multipleOf: 3 }] },
        { type: "number", ...when({ minimum: 0 }, { multipleOf: 5 }, { maximum: -10 }) },
        { enum: NUMBERS.slice(30), minimum: 1, multipleOf: 0.5 },
      ],
    ],
    [
      "strings",
      STRINGS,
      [
        { type: "string", pattern: "^a", not: { pattern: "b$" } },
        { type: "string", allOf: [{ pattern: "a" }, { pattern: "b" }] },
        { type: "string", not: { pattern: "é" } },
        { type: "string", not: { const: "ab" } },
        { type: "string", not: { enum: ["", "a", "éé"] }, maxLength: 2 },
        { type: "string", not: { minLength: 2 } },
        { type: "string", not: { maxLength: 1 } },
        { enum: STRINGS, minLength: 2, pattern: "b" },
        { type: "string", oneOf: [{ pattern: "a" }, { maxLength: 1 }] },
        { type: "string", ...when({ pattern: "^a" }, { minLength: 2 }, { maxLength: 2 }) },
      ],
    ],
    [
      "values of any type",
      WORLD,
      [
        { not: { type: "string" }, ...any },
        { not: { type: ["object", "integer"] }, ...any },
        { not: { enum: [1, "a", null, [], {}, { a: 1 }, true] }, ...any },
        { not: { const: false }, ...any },
        { not: { not: { type: "array" } }, ...any },
        { oneOf: [{ type: "integer" }, { type: "number" }, { type: "string" }] },
        { ...when({ type: "string" }, { minLength: 1 }, { type: ["number", "null"] }), ...any },
        { enum: WORLD, not: { type: ["boolean", "object"] } },
        { not: false, ...any },
      ],
    ],
  ])("of %s", (_, world, schemas) => {
    const wrong = schemas.flatMap((schema) =>
      world
        .filter((value) => takes(schema, value) !== isValid(value, schema))
        .map((value) => JSON.stringify({ schema, value, isValid: isValid(value, schema) })),
    );
    expect(wrong).toEqual([]);
  });
});

describe("blanks", () => {
  it("never come without end, wherever they may stand", () => {
    const blanks = [32, 9, 10, 13];
    const schemas = [
      { type: "object" },
      closed({ minProperties: 1 }),
      list({ contains: { const: "x" } }),
      true,
    ];
    const random = createRandom(7);
    let longest = 0;
    for (let i = 0; i < 60; i++) {
      const constraint = compile(schemas[i % schemas.length]).open();
      for (let step = 0, run = 0; step < 150; step++) {
        const allowed = allowedBy(constraint.mask(), vocab);
        const blank = blanks.filter((byte) => allowed.includes(byte));
        const token =
          blank.length > 0 && random.below(9) > 0
            ? blank[random.below(blank.length)]
            : anyOf(allowed, target, random);
        if (token === end) break;
        constraint.accept(token);
        const isInside = isInString(constraint);
        run = blanks.includes(token) && !isInside ? run + 1 : 0;
        longest = Math.max(longest, run);
      }
    }
    expect(longest).toBe(21);
  });
});

/** A quotation mark and a letter may follow only within a string. */
function isInString(constraint: { mask(): Uint32Array }): boolean {
  return allowedBy(constraint.mask(), vocab).includes("z".charCodeAt(0));
}

describe("what cannot be kept", () => {
  it.each<[unknown, string]>([
    [
      { type: "array", items: { type: "string" }, uniqueItems: true },
      '"jsonSchema.uniqueItems" is not supported but for',
    ],
    [
      { type: "object", additionalProperties: true, minProperties: 2 },
      '"jsonSchema.minProperties" is not supported above the 1',
    ],
    [{ not: { uniqueItems: true } }, '"jsonSchema.not.uniqueItems" is not supported under "not"'],
    [{ type: "string", not: { format: "date" } }, '"jsonSchema.not.format" is not supported under "not"'],
    [{ type: "object", not: { additionalProperties: { type: "null" } } }, "is not supported under"],
    [
      { type: "integer", multipleOf: 99991 },
      '"jsonSchema.multipleOf" is not supported with so large a divisor',
    ],
    [
      { type: "array", minItems: 3000, contains: { const: 1 } },
      '"jsonSchema.contains" is not supported where it takes more',
    ],
    [{ unevaluatedProperties: false }, '"jsonSchema.unevaluatedProperties" is not supported in a schema'],
    [{ dependentRequired: { a: [1] } }, '"jsonSchema.dependentRequired.a.a" must be an array of texts'],
    [{ patternProperties: [] }, '"jsonSchema.patternProperties" must be an object, got "[]"'],
    [{ patternProperties: { "(": true } }, '"jsonSchema.patternProperties.(" must be a regular expression'],
    [{ not: { not: 5 } }, '"jsonSchema.not.not" must be a JSON schema, got "5"'],
    [{ not: {} }, '"jsonSchema" must allow at least one text'],
    [{ type: "integer", not: { multipleOf: 1 } }, '"jsonSchema" must allow at least one text'],
  ])("is refused: %j", (jsonSchema, message) => {
    expect(() => compile(jsonSchema)).toThrow(message);
  });
});
