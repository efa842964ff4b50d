import { describe, expect, it } from "vitest";
import * as z from "zod";
import { compileGrammar, type GrammarSpec } from "../../../src/decoding/constrain/grammar.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { allowedBy, anyOf, spelledVocabulary } from "../../support/spelled-vocabulary.ts";
import { randomSchema } from "./random-schema.ts";

const target = spelledVocabulary();
const { tokenizer, vocab, end } = target;

/** A text drawn from the masks alone; null if it did not end in time. Every mask must leave something. */
function draw(spec: GrammarSpec, random: Random, most = 400): string | null {
  const constraint = compileGrammar(spec, target).open();
  const bytes: number[] = [];
  for (let i = 0; i < most; i++) {
    const allowed = allowedBy(constraint.mask(), vocab);
    expect(allowed.length, JSON.stringify({ spec, sofar: String.fromCharCode(...bytes) })).toBeGreaterThan(0);
    expect(constraint.onlyToken()).toBe(allowed.length === 1 ? allowed[0] : null);
    const token = anyOf(allowed, target, random);
    constraint.accept(token);
    if (token === end) return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    bytes.push(...tokenizer.bytes(token));
  }
  return null;
}

/** Whether all of a text, and then its end, is allowed, one byte at a time. */
function takes(spec: GrammarSpec, text: string): boolean {
  const constraint = compileGrammar(spec, target).open();
  try {
    for (const byte of new TextEncoder().encode(text)) constraint.accept(byte);
    constraint.accept(end);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const schema = (jsonSchema: unknown): GrammarSpec => ({ jsonSchema });

describe("texts under a schema", () => {
  it("are those that clients make of zod, by their own validators", () => {
    const random = createRandom(62);
    const Node: z.ZodType = z.lazy(() => z.object({ value: z.int(), kids: z.array(Node).max(2) }));
    const kinds = [
      z.object({
        mail: z.email(),
        at: z.iso.datetime(),
        day: z.iso.date(),
        time: z.iso.time(),
        id: z.uuid(),
      }),
      z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("a"), n: z.number().min(0).max(1) }),
        z.object({ kind: z.literal("b"), list: z.array(z.string()).min(1) }),
      ]),
      z.object({ maybe: z.object({ deep: z.string().nullable() }).nullable(), rest: z.boolean().optional() }),
      z.record(z.enum(["x", "y"]), z.number()),
      z.record(z.string(), z.int().positive()),
      z.tuple([z.string().regex(/^[a-c]{2}$/), z.number().multipleOf(0.01)]),
      z.object({ tree: Node }),
      z.intersection(z.object({ a: z.string() }), z.object({ b: z.int().gte(3).lte(5) })),
    ];
    for (const kind of kinds) {
      const drawn = Array.from({ length: 8 }, () => draw(schema(z.toJSONSchema(kind)), random)).filter(
        (text) => text !== null,
      );
      expect(drawn.length, JSON.stringify(z.toJSONSchema(kind))).toBeGreaterThan(2);
      for (const text of drawn) kind.parse(JSON.parse(text));
    }
  });

  it("end as soon as they are complete", () => {
    const constraint = compileGrammar(schema({ type: "object", properties: {} }), target).open();
    for (const byte of new TextEncoder().encode("{}")) constraint.accept(byte);
    expect(constraint.onlyToken()).toBe(end);
    constraint.accept(end);
    expect(allowedBy(constraint.mask(), vocab)).toEqual([]);
    expect(() => constraint.accept(end)).toThrow(RangeError);
  });

  it.each<[unknown, string[], string[]]>([
    [
      { type: "integer", minimum: -3, maximum: 12 },
      ["-3", "0", "9", "12"],
      ["-4", "13", "1.0", "01", "-0", ""],
    ],
    [
      { type: "number", exclusiveMinimum: 0.25, maximum: 1.5 },
      ["0.26", "0.250001", "1", "1.50"],
      ["0.25", "1.51", "2", "-1"],
    ],
    [{ type: "number", maximum: -0.5 }, ["-0.5", "-0.50", "-12"], ["-0.49", "0", "1"]],
    [{ type: "integer", multipleOf: 7, minimum: 1, maximum: 30 }, ["7", "28"], ["0", "8", "35"]],
    [{ type: "integer", format: "int32" }, ["2147483647", "-2147483648"], ["2147483648"]],
    [
      { type: "string", minLength: 2, maxLength: 3 },
      ['"ab"', '"é日\u{1f600}"', '"\\n\\u00e9"'],
      ['"a"', '"abcd"', '"\\ud800a"'],
    ],
    [{ type: "string", pattern: "^a" }, ['"a"', '"ab\\n"'], ['"ba"', '""']],
    [{ type: "string", pattern: "b{2}", maxLength: 3 }, ['"abb"', '"bb"'], ['"ab"', '"abbc"']],
    [
      { type: "string", format: "date" },
      ['"2024-02-28"', '"2024-02-29"', '"2000-02-29"', '"1999-12-31"', '"2025-04-30"'],
      ['"2024-02-30"', '"24-01-01"', '"2023-02-29"', '"1900-02-29"', '"2025-04-31"', '"2025-13-01"'],
    ],
    [
      { type: "string", format: "duration" },
      ['"P1Y2M10DT2H30M"', '"PT36H"', '"P4W"', '"P3D"', '"PT1M30S"'],
      ['"P"', '"PT"', '"P1YT"', '"P1Y10D"', '"1D"', '"P4W1D"'],
    ],
    [{ enum: ["a", "ab", { x: [1] }, null] }, ['"a"', '"ab"', '{"x":[1]}', "null"], ['"abc"', "{}", "1"]],
    [
      { type: "object", properties: { a: true, b: true }, required: ["b"] },
      ['{"b":1}', '{"a":[],"b":{}}'],
      ['{"a":1}', '{"b":1,"a":1}', '{"b":1,"c":1}'],
    ],
    [
      { properties: { a: { type: "null" } }, additionalProperties: { type: "integer" } },
      ["{}", '{"a":null,"ab":1}', '{"b":1}'],
      ['{"a":1}', '{"b":null}', '{"b":1,"a":null}'],
    ],
    [
      {
        type: "array",
        prefixItems: [{ type: "null" }, { type: "boolean" }],
        items: { type: "integer" },
        minItems: 1,
      },
      ["[null]", "[null,true,1,2]"],
      ["[]", "[true]", "[null,1]"],
    ],
    [
      {
        allOf: [{ $ref: "#/$defs/a" }, { required: ["x"] }],
        $defs: { a: { type: "object", properties: { x: { type: "null" } } } },
      },
      ['{"x":null}'],
      ["{}"],
    ],
    [{ oneOf: [{ type: "integer" }, { type: "string" }] }, ["1", '"1"'], ["null"]],
    [
      true,
      ["{}", "[1, 2]", '{ "a": null }', "-1.5e9", "\n1"],
      ["{} ", "tru", "[1,]", "  1", "\n 1", "1e999"],
    ],
  ])("of %j are %j, not %j", (jsonSchema, good, bad) => {
    for (const text of good) expect([text, takes(schema(jsonSchema), text)]).toEqual([text, true]);
    for (const text of bad) expect([text, takes(schema(jsonSchema), text)]).toEqual([text, false]);
  });
});

describe("masks", () => {
  it("are what accept says, for every token, wherever a text stands", () => {
    const random = createRandom(63);
    for (let i = 0; i < 12; i++) {
      const spec: GrammarSpec =
        i % 3 === 0 ? { regex: '([a-z" ]+,?){0,3}(é|日){1,90}' } : schema(randomSchema(random));
      let constraint: ReturnType<ReturnType<typeof compileGrammar>["open"]>;
      try {
        constraint = compileGrammar(spec, target).open();
      } catch {
        continue;
      }
      for (let step = 0; step < 25; step++) {
        const allowed = new Set(allowedBy(constraint.mask(), vocab));
        for (let token = 0; token < vocab; token++) {
          let isAccepted = true;
          try {
            constraint.accept(token);
            constraint.rollback(1);
          } catch {
            isAccepted = false;
          }
          expect([token, isAccepted]).toEqual([token, allowed.has(token)]);
        }
        const token = anyOf([...allowed], target, random);
        if (token === end) break;
        constraint.accept(token);
      }
    }
  });

  it("count what is near and far, in tokens of every length", () => {
    const random = createRandom(68);
    const pair = { type: "array", items: { type: "string", minLength: 1, maxLength: 30 }, minItems: 2 };
    for (const spec of [schema(pair), { regex: "((a|日){3,40}0{1,20}){1,3}" }]) {
      const constraint = compileGrammar(spec, target).open();
      for (let step = 0; step < 40; step++) {
        const allowed = new Set(allowedBy(constraint.mask(), vocab));
        for (let token = 0; token < vocab; token++) {
          let isAccepted = true;
          try {
            constraint.accept(token);
            constraint.rollback(1);
          } catch {
            isAccepted = false;
          }
          expect([step, token, isAccepted]).toEqual([step, token, allowed.has(token)]);
        }
        const inside = [...allowed].filter((token) => !tokenizer.bytes(token).includes(0x22));
        const token = anyOf(inside.length > 0 && random.below(8) > 0 ? inside : [...allowed], target, random);
        if (token === end) break;
        constraint.accept(token);
      }
    }
  });

  it("are the same after a rollback", () => {
    const random = createRandom(64);
    const constraint = compileGrammar(schema({ type: "object" }), target).open();
    const masks = [constraint.mask().slice()];
    for (let i = 0; i < 40; i++) {
      constraint.accept(
        anyOf(
          allowedBy(masks[i], vocab).filter((token) => token !== end),
          target,
          random,
        ),
      );
      masks.push(constraint.mask().slice());
      if (allowedBy(masks[i + 1], vocab).length === 1) break;
    }
    for (let i = masks.length - 2; i >= 0; i--) {
      constraint.rollback(1);
      expect(constraint.mask()).toEqual(masks[i]);
    }
    expect(() => constraint.rollback(1)).toThrow('"count" must be an integer from 0 to 0, got 1');
  });
});

describe("texts before a mark", () => {
  const call: GrammarSpec = { sequence: [{ choice: ["<<"] }, schema({ type: "null" }), { choice: [">"] }] };
  const text: GrammarSpec = { textWithout: "<<<!" };
  it.each<[GrammarSpec, string[], string[]]>([
    [text, ["", "<", "<<<", "a<<<<<", "<<a<!é", "\n"], ["<<<!", "a<<<<!", "<<<<<<!b"]],
    [{ textWithout: "abab" }, ["abaab", "aba", "bababaab".slice(3)], ["abab", "aababab", "abaabab"]],
    [{ repeat: { choice: ["ab", "c"] }, min: 1, max: 3 }, ["ab", "ccc", "cabab"], ["", "cccc", "abc a"]],
    [{ repeat: { textWithout: "a" }, max: 2 }, ["", "bcd"], ["a", "bca"]],
    [
      { sequence: [{ textWithout: "<<" }, { repeat: { sequence: [call, { textWithout: "<<" }] } }] },
      ["", "free < text", "<<null>", "a <<null>b<<null> c"],
      ["<<", "a <<nul", "<<null", "<<true>", "<<null><<nul>"],
    ],
  ])("%j", (spec, good, bad) => {
    for (const text of good) expect([text, takes(spec, text)]).toEqual([text, true]);
    for (const text of bad) expect([text, takes(spec, text)]).toEqual([text, false]);
  });

  it("are what does not hold it, of random texts", () => {
    const random = createRandom(69);
    for (const mark of ["a", "aa", "aab", "abaab", "babab"]) {
      for (let i = 0; i < 60; i++) {
        const text = Array.from({ length: random.below(12) }, () => "ab"[random.below(2)]).join("");
        expect([mark, text, takes({ textWithout: mark }, text)]).toEqual([mark, text, !text.includes(mark)]);
      }
    }
  });

  it("need a mark", () => {
    expect(() => compileGrammar({ textWithout: "" }, target)).toThrow('"textWithout" must be a text');
    expect(() => compileGrammar({ repeat: text, min: 3, max: 2 }, target)).toThrow(
      '"max" must be an integer',
    );
  });
});

describe("regular expressions", () => {
  it.each([
    "\\d{4}-\\d{2}",
    "(yes|no)[a-z]{2,3}?",
    "[^a-z\\s]é+",
    "(a?){2,5}b",
    "(ab?|c*){0,3}x",
    ".{3}",
    "\\w+(?<name>\\.[\\u00e0-\\u00ff]*)?",
    "(?:[\\]\\-x]|\\x41|\\u{1f600}){1,3}",
    "a{70,80}|b",
  ])("draws texts that JavaScript matches: %s", (regex) => {
    const random = createRandom(65);
    const whole = new RegExp(`^(?:${regex})$`, "u");
    const drawn = Array.from({ length: 30 }, () => draw({ regex }, random, 200)).filter(
      (text) => text !== null,
    );
    expect(drawn.length).toBeGreaterThan(0);
    for (const text of drawn) expect([text, whole.test(text)]).toEqual([text, true]);
  });

  it("matches what JavaScript matches, of random texts", () => {
    const random = createRandom(66);
    for (const regex of ["(a|b)*abb", "(a+b?)+", "(ab|a)(bc|c)?", "[ab]{2,4}(c|$)", "((a*)*b)*", "^a|b$"]) {
      const whole = new RegExp(`^(?:${regex})$`, "u");
      if (regex.includes("$")) continue;
      for (let i = 0; i < 150; i++) {
        const text = Array.from({ length: random.below(7) }, () => "abc"[random.below(3)]).join("");
        expect([regex, text, takes({ regex }, text)]).toEqual([regex, text, whole.test(text)]);
      }
    }
  });
});

describe("what cannot be kept", () => {
  const deep = (levels: number): unknown =>
    levels === 0 ? true : { type: "array", items: deep(levels - 1) };
  it.each<[unknown, string]>([
    [{ type: "string", format: "color" }, '"jsonSchema.format" must be one of date,'],
    [{ type: "text" }, '"jsonSchema.type" must be one of object,'],
    [{ minLength: -1 }, '"jsonSchema.minLength" must be an integer from 0'],
    [{ minimum: "1" }, '"jsonSchema.minimum" must be a number, got string'],
    [{ anyOf: [] }, '"jsonSchema.anyOf" must be an array that is not empty'],
    [[], '"jsonSchema" must be a JSON schema, got "[]"'],
    [{ $ref: "#/$defs/none" }, '"jsonSchema.$ref" must name what is there'],
    [{ $ref: "https://example.com/schema" }, '"jsonSchema.$ref" must be within the schema'],
    [{ pattern: "(?=a)" }, '"jsonSchema.pattern" must not have a group with (?'],
    [{ pattern: "a\\b" }, '"jsonSchema.pattern" must not have \\b'],
    [{ pattern: "(" }, '"jsonSchema.pattern" must be a regular expression: a group must end with )'],
    [false, '"jsonSchema" must allow at least one text'],
    [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, "must allow at least one text"],
    [{ $ref: "#" }, "must not refer to itself with nothing between"],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, "must not refer to itself with nothing between"],
    [{ allOf: [{ $ref: "#" }, { type: "null" }] }, "must not be put together of so many schemas"],
    [deep(300), "must be at most 200 levels deep"],
    [{ type: "array", minItems: 1e9 }, '"jsonSchema.minItems" must be at most 4096'],
    [
      { properties: Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`p${i}`, true])) },
      "must be at most 2000",
    ],
  ])("is refused: %j", (jsonSchema, message) => {
    expect(() => compileGrammar(schema(jsonSchema), target)).toThrow(message);
  });

  it.each<[string, GrammarSpec]>([
    ["counts in counts", { regex: "((a{1000}){1000}){1000}" }],
    ["counts of counts", { regex: "(.{0,1000}){0,1000}x" }],
    ["stars in stars", { regex: "((a*)*)*b" }],
    ["many guesses", { regex: "(.*a){40}.{50}" }],
    ["references that double", schema(doubling("allOf"))],
    ["branches that double", schema(doubling("anyOf"))],
    [
      "a tree of equal branches",
      schema({
        type: "object",
        properties: {
          a: { anyOf: [{ $ref: "#" }, { allOf: [{ $ref: "#" }], maxProperties: 9 }, { type: "null" }] },
        },
        required: ["a"],
      }),
    ],
    ["a huge list", schema({ enum: Array.from({ length: 20_000 }, (_, i) => `value ${i * 7919}`) })],
    [
      "many properties",
      schema({
        properties: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`p${i}`, true])),
        additionalProperties: true,
      }),
    ],
  ])("%s: is decoded, or refused, soon", (_, spec) => {
    try {
      draw(spec, createRandom(67), 60);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      expect((error as Error).message).toMatch(/^"(jsonSchema|regex)|^Cannot constrain the text/);
    }
  });

  it("is a vocabulary without an end, or one that is smaller than the tokenizer's", () => {
    const endless = { vocab, tokenizer: { ...tokenizer, endTokens: new Set<number>() } };
    expect(() => compileGrammar({ regex: "a" }, endless)).toThrow('"regex" needs a model with an end token');
    expect(() => compileGrammar({ regex: "a" }, { vocab: 5, tokenizer })).toThrow(
      '"vocab" must be an integer',
    );
  });
});

function doubling(keyword: string): unknown {
  const $defs: Record<string, unknown> = { a30: { type: "string" } };
  for (let i = 0; i < 30; i++) {
    const next = `#/$defs/a${i + 1}`;
    $defs[`a${i}`] = { [keyword]: [{ $ref: next }, { title: "again", $ref: next }] };
  }
  return { $ref: "#/$defs/a0", $defs };
}
