/** Ten thousand messages that something happened to: each gives a clear error, or rows that are rows. */
import { expect, it } from "vitest";
import { UnsupportedError } from "../../../src/errors.ts";
import {
  decodeRow,
  decodeRows,
  encodeRow,
  encodeRows,
  rowFromJson,
  rowToJson,
} from "../../../src/format/wire/index.ts";
import type { Random } from "../../support/random.ts";
import { createRandom, holds, maskedRow, modelRow, narrowBook, SPECS } from "./support.ts";

const MESSAGES = 10_000;

function sources(random: Random): Uint8Array[] {
  return [3, 33, 70].flatMap((vocab) => {
    const row = (i: number) => (i % 3 === 2 ? maskedRow(random, vocab) : modelRow(random, vocab));
    const one = SPECS.map((spec, i) => {
      const logits = holds(spec, row(i)) ? row(i) : modelRow(random, vocab);
      return encodeRows([holds(spec, logits) ? logits : modelRow(random, vocab)], spec);
    });
    const all = SPECS.map(() => modelRow(random, vocab));
    return [...one, encodeRows(all, SPECS), encodeRows([], "f32", { codebooks: [narrowBook] })];
  });
}

/** What may happen to bytes on their way. */
const ACCIDENTS: readonly ((bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array)[] = [
  // Bits of the header or anywhere.
  (bytes, random) => flipped(bytes, random, 1),
  (bytes, random) => flipped(bytes, random, 1 + random.below(8)),
  // Bits behind the header.
  (bytes, random) => flipped(bytes, random, 1 + random.below(3), headerEnd(bytes)),
  (bytes, random) => bytes.slice(0, random.below(bytes.length)),
  (bytes, random) => bytes.slice(random.below(bytes.length)),
  // The header of one, the data of another.
  (bytes, _, other) => joined(bytes.slice(0, headerEnd(bytes)), other.slice(headerEnd(other))),
  (bytes, random, other) =>
    joined(bytes.slice(0, random.below(bytes.length)), other.slice(random.below(other.length))),
  // Numbers in the header: other lengths, sizes and offsets.
  (bytes, random) => {
    const text = new TextDecoder().decode(bytes.slice(8, headerEnd(bytes)));
    const digits = [...text.matchAll(/\d+/g)];
    const { index, 0: number } = digits[random.below(digits.length)];
    const huge = ["0", "-1", "1e9", "4294967296", "9007199254740993", "null", '"x"', "[]"];
    const value = huge[random.below(huge.length)];
    return withHeader(`${text.slice(0, index)}${value}${text.slice(index + number.length)}`, bytes);
  },
  // The length of the header.
  (bytes, random) => {
    const copy = bytes.slice();
    const lengths = [0n, 1n, 2n ** 32n, 2n ** 63n, BigInt(random.below(2 * bytes.length))];
    new DataView(copy.buffer).setBigUint64(0, lengths[random.below(lengths.length)], true);
    return copy;
  },
  // Random bytes in one place, often where floats are.
  (bytes, random) => {
    const copy = bytes.slice();
    const at = random.below(copy.length);
    for (let i = at; i < Math.min(at + 8, copy.length); i++)
      copy[i] = random.below(2) === 0 ? 255 : random.below(256);
    return copy;
  },
];

function flipped(bytes: Uint8Array, random: Random, count: number, from = 0): Uint8Array {
  const copy = bytes.slice();
  for (let i = 0; i < count && from < copy.length; i++)
    copy[from + random.below(copy.length - from)] ^= 1 << random.below(8);
  return copy;
}

function headerEnd(bytes: Uint8Array): number {
  return 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
}

function withHeader(text: string, bytes: Uint8Array): Uint8Array {
  const header = new TextEncoder().encode(text);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return joined(length, joined(header, bytes.slice(headerEnd(bytes))));
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  return Uint8Array.of(...a, ...b);
}

/** What a caller can make sense of: a class that is for it, one line, a name in it. */
function expectClear(error: unknown): void {
  expect(error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError).toBe(
    true,
  );
  const { message } = error as Error;
  expect(message).toMatch(/^(Cannot read rows: |"(rows\[\d+\]|row|codebook)[^"]*" )/);
  expect(message).not.toMatch(/undefined|\n|\.$|Invalid typed array|out of bounds/);
  expect(message.length).toBeLessThan(300);
}

function expectRow(row: Float32Array, vocab: number): void {
  expect(row.length).toBe(vocab);
  expect(row.some((z) => z > -Infinity)).toBe(true);
  expect(row.every((z) => z < Infinity)).toBe(true);
}

it(`${MESSAGES} corrupted messages give clear errors, or rows`, () => {
  const random = createRandom(2026);
  const whole = sources(random);
  const counts = { refused: 0, rows: 0 };
  for (let i = 0; i < MESSAGES; i++) {
    const bytes = whole[random.below(whole.length)];
    const accident = ACCIDENTS[i % ACCIDENTS.length];
    try {
      const decoded = decodeRows(accident(bytes, random, whole[random.below(whole.length)]));
      for (let index = 0; index < decoded.count; index++) expectRow(decoded.row(index), decoded.vocab);
      counts.rows++;
    } catch (error) {
      expectClear(error);
      counts.refused++;
    }
  }
  expect(counts.refused).toBeGreaterThan(MESSAGES / 2);
  expect(counts.rows).toBeGreaterThan(MESSAGES / 50);
});

it("corrupted rows in JSON do so too", () => {
  const random = createRandom(7);
  const counts = { refused: 0, rows: 0 };
  for (let i = 0; i < 3000; i++) {
    const spec = SPECS[i % SPECS.length];
    const vocab = 1 + random.below(60);
    const encoded = encodeRow(modelRow(random, vocab), spec);
    const data = flipped(encoded.data, random, random.below(3));
    const claimed = random.below(4) === 0 ? 1 + random.below(70) : vocab;
    const cut = random.below(4) === 0 ? data.slice(0, random.below(data.length + 1)) : data;
    const json = { ...rowToJson({ ...encoded, data: cut }), vocab: claimed };
    try {
      const codebooks = "codebook" in spec ? [spec.codebook] : [];
      expectRow(decodeRow(rowFromJson(JSON.parse(JSON.stringify(json)), "row", { codebooks })), claimed);
      counts.rows++;
    } catch (error) {
      expectClear(error);
      counts.refused++;
    }
  }
  expect(Math.min(counts.rows, counts.refused)).toBeGreaterThan(300);
});
