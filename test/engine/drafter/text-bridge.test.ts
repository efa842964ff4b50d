import { existsSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { continuation } from "../../../src/engine/drafter/retokenize.ts";
import { TextBridgeDrafter, type TextModel } from "../../../src/engine/drafter/text-bridge.ts";
import { Utf8Text } from "../../../src/engine/drafter/utf8-text.ts";
import { ByteReader } from "../../../src/format/bytes.ts";
import { readGguf } from "../../../src/format/gguf.ts";
import { createTokenizer, type Tokenizer } from "../../../src/model/tokenizer.ts";
import { loadModel, type Model } from "../../../src/node.ts";
import { createRandom } from "../../support/random.ts";
import { syntheticModelBytes } from "../../support/synthetic-model.ts";
import { TableSource } from "./table-source.ts";

const TEXT =
  "Once upon a time there was a little boat. “Ça va?” said the girl — 日本語 and 👩‍🚀, naïve café.\n\nThe boat went home; the boat was happy.";

const utf8 = new TextEncoder();

async function tokenizerOf(kind: "llama" | "gpt2", vocab: number, seed: number): Promise<Tokenizer> {
  const bytes = syntheticModelBytes({
    tokenizer: kind,
    vocab,
    seed,
    hidden: 8,
    heads: 1,
    kvHeads: 1,
    layers: 1,
  });
  return createTokenizer((await readGguf(ByteReader.from(bytes))).metadata);
}

const bytesOf = (tokenizer: Tokenizer, tokens: ArrayLike<number>) =>
  Uint8Array.from(Array.from(tokens).flatMap((token) => Array.from(tokenizer.bytes(token))));

const latin1 = (bytes: Uint8Array) => String.fromCharCode(...bytes);

/** A draft model that knows one text by heart: goes on with it wherever what it has read occurs there, else says "e". */
class Reciting extends TableSource implements TextModel {
  readonly tokenizer: Tokenizer;

  constructor(tokenizer: Tokenizer, text: string, contextLength = 4096) {
    const script = latin1(utf8.encode(text));
    const spellings = Array.from({ length: tokenizer.vocab }, (_, token) => latin1(tokenizer.bytes(token)));
    const known = new Map<string, Float32Array>();
    const say = (read: string): number => {
      const last = read.slice(-24).trimStart();
      const at = script.indexOf(last);
      const rest = at < 0 ? "e" : script.slice(at + last.length);
      // The longest token that goes on; the text's end is the end.
      let best = tokenizer.eos!;
      spellings.forEach((spelling, token) => {
        if (spelling !== "" && rest.startsWith(spelling) && spelling.length > spellings[best].length)
          best = token;
      });
      return best;
    };
    super(
      tokenizer.vocab,
      (tokens) => {
        const read = latin1(bytesOf(tokenizer, tokens));
        let row = known.get(read);
        if (row === undefined) {
          row = new Float32Array(tokenizer.vocab);
          row[say(read)] = 1;
          known.set(read, row);
        }
        return row;
      },
      contextLength,
    );
    this.tokenizer = tokenizer;
  }
}

describe.each([
  ["gpt2", "llama"],
  ["llama", "gpt2"],
  ["gpt2", "gpt2"],
  ["llama", "llama"],
] as const)("text bridge from %s, drafting in %s", (targetKind, draftKind) => {
  let target: Tokenizer;
  let draft: Tokenizer;
  beforeAll(async () => {
    target = await tokenizerOf(targetKind, 600, 1);
    draft = await tokenizerOf(draftKind, 400, 2);
  });
  const open = (model: TextModel) =>
    new TextBridgeDrafter(target, model, { vocab: target.vocab, capacity: 4096 });

  test("drafts the text that the draft model has in mind, from every place, in the middle of characters too", async () => {
    const tokens = target.encode(TEXT, { special: false });
    const whole = latin1(utf8.encode(TEXT));
    let [drafted, natural, inside] = [0, 0, 0];
    for (let count = 3; count < tokens.length - 8; count++) {
      const drafter = open(new Reciting(draft, TEXT));
      drafter.append(tokens.slice(0, count));
      const { tokens: ahead, law, parents } = await drafter.draft(6);
      expect([law, parents]).toEqual(["one-hot", undefined]);
      const before = latin1(bytesOf(target, tokens.slice(0, count)));
      const text = latin1(bytesOf(target, ahead));
      // A space may stand before the whole text.
      expect(
        whole.startsWith((before + text).slice(before.startsWith(" ") ? 1 : 0)),
        `${count}: ${text}`,
      ).toBe(true);
      expect(ahead.length).toBeLessThanOrEqual(6);
      drafted += ahead.length;
      for (let i = 0; i < ahead.length && ahead[i] === tokens[count + i]; i++) natural++;
      if (/[\x80-\xff]$/.test(before) && before.length > 0) inside += ahead.length;
    }
    // As the tokenizer itself writes that text, but for ends that were cut.
    expect(drafted).toBeGreaterThan(4 * (tokens.length - 11));
    expect(natural / drafted).toBeGreaterThan(0.9);
    expect(inside).toBeGreaterThan(10);
  });

  test("keeps the draft model's session while the text grows, and says what it would say had it read it at once", async () => {
    const text = TEXT.repeat(3);
    const tokens = target.encode(text, { special: false });
    const model = new Reciting(draft, text);
    const drafter = open(model);
    const random = createRandom(4);
    let at = 0;
    let rounds = 0;
    while (at < tokens.length) {
      const count = 1 + random.below(5);
      drafter.append(tokens.slice(at, at + count));
      at += count;
      const once = open(new Reciting(draft, text));
      once.append(tokens.slice(0, at));
      expect((await drafter.draft(4)).tokens).toEqual((await once.draft(4)).tokens);
      rounds++;
    }
    // Read again each time it would be a hundred times as much as the text.
    const [{ computed }] = model.sessions;
    expect(computed).toBeLessThan(draft.encode(text).length + 40 * rounds);
    expect(computed).toBeLessThan((draft.encode(text).length * rounds) / 5);
    drafter.truncate(20);
    const once = open(new Reciting(draft, text));
    once.append(tokens.slice(0, 20));
    expect((await drafter.draft(4)).tokens).toEqual((await once.draft(4)).tokens);
  });

  test("after any tokens says nothing but what the draft model said", async () => {
    const random = createRandom(7);
    for (let trial = 0; trial < 60; trial++) {
      const drafter = open(new Reciting(draft, TEXT));
      const committed = Array.from({ length: 1 + random.below(40) }, () => random.below(target.vocab));
      drafter.append(committed);
      const { tokens } = await drafter.draft(5);
      // Not known by heart: it says "e", unless half a character is to be ended, or the end happens to be in the text.
      const text = latin1(bytesOf(target, tokens));
      expect(/^e*$/.test(text) || latin1(utf8.encode(TEXT)).includes(text), JSON.stringify(text)).toBe(true);
      drafter.close();
    }
  });

  test("drafts from after special tokens, which have no text", async () => {
    const special = target.eos!;
    const [first, second] = ["Once upon a time there", " was a little boat"];
    const drafter = open(new Reciting(draft, TEXT));
    const tokens = [...target.encode(first, { special: false }), special];
    drafter.append(tokens);
    const { tokens: ahead } = await drafter.draft(4);
    expect(ahead.length).toBeGreaterThan(0);
    expect(latin1(utf8.encode(second)).startsWith(latin1(bytesOf(target, ahead)))).toBe(true);
    // Nothing is made of what stands before it.
    drafter.append([...Array.from(ahead), special]);
    expect((await drafter.draft(4)).tokens.length).toBeGreaterThan(0);
  });

  test("ends where the draft model's context does, or its text", async () => {
    const tokens = target.encode(TEXT, { special: false });
    const small = open(new Reciting(draft, TEXT, 12));
    small.append(tokens);
    expect((await small.draft(4)).tokens).toEqual([]);
    await small.prepare();
    const whole = open(new Reciting(draft, TEXT));
    whole.append(tokens);
    expect((await whole.draft(4)).tokens).toEqual([]);
    expect((await whole.draft(0)).tokens).toEqual([]);
    expect((await open(new Reciting(draft, TEXT)).draft(4)).tokens).toEqual([]);
  });

  test("puts target tokens to any cut of the text", () => {
    const cuts = Array.from(TEXT, (_, i) => [...TEXT].slice(0, i).join("").length).filter((at) => at > 0);
    for (const at of cuts) {
      const tokens = continuation(target, TEXT.slice(0, at), TEXT.slice(at), 0);
      expect(tokens).not.toBeNull();
      expect(new TextDecoder().decode(bytesOf(target, tokens!))).toBe(TEXT.slice(at));
    }
  });
});

describe("text in pieces", () => {
  test("is the text of the whole, wherever it is cut", () => {
    const bytes = Uint8Array.from([
      ...utf8.encode("añ日👩b\ufeff"),
      0xff,
      0xe6,
      0x97,
      0x41,
      0xf0,
      0x9f,
      0xe6,
    ]);
    const whole = new TextDecoder("utf-8", { ignoreBOM: true });
    const random = createRandom(1);
    for (let trial = 0; trial < 200; trial++) {
      const text = new Utf8Text();
      let at = 0;
      while (at < bytes.length) {
        const next = Math.min(bytes.length, at + 1 + random.below(4));
        text.append(bytes.subarray(at, next));
        at = next;
        expect(text.pending.length).toBeLessThanOrEqual(3);
        expect(text.from(0).text + whole.decode(text.pending)).toBe(whole.decode(bytes.subarray(0, at)));
        const from = random.below(text.length + 1);
        const { text: end, start } = text.from(from);
        expect(start <= from && from - start <= 3).toBe(true);
        expect(text.from(0).text.endsWith(end)).toBe(true);
        expect(utf8.encode(end).length).toBe(text.length - start);
      }
    }
  });
});

const file = (name: string) => new URL(`../../../../shared/models/${name}.gguf`, import.meta.url);
const areThere = ["stories260K-f16", "edgewise-stories-q8_0"].every((name) => existsSync(file(name)));
if (!areThere)
  console.log("Skipped: stories260K-f16.gguf or edgewise-stories-q8_0.gguf is not in ../shared/models");

describe.skipIf(!areThere)("text bridge between models with other vocabularies", () => {
  let target: Model;
  let draft: Model;
  beforeAll(async () => {
    target = await loadModel(readFileSync(file("edgewise-stories-q8_0")));
    draft = await loadModel(readFileSync(file("stories260K-f16")));
  });

  test("drafts text that the target would have said, too", async () => {
    const drafter = new TextBridgeDrafter(target.tokenizer, draft, { vocab: target.vocab, capacity: 256 });
    const tokens = target.tokenizer.encode("Once upon a time, there was a little girl named");
    const session = target.open();
    drafter.append(tokens);
    let rows = await session.forward(tokens, 1);
    let [tested, accepted] = [0, 0];
    for (let round = 0; round < 60; round++) {
      const { tokens: ahead } = await drafter.draft(3);
      const emitted: number[] = [];
      do {
        const token = rows.argmax(0);
        emitted.push(token);
        rows = await session.forward([token], 1);
      } while (emitted[emitted.length - 1] === ahead[emitted.length - 1]);
      tested += Math.min(emitted.length, ahead.length);
      accepted += emitted.length - 1;
      drafter.append(emitted);
    }
    expect(tested).toBeGreaterThan(40);
    expect(accepted / tested).toBeGreaterThan(0.3);
    drafter.close();
    session.close();
  });
});
