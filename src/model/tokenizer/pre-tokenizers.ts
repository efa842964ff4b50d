/**
 * Pre-tokenizers of byte-level BPE: how a text is cut into words before any merge, by the name in
 * `tokenizer.ggml.pre`.
 *
 * The patterns are those of llama.cpp, whose cuts the ids of a GGUF are defined by; where they deviate from the model's
 * original tokenizer (upper and lower case are known only in ASCII), so do we. Letters and numbers are those of the
 * engine's Unicode version: a character that is younger than Unicode 15 may be cut otherwise by another engine.
 */
import { UnsupportedError } from "../../errors.ts";
import { quoted } from "../../format/quote.ts";

export interface PreTokenizer {
  /** Cuts a text into words; concatenated they are the text. */
  split(text: string): string[];
  /** A word that is itself a token is taken whole, whatever the merges would make of it. */
  readonly ignoreMerges: boolean;
  /** Whether BOS is added when the file does not say. */
  readonly addBos: boolean;
}

interface Family {
  readonly names: readonly string[];
  /**
   * Patterns (\s is Unicode white space), applied in turn to the fragments the one before left; matches and the
   * gaps between them are fragments.
   */
  readonly stages: readonly string[];
  readonly ignoreMerges?: boolean;
  readonly addBos?: boolean;
}

const raw = String.raw;
const CONTRACTION = raw`'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]`;
const SPACES = raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const WORD = raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const OTHER = raw` ?[^\s\p{L}\p{N}]+[\r\n]*`;
const GPT2 = raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const LLAMA3 = `${CONTRACTION}|${WORD}|${raw`\p{N}{1,3}`}|${OTHER}|${SPACES}`;
const QWEN2 = `${CONTRACTION}|${WORD}|${raw`\p{N}`}|${OTHER}|${SPACES}`;
const BLOOM = raw` ?[^(\s|.,!?…。，、।۔،)]+`;
/** Letters that are not a-z, then letters that are not A-Z; at least one of the second, or of the first. */
const UPPER = raw`(?:(?=\p{L})[^a-z])`;
const LOWER = raw`(?:(?=\p{L})[^A-Z])`;
const PREFIX = raw`[^\r\n\p{L}\p{N}]?`;
const DIGIT_TRIPLES = "[0-9][0-9][0-9]";
const CJK = "[一-龥぀-ゟ゠-ヿ]+";
const ASCII_PUNCTUATION = raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_\x60{|}~]`;

const FAMILIES: readonly Family[] = [
  { names: ["default"], stages: [raw`[\p{P}$+<=>^~|]+`, GPT2, raw`\p{N}+`, DIGIT_TRIPLES] },
  {
    names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
    stages: [LLAMA3],
    ignoreMerges: true,
    addBos: true,
  },
  { names: ["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], stages: [LLAMA3] },
  {
    names: ["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2", "kormo"],
    stages: [QWEN2],
  },
  {
    names: ["qwen35"],
    stages: [
      `${CONTRACTION}|${raw`[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*`}|${SPACES}`,
    ],
  },
  {
    names: [
      ...["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat", "mellum", "a.x-4.0"],
      ...["granite-docling", "modern-bert", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"],
    ],
    stages: [GPT2],
  },
  {
    names: ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
    stages: [raw`\p{N}`, GPT2],
  },
  {
    names: ["tekken"],
    stages: [
      `${PREFIX}${UPPER}*${LOWER}+|${PREFIX}${UPPER}+${LOWER}*|${raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*`}|${SPACES}`,
    ],
    ignoreMerges: true,
    addBos: true,
  },
  {
    names: ["gpt-4o", "llama4", "kanana2", "minimax-m2"],
    stages: [
      `${PREFIX}${UPPER}*${LOWER}+(?:${CONTRACTION})?|${PREFIX}${UPPER}+${LOWER}*(?:${CONTRACTION})?|` +
        `${raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*`}|${SPACES}`,
    ],
  },
  { names: ["falcon"], stages: [raw`[\p{P}$+<=>^~|\x60]+`, GPT2, DIGIT_TRIPLES] },
  { names: ["bloom", "poro-chat", "gpt3-finnish"], stages: [BLOOM] },
  { names: ["viking"], stages: [BLOOM, raw`\p{N}`] },
  {
    names: ["deepseek-coder"],
    stages: [raw`[\r\n]`, raw`\s?\p{L}+`, raw`\s?\p{P}+`, raw`(?:(?!\s)[一-龥ࠀ-一가-퟿])+`, raw`\p{N}`],
  },
  {
    names: ["deepseek-v3", "hunyuan-dense", "joyai-llm"],
    stages: [
      raw`\p{N}{1,3}`,
      CJK,
      `${ASCII_PUNCTUATION}[A-Za-z]+|${raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*`}|${SPACES}`,
    ],
  },
  {
    names: ["bailingmoe", "bailingmoe2", "llada-moe"],
    stages: [
      `'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|${WORD}|${raw`\p{N}`}|${OTHER}|` +
        raw`\s*[\r\n]|\s+(?!\S)|\s+`,
    ],
  },
  {
    names: ["seed-coder"],
    stages: [`${CONTRACTION}|${WORD}|${raw`\p{N}| ?[^\s\p{L}\p{N}\r\n]+`}|${SPACES}`],
  },
];

/**
 * The pre-tokenizer of a name in `tokenizer.ggml.pre`.
 *
 * @throws {UnsupportedError} If the name is not one we know; wrong cuts would give wrong ids without a word.
 */
export function preTokenizer(name: string): PreTokenizer {
  const family = FAMILIES.find(({ names }) => names.includes(name));
  if (!family) {
    throw new UnsupportedError(`Unknown pre-tokenizer ${quoted(name)} in "tokenizer.ggml.pre"`);
  }
  const stages = family.stages.map(byPattern);
  return {
    split: (text) => stages.reduce((fragments, stage) => fragments.flatMap(stage), text ? [text] : []),
    ignoreMerges: family.ignoreMerges ?? false,
    addBos: family.addBos ?? false,
  };
}

/** JavaScript's own \s has U+FEFF and lacks U+0085, so the Unicode property takes its place. */
function byPattern(source: string): (fragment: string) => string[] {
  const unicode = source.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");
  const pattern = new RegExp(unicode, "gu");
  return (fragment) => {
    const parts: string[] = [];
    let end = 0;
    pattern.lastIndex = 0;
    for (let match = pattern.exec(fragment); match; match = pattern.exec(fragment)) {
      if (match.index > end) parts.push(fragment.slice(end, match.index));
      parts.push(match[0]);
      end = pattern.lastIndex;
    }
    if (end < fragment.length) parts.push(fragment.slice(end));
    return parts;
  };
}
