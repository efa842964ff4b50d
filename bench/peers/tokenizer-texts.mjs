/** The strings of the tokenizer goldens: hand-picked ones, then random compositions of their parts. */

/** Tokens that the trained vocabularies recognise by spelling; one contains another, two overlap. */
export const SPECIAL = [
  { text: "<|begin|>", control: true },
  { text: "<|endoftext|>", control: true },
  { text: "<|im_start|>", control: true },
  { text: "<|im_end|>", control: false },
  { text: "[INST]", control: false },
  { text: "[INST][INST]", control: false },
  { text: "][", control: false },
  { text: "  \t", control: false },
  { text: "<tool▁call>", control: false },
  { text: "Ünïcode!", control: true },
];

/** Marks of Gemma's vocabulary, which is SentencePiece: tags, and runs of newlines, tabs and spaces. */
export const GEMMA_SPECIAL = [
  ...["<start_of_turn>", "<end_of_turn>", "<start_of_image>"].map((text) => ({ text, control: true })),
  ...["[multimodal]", "<unused0>", "<unused10>", "<table>", "</table>", "<h1>", "</b>"].map(userDefined),
  ...Array.from({ length: 31 }, (_, i) => userDefined("\n".repeat(i + 1))),
  ...Array.from({ length: 30 }, (_, i) => userDefined(" ".repeat(i + 2))),
  ...Array.from({ length: 4 }, (_, i) => userDefined("\t".repeat(i + 1))),
];

/** What its template makes of conversations, and texts in which the runs are long. */
export const GEMMA_TEXTS = [
  "<bos><start_of_turn>user\nWhy is the sky blue?<end_of_turn>\n<start_of_turn>model\n",
  "<start_of_turn>user\nBe brief.\n\nHi <b>there</b>!<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n",
  "<start_of_turn> user \n\n\n  <end_of_turn><end_of_turn>\n\n\n\n<start_of_image>",
  ...[30, 31, 32, 33, 62, 65, 100].flatMap((n) => ["\n", " ", "\t"].map((text) => `a${text.repeat(n)}b`)),
  "def f(x):\n\tif x:\n\t\treturn   1\n\n\n    return {\n        'a': [1,  2],\n    }\n",
  "<table>\n  <h1>x</h1>\n</table>\r\n\r\n \n  \n   \n<unused0><unused1><unused10><unused100>",
  " leading",
  "  leading",
  "trailing ",
  "trailing  ",
  "▁under",
  "a▁▁b",
  " ▁ ▁",
  "<eos>",
  "<pad> <unk> <mask>",
];

function userDefined(text) {
  return { text, control: false };
}

const WORDS = [
  ..."Once upon a time there was a little girl named Lily who loved to play outside".split(" "),
  ..."I'm don't we'll they've he'd you're it's 'tis O'Neil DON'T WE'LL IT'S 'S 'RE l'été".split(" "),
  ..."const function return => () {} [] ; if(x!==y) foo_bar fooBar FooBar HTTPServer2 __init__ self.x".split(
    " ",
  ),
  ..."1 12 123 1234 12345 1234567890 3.14159 1,000,000 0xFF 1e-9 v2.0.1 50% $9.99 #42 A1 1a ٣٤٥ ½ Ⅻ 五 ²".split(
    " ",
  ),
  ..."naïve café Ünïcode façade Straße Ŀ ſtart İstanbul ıjĳ Ǆ ﬁ Ωmega Привет ПРИВЕТ мир Здравствуйте".split(
    " ",
  ),
  ..."שלום עליכם مرحبا بالعالم नमस्ते दुनिया ক্ষ தமிழ் ไทย สวัสดี ລາວ မြန်မာ ខ្មែរ አማርኛ ქართული Ქართული ᏣᎳᎩ".split(
    " ",
  ),
  ..."你好 世界 漢字 こんにちは カタカナ ｶﾀｶﾅ 한국어 안녕하세요 ｆｕｌｌ １２３ 𠀀𠀁 𝒜𝓑 𐐀𐐨 Ꭰꭰ ㄅㄆ 々 〆".split(
    " ",
  ),
  ..."😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☺ ✈︎ 1️⃣ ™ © → ∑ √2 € ￥ ° § ¶ • … — – “quoted” ‘x’ «y»".split(" "),
  ..."e\u0301 n\u0303o a\u0300\u0301\u0302\u0303 Z\u0335\u0321\u0353a\u0334l\u0337 \u0301 x\u20dd \u200d \u200b a\u00adb".split(
    " ",
  ),
  ..."!!! ?! ... ,,, ;;; ::: --- === ~~~ ~a ~é *** ``` $x ^^ || && @you /path/to C:\\dir <b> </b> &amp; a~b +1 -1".split(
    " ",
  ),
  ...'(a) [b] {c} (…) a.b a,b !hello .NET #tag @user $var %d &x *p \\n "q" _u_ =1 |z 。，、 ！？ ۔ ، ؟ ।'.split(
    " ",
  ),
];

const SPACES = [
  ...[
    " ",
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "\r\n",
    " \n",
    "\n ",
    "  \n  ",
    "\t\t",
    "\r",
    "\r\r",
    "",
  ],
  ..."\v \f \u0085 \u00a0 \u1680 \u2003 \u2028 \u2029 \u202f \u3000 \ufeff \u180e \u001c".split(" "),
  ...["\u3000\u3000", " \u00a0", "\n\u3000", "    ", "        ", "\u00a0\u00a0 "],
];

const ODD = [
  ...[
    "\0",
    "\x01",
    "\x1b[0m",
    "\x7f",
    "\u0080",
    "\u009f",
    "\ufffd",
    "\ufffe",
    "\ue000",
    "\u{10ffff}",
    "\u{e0001}",
    "\u0378",
  ],
  ...[
    "\ud800",
    "\udc00",
    "\ud83d",
    "\ude00\ud83d",
    "a\ud800b",
    "\ud83d\ud83d\ude00",
    "▁",
    "▁▁",
    "Ġ",
    "Ċ",
    "<0x41>",
    "<0x0A>",
  ],
  ...["<s>", "</s>", "<unk>", "<|endoftext|", "|im_end|>", "<|im_<|im_end|>end|>", "[INST[INST]]", "[][]["],
];

const EDGE_CASES = [
  ...[
    "",
    " ",
    "  ",
    "   ",
    "\n",
    "a",
    " a",
    "a ",
    " a ",
    "'",
    "'s",
    " 's",
    "''s",
    "'S",
    "'",
    "a'",
    "\r\n",
    " \r\n ",
    "\ufeff",
  ],
  ...[
    "\u3000",
    "\u00a0",
    "\u0085x",
    "0",
    "00000000",
    "١٢٣٤",
    " 1234",
    "1234 ",
    "12 34",
    "1\n2",
    "a1b22c333d4444",
    "½½½½",
  ],
  ...[
    "x".repeat(300),
    " ".repeat(300),
    "\n".repeat(200),
    "\u3000".repeat(60),
    "0".repeat(200),
    "ab".repeat(150),
    "!".repeat(200),
  ],
  ...[
    "😀".repeat(60),
    "é".repeat(100),
    "\0".repeat(40),
    " a".repeat(100),
    "a\n".repeat(80),
    "👩‍👩‍👧‍👦".repeat(12),
    "\u0301".repeat(64),
  ],
  `${" ".repeat(200)}x`,
  `${" \n".repeat(60)}x`,
  `${"\t".repeat(64)}if (x) {\n\treturn "\\u0041";\r\n}\r\n`,
  "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
  "<s>[INST] Hello [/INST] Hi </s><s>[INST] Bye [/INST]",
];

const COUNT = 2400;

/** The same strings every time. */
export function makeTexts() {
  let state = 7;
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = (list) => list[random(list.length)];
  const sentence = () => {
    let text = "";
    for (let parts = 1 + random(8); parts > 0; parts--) {
      const kind = random(12);
      text += kind === 0 ? pick(ODD) : kind === 1 ? pick(SPECIAL).text : pick(WORDS);
      if (random(5) > 0) text += pick(SPACES);
    }
    return text;
  };
  const fixed = [...EDGE_CASES, ...WORDS, ...ODD, ...SPACES, ...SPECIAL.map(({ text }) => text)];
  const texts = new Set(fixed);
  while (texts.size < COUNT) texts.add(sentence());
  return [...texts];
}
