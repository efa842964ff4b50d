import { expect, test } from "vitest";
import type { Metadata } from "../../src/format/gguf.ts";
import {
  metadataBoolean,
  metadataNumber,
  metadataNumbers,
  metadataString,
  metadataStrings,
} from "../../src/format/metadata.ts";

const METADATA: Metadata = new Map<string, never>(
  Object.entries({
    count: 12,
    half: 0.5,
    nan: NaN,
    infinite: Infinity,
    huge: 2n ** 64n - 1n,
    name: "llama",
    long: "x".repeat(500),
    yes: true,
    ids: [1, 2, 3],
    scores: [0, -1.5, NaN],
    tokens: ["a", "b"],
    mixed: ["a", 1],
    empty: [],
  }) as [string, never][],
);

const INTEGER = { integer: true, min: 1, max: 100 };

test("metadataNumber() returns numbers in range", () => {
  expect(metadataNumber(METADATA, "count", INTEGER)).toBe(12);
  expect(metadataNumber(METADATA, "half", { min: 0, max: 1 })).toBe(0.5);
});

test.each([
  ["half", RangeError, '"half" must be an integer from 1 to 100, got 0.5'],
  ["nan", RangeError, '"nan" must be an integer from 1 to 100, got NaN'],
  ["infinite", RangeError, "got Infinity"],
  ["huge", RangeError, '"huge" must be an integer from 1 to 100, got 18446744073709551615'],
  ["absent", RangeError, '"absent" must be an integer from 1 to 100, file has no such key'],
  ["name", TypeError, '"name" must be an integer from 1 to 100, got string "llama"'],
  ["yes", TypeError, "got boolean true"],
  ["ids", TypeError, "got an array of 3"],
])("metadataNumber() of %s throws", (key, kind, message) => {
  const read = () => metadataNumber(METADATA, key, INTEGER);
  expect(read).toThrow(kind);
  expect(read).toThrow(message);
});

test("a number that no range allows is refused even if the range is infinite", () => {
  const all = { min: -Infinity, max: Infinity };
  expect(() => metadataNumber(METADATA, "nan", all)).toThrow(RangeError);
  expect(() => metadataNumber(METADATA, "huge", all)).toThrow(RangeError);
});

test("defaults are for missing keys only", () => {
  expect(metadataNumber(METADATA, "absent", { ...INTEGER, default: 7 })).toBe(7);
  expect(metadataNumber(METADATA, "absent", { ...INTEGER, default: undefined })).toBeUndefined();
  expect(metadataString(METADATA, "absent", { default: null })).toBeNull();
  expect(metadataBoolean(METADATA, "absent", { default: false })).toBe(false);
  expect(metadataStrings(METADATA, "absent", { default: null })).toBeNull();
  expect(metadataNumbers(METADATA, "absent", { ...INTEGER, default: null })).toBeNull();
  expect(() => metadataNumber(METADATA, "name", { ...INTEGER, default: 7 })).toThrow(TypeError);
  expect(() => metadataStrings(METADATA, "name", { default: null })).toThrow(TypeError);
});

test("strings and booleans", () => {
  expect(metadataString(METADATA, "name")).toBe("llama");
  expect(metadataBoolean(METADATA, "yes")).toBe(true);
  expect(() => metadataString(METADATA, "count")).toThrow('Metadata "count" must be a string, got 12');
  expect(() => metadataString(METADATA, "absent")).toThrow("file has no such key");
  expect(() => metadataBoolean(METADATA, "count")).toThrow('Metadata "count" must be a boolean, got 12');
});

test("arrays of strings and numbers", () => {
  expect(metadataStrings(METADATA, "tokens", { length: 2 })).toEqual(["a", "b"]);
  expect(metadataStrings(METADATA, "empty")).toEqual([]);
  expect(metadataNumbers(METADATA, "ids", INTEGER)).toEqual([1, 2, 3]);
  expect(() => metadataStrings(METADATA, "tokens", { length: 3 })).toThrow(
    'Metadata "tokens" must be an array of 3 strings, got an array of 2',
  );
  expect(() => metadataStrings(METADATA, "mixed")).toThrow('Metadata "mixed[1]" must be a string, got 1');
  expect(() => metadataNumbers(METADATA, "scores", { min: -10, max: 10 })).toThrow(
    'Metadata "scores[2]" must be a number from -10 to 10, got NaN',
  );
  expect(() => metadataNumbers(METADATA, "mixed", INTEGER)).toThrow(TypeError);
});

test("messages stay short whatever the value", () => {
  expect(() => metadataNumber(METADATA, "long", INTEGER)).toThrow(/^.{1,150}$/);
});
