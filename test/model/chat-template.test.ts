import { Template } from "@huggingface/jinja";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import type { MetadataValue } from "../../src/format/gguf.ts";
import { type ChatMessage, encodeChat, renderChat } from "../../src/model/chat-template.ts";
import { createTokenizer } from "../../src/model/tokenizer.ts";

const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const INSTRUCT =
  "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" +
  "{{ raise_exception('Roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}" +
  "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% else %}{{ message['content'] ~ eos_token }}{% endif %}" +
  "{% endfor %}";

/** What Gemma was trained on: a system message begins the first turn, the assistant is "model", turns alternate. */
const GEMMA = `{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
  {%- set before = (messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text']) + '\\n\\n' -%}
  {%- set turns = messages[1:] -%}
{%- else -%}
  {%- set before = "" -%}
  {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
  {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{ raise_exception("Turns must alternate") }}
  {%- endif -%}
  {{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '\\n' + (before if loop.first else "") }}
  {%- if turn['content'] is string -%}
    {{ turn['content'] | trim }}
  {%- elif turn['content'] is iterable -%}
    {%- for part in turn['content'] -%}{{ part['text'] | trim }}{%- endfor -%}
  {%- else -%}
    {{ raise_exception("Content is of no known kind") }}
  {%- endif -%}
  {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}`;

/** Namespaces, slices, filters, methods, macros, blocks: what the large templates of today are made of. */
const RICH = `
{%- macro shout(text, mark='!') %}{{ text | upper }}{{ mark }}{% endmacro -%}
{%- set ns = namespace(last=messages|length - 1, seen=[]) -%}
{%- for message in messages[::-1] -%}
  {%- if message.role == 'user' and not message.content.startswith('<') %}{% set ns.last = messages|length - loop.index0 %}{% break %}{% endif -%}
{%- endfor -%}
{%- for message in messages if message.content is string -%}
  {%- set content = message.content.split('</think>')[-1].lstrip('\\n') -%}
  {%- set ns.seen = ns.seen + [message.role] -%}
  [{{ loop.index }}/{{ loop.length }} {{ shout(message.role, mark='?') }}] {{ content.replace('\\n', '\\n  ') | indent(2) }}
  {%- if not loop.last %}{{ '\\n' }}{% endif -%}
{%- else -%}nothing{%- endfor %}
{% filter replace('a', 'bb') %}banana {{ ns.seen | join(', ') }}{% endfilter %}
{% set block %}{{ messages | tojson(indent=2) }}{% endset %}{{ block }}{{ messages | map(attribute='role') | list }}
{% for key, value in messages[0].items() %}{{ key }}={{ value[:3] }}{{ messages[0]['content']['replace']('a', 'o') }};{% endfor %}
{{ 'none' if tools is none else 'some' }} {{ missing | default('x') }} {{ ns.seen | unique | first }} {{ range(3) | list }}
{%- call shout('y') %}z{% endcall %}{{ [3, 1, 2] | sort }}`;

const conversation: ChatMessage[] = [
  { role: "user", content: "  Hi\nthere, banana </think>\n\nend " },
  { role: "assistant", content: "Hello" },
  { role: "user", content: "<b> 😀" },
];

describe("renderChat", () => {
  it("ends where the answer begins", () => {
    expect(renderChat(withTemplate(CHATML), [{ role: "user", content: "Hi" }])).toBe(
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
  });

  it("gives a template the spellings of BOS and EOS", () => {
    const tokens = { "tokenizer.ggml.tokens": ["<s>", "</s>"], "tokenizer.ggml.bos_token_id": 0 };
    const metadata = withTemplate(INSTRUCT, { ...tokens, "tokenizer.ggml.eos_token_id": 1 });
    expect(renderChat(metadata, conversation)).toBe(
      "<s>[INST] Hi\nthere, banana </think>\n\nend [/INST]Hello</s>[INST] <b> 😀 [/INST]",
    );
    expect(renderChat(withTemplate("{{ bos_token }}|{{ eos_token }}"), conversation)).toBe("|");
    const llama = { "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"] };
    expect(renderChat(withTemplate("{{ bos_token }}|{{ eos_token }}", llama), conversation)).toBe("<s>|</s>");
  });

  it.each([CHATML, INSTRUCT, RICH])("renders as the library does without a budget", (template) => {
    const variables = {
      messages: conversation,
      add_generation_prompt: true,
      tools: null,
      bos_token: "",
      eos_token: "",
    };
    const expected = new Template(template).render({ ...variables, documents: null });
    expect(expected.length).toBeGreaterThan(50);
    expect(renderChat(withTemplate(template), conversation)).toBe(expected);
  });

  it("puts conversations as Gemma knows them", () => {
    const metadata = withTemplate(GEMMA, {
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": ["<pad>", "<eos>", "<bos>"],
      "tokenizer.ggml.bos_token_id": 2,
    });
    const turns: ChatMessage[] = [
      { role: "user", content: " Hi \n" },
      { role: "assistant", content: "Hello" },
      { role: "user", content: "Why?" },
    ];
    const expected =
      "user\n{}Hi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n" +
      "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n";
    expect(renderChat(metadata, turns)).toBe(`<bos><start_of_turn>${expected.replace("{}", "")}`);
    const withSystem = [{ role: "system", content: "Be brief." }, ...turns];
    expect(renderChat(metadata, withSystem)).toBe(
      `<bos><start_of_turn>${expected.replace("{}", "Be brief.\n\n")}`,
    );
    expect(() => renderChat(metadata, turns.slice(1))).toThrow(
      'Cannot render chat template "tokenizer.chat_template": Turns must alternate',
    );
  });

  it("puts tools, calls and their answers as templates of Hermes and Qwen look for them", () => {
    const template =
      "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}" +
      "{% for message in messages %}[{{ message.role }}]{{ message.content }}" +
      "{% for tool_call in message.tool_calls or [] %}{% set call = tool_call.function %}" +
      '<tool_call>{"name": "{{ call.name }}", "arguments": {{ tool_call.arguments | tojson }}}</tool_call>' +
      "{% endfor %}{% endfor %}";
    const tool = { type: "function", function: { name: "f" } };
    const calls: ChatMessage[] = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "", toolCalls: [{ id: "1", name: "f", arguments: { a: [1] } }] },
      { role: "tool", content: "ok", toolCallId: "1" },
    ];
    expect(renderChat(withTemplate(template), calls, { tools: [tool] })).toBe(
      '<tools>{"type": "function", "function": {"name": "f"}}</tools>[user]Hi[assistant]' +
        '<tool_call>{"name": "f", "arguments": {"a": [1]}}</tool_call>[tool]ok',
    );
    expect(renderChat(withTemplate(template), conversation)).not.toContain("tool");
  });

  it("refuses tools where the template knows nothing of them, and more than a template may get", () => {
    const message = "The model's chat template knows nothing of tools";
    const tools = [{ name: "f" }];
    for (const metadata of [withTemplate(CHATML), new Map()]) {
      expect(() => renderChat(metadata, conversation, { tools })).toThrow(new UnsupportedError(message));
      for (const one of [
        { role: "tool", content: "" },
        { role: "assistant", content: "", toolCalls: [{ name: "f", arguments: {} }] },
      ]) {
        expect(() => renderChat(metadata, [...conversation, one])).toThrow(new UnsupportedError(message));
      }
    }
    const long = [{ description: "x".repeat(1 << 20) }];
    expect(() => renderChat(withTemplate("{{ tools }}"), conversation, { tools: long })).toThrow(
      '"messages" must have at most 1,048,576 characters, got',
    );
  });

  it("joins the contents where there is no template", () => {
    const metadata = new Map();
    expect(renderChat(metadata, [{ role: "user", content: "Once upon" }])).toBe("Once upon");
    expect(renderChat(metadata, conversation.slice(1))).toBe("Hello\n<b> 😀");
  });

  it("tells the date in UTC and English", () => {
    const template = "{{ strftime_now('%d %b %Y, %A %-d %B %y, %H:%M:%S %I %p %m %a %% %q') }}";
    expect(renderChat(withTemplate(template), conversation, { now: new Date("2026-03-05T14:07:09Z") })).toBe(
      "05 Mar 2026, Thursday 5 March 26, 14:07:09 02 PM 03 Thu % %q",
    );
  });

  it("renders a long conversation", () => {
    const messages = Array.from({ length: 900 }, (_, i) => ({
      role: i % 2 === 0 ? "user" : "assistant",
      content: "word ".repeat(200),
    }));
    expect(renderChat(withTemplate(INSTRUCT), messages)).toHaveLength(
      450 * "[INST]  [/INST]".length + 450 * 1999,
    );
  });
});

describe("encodeChat", () => {
  const tokenizer = createTokenizer(
    new Map<string, MetadataValue>([
      ["tokenizer.ggml.model", "llama"],
      ["tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "▁", "a"]],
      ["tokenizer.ggml.token_type", [2, 3, 3, 1, 1]],
      ["tokenizer.ggml.scores", [0, 0, 0, 0, 0]],
      ["tokenizer.ggml.add_eos_token", true],
    ]),
  );

  it("has BOS once, whether the template writes it or not, and no EOS", () => {
    expect(encodeChat(tokenizer, "<s>a</s>a")).toEqual([1, 3, 4, 2, 3, 4]);
    expect(encodeChat(tokenizer, "a")).toEqual([1, 3, 4]);
  });
});

describe("bad messages", () => {
  const metadata = withTemplate(CHATML);
  const long = "x".repeat(600_000);
  it.each<[unknown, Error]>([
    ["hi", new TypeError('"messages" must be an array, got string')],
    [[], new RangeError('"messages" must hold 1 to 4,096 messages, got 0')],
    [[null], new TypeError('"messages[0].role" must be a string, got undefined')],
    [[{ role: "user" }], new TypeError('"messages[0].content" must be a string, got undefined')],
    [[{ role: 5, content: "" }], new TypeError('"messages[0].role" must be a string, got number')],
    [
      [{ role: "", content: "" }],
      new RangeError('"messages[0].role" must have 1 to 64 characters, got 0 characters'),
    ],
    [
      [
        { role: "user", content: long },
        { role: "user", content: long },
      ],
      new RangeError('"messages" must have at most 1,048,576 characters, got 1,200,008'),
    ],
  ])("are refused: %#", (messages, error) => {
    expect(() => renderChat(metadata, messages as ChatMessage[])).toThrow(error);
  });
});

describe("a bad template", () => {
  const BIG = "{% set big = range(100000) | join(',') %}";
  it.each<[string, string, RegExp]>([
    ["refuses messages", INSTRUCT.replace("!=", "=="), /Roles must alternate$/],
    ["is malformed", "{% for x in %}", /Unexpected token/],
    ["is too long", "x".repeat(300_000), /must have at most 262,144 characters, got 300,000$/],
    ["is blank", " ".repeat(200_000), /less than 1,000 blanks in a row$/],
    ["is nested in source", `{{ ${"(".repeat(100_000)}`, /stack|recursion/i],
    [
      "loops over a huge range",
      "{% for i in range(1000000000) %}{% endfor %}",
      /range\(1000000000\) must be of at most/,
    ],
    [
      "loops within loops",
      "{% for i in range(3000) %}{% for j in range(3000) %}{% endfor %}{% endfor %}",
      /too many steps$/,
    ],
    [
      "doubles a text",
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      /a value must/,
    ],
    [
      "doubles a list",
      "{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}",
      /a value must/,
    ],
    [
      "nests a list",
      "{% set ns = namespace(a=[1]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}",
      /nesting must not pass/,
    ],
    [
      "holds itself",
      "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
      /a namespace cannot be printed$/,
    ],
    [
      "filters what holds itself",
      "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}",
      /cannot be filtered$/,
    ],
    [
      "lists what holds itself",
      "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}",
      /cannot be part of a list$/,
    ],
    ["calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", /nesting must not pass 400 levels$/],
    [
      "calls itself twice",
      "{% macro f(n) %}{% if n %}{{ f(n-1) ~ f(n-1) }}{% endif %}{% endmacro %}{{ f(30) }}",
      /too many steps$/,
    ],
    ["replaces nothing by much", `${BIG}{{ big.replace('', big) }}`, /too long a text$/],
    ["replaces by another name", `${BIG}{{ big['replace']('', big) }}`, /too long a text$/],
    ["filters by replacing", `${BIG}{{ big | replace('', big) }}`, /too long a text$/],
    ["joins by much", `${BIG}{{ range(100000) | join(big) }}`, /too long a text$/],
    ["indents by much", "{{ 'a\nb' | indent(width=500000000) }}", /too long a text$/],
    ["indents JSON by much", "{{ [[1]] | tojson(indent=500000000) }}", /too long a text$/],
    ["filters a block by much", "{% filter indent(500000000) %}\n\n\n{% endfilter %}", /too long a text$/],
    ["prints much", "{% set r = range(100000) %}{% for i in r %}{{ r }}{% endfor %}", /too many steps$/],
    ["copies much", `${BIG}{% for i in range(99999) %}{% set x = big[1:] %}{% endfor %}`, /too many steps$/],
    [
      "defines much",
      `{% for i in range(99999) %}{% macro f() %}${"{{ 1 }}".repeat(9999)}{% endmacro %}{% endfor %}`,
      /a value|too many/,
    ],
    ["asks for a range of texts", "{{ range('a') }}", /range\(a\) must be of at most/],
    ["asks for a date of nothing", "{{ strftime_now(5) }}", /needs a format string$/],
  ])("that %s ends with an error", (_, template, reason) => {
    let error: unknown;
    try {
      renderChat(withTemplate(template), conversation);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(RangeError);
    const { message } = error as RangeError;
    expect(message).toMatch(/^Cannot render chat template "tokenizer.chat_template": /);
    expect(message).toMatch(reason);
  });

  it("that is no text is named", () => {
    expect(() => renderChat(new Map([["tokenizer.chat_template", 5]]), conversation)).toThrow(
      new TypeError('Metadata "tokenizer.chat_template" must be a string, got 5'),
    );
  });

  it("of any kind gives a text or an error of ours", () => {
    const part = fc.constantFrom(
      ...[
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "for m in messages",
        "endfor",
        "if ",
        "endif",
        "set x = ",
        "messages",
        "m.content",
      ],
      ...[
        "[0]",
        "|",
        "join",
        "tojson",
        "(",
        ")",
        "'a'",
        " ~ ",
        "range(9)",
        "macro f()",
        "endmacro",
        "x",
        ".",
        "-",
        "{#",
        "#}",
      ],
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 14 }), (parts) => {
        try {
          expect(typeof renderChat(withTemplate(parts.join("")), conversation)).toBe("string");
        } catch (error) {
          expect((error as Error).message).toMatch(/^Cannot render chat template/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

function withTemplate(
  template: string,
  others: Record<string, MetadataValue> = {},
): Map<string, MetadataValue> {
  return new Map(Object.entries({ "tokenizer.chat_template": template, ...others }));
}
