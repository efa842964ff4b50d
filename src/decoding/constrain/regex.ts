/**
 * regex: a regular expression, in JavaScript's words, as an expression over bytes.
 *
 * Characters are code points (as with the flag u). Whatever needs more than a finite automaton, or changes what the text
 * before or behind may be, is refused: lookaround, backreferences, word boundaries, properties of characters.
 */
import { ALL_CHARACTERS, type Characters, characters, complement } from "./characters.ts";
import { alt, EMPTY, type Expr, maybe, repeat, seq } from "./expr.ts";

const DIGIT: Characters = [48, 57];
const WORD: Characters = [48, 57, 65, 90, 95, 95, 97, 122];
const SPACE: Characters = [
  9, 13, 32, 32, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f,
  0x3000, 0x3000, 0xfeff, 0xfeff,
];
const NO_LINE_END = complement([10, 10, 13, 13, 0x2028, 0x2029]);
const CLASSES: Readonly<Record<string, Characters>> = {
  d: DIGIT,
  D: complement(DIGIT),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 };

const MAX_LENGTH = 10_000;
const MAX_DEPTH = 100;
const MAX_COUNT = 10_000;

export interface RegexReading {
  /** How a character is written. */
  readonly write: (set: Characters) => Expr;
  /** Whether the text need only hold a match, unless ^ and $ say more (JSON schema's `pattern`); else it is one. */
  readonly isSearch: boolean;
  /** What the expression is called in errors. */
  readonly name: string;
}

/**
 * @throws {TypeError} If it is no regular expression.
 * @throws {RangeError} If it is too long or too deep, or has what is not supported.
 */
export function readRegex(source: string, reading: RegexReading): Expr {
  if (source.length > MAX_LENGTH) {
    throw new RangeError(
      `"${reading.name}" must have at most ${MAX_LENGTH} characters, got ${source.length}`,
    );
  }
  return new Reader(source, reading).whole();
}

class Reader {
  readonly #characters: readonly string[];
  readonly #reading: RegexReading;
  readonly #written = new Map<Characters, Expr>();
  #at = 0;
  #depth = 0;

  constructor(source: string, reading: RegexReading) {
    this.#characters = [...source];
    this.#reading = reading;
  }

  /** Branches, each with what may stand before and behind it. */
  whole(): Expr {
    const branches: Expr[] = [];
    const around = this.#reading.isSearch ? repeat(this.#reading.write(ALL_CHARACTERS), 0, Infinity) : EMPTY;
    do {
      const before = this.#take("^") ? EMPTY : around;
      const branch = this.#branch();
      const behind = this.#take("$") ? EMPTY : around;
      branches.push(seq(before, branch, behind));
    } while (this.#take("|"));
    if (this.#at < this.#characters.length) this.#wrong(`unexpected ${this.#characters[this.#at]}`);
    return alt(...branches);
  }

  #branch(): Expr {
    const parts: Expr[] = [];
    for (;;) {
      const next = this.#characters[this.#at];
      if (next === undefined || next === "|" || next === ")" || next === "$") return seq(...parts);
      parts.push(this.#quantified());
    }
  }

  #quantified(): Expr {
    const atom = this.#atom();
    const counts = this.#quantifier();
    if (counts === null) return atom;
    // Lazy or not, the texts are the same.
    this.#take("?");
    if (this.#quantifier() !== null) this.#wrong("nothing to repeat");
    const [min, max] = counts;
    return min === 0 && max === 1 ? maybe(atom) : repeat(atom, min, max);
  }

  #quantifier(): [number, number] | null {
    if (this.#take("*")) return [0, Infinity];
    if (this.#take("+")) return [1, Infinity];
    if (this.#take("?")) return [0, 1];
    if (!this.#take("{")) return null;
    const min = this.#count();
    let max = min;
    if (this.#take(",")) max = this.#characters[this.#at] === "}" ? Infinity : this.#count();
    if (!this.#take("}")) this.#wrong("a count must end with }");
    if (max < min) this.#wrong("counts are out of order");
    return [min, max];
  }

  #count(): number {
    let digits = "";
    while (/^\d$/.test(this.#characters[this.#at] ?? "")) digits += this.#characters[this.#at++];
    if (digits === "") this.#wrong("a count is missing");
    if (Number(digits) > MAX_COUNT) this.#unsupported(`a count above ${MAX_COUNT}`);
    return Number(digits);
  }

  #atom(): Expr {
    const { write } = this.#reading;
    const character = this.#characters[this.#at++];
    if (character === "(") return this.#group();
    if (character === "[") return write(this.#class());
    if (character === ".") return this.#shared(NO_LINE_END);
    if (character === "^") this.#unsupported("^ inside");
    if (character === "\\") {
      if (/^[1-9bBk]$/.test(this.#characters[this.#at] ?? "")) {
        this.#unsupported(`\\${this.#characters[this.#at]}`);
      }
      return this.#shared(this.#escape());
    }
    if ("*+?{}]".includes(character)) this.#wrong(`unexpected ${character}`);
    return write(one(character.codePointAt(0)!));
  }

  /** Large sets that come again are written once. */
  #shared(set: Characters): Expr {
    let expr = this.#written.get(set);
    if (expr === undefined) {
      expr = this.#reading.write(set);
      this.#written.set(set, expr);
    }
    return expr;
  }

  #group(): Expr {
    if (++this.#depth > MAX_DEPTH) this.#unsupported(`more than ${MAX_DEPTH} groups in each other`);
    if (this.#take("?") && !this.#take(":")) {
      const isNamed = this.#take("<") && /^[\w$]$/.test(this.#characters[this.#at] ?? "");
      if (!isNamed) this.#unsupported("a group with (?");
      while (!this.#take(">")) {
        if (!/^[\w$]$/.test(this.#characters[this.#at++] ?? "")) this.#wrong("the name of a group is wrong");
      }
    }
    const branches = [this.#branch()];
    while (this.#take("|")) branches.push(this.#branch());
    if (this.#characters[this.#at] === "$") this.#unsupported("$ inside");
    if (!this.#take(")")) this.#wrong("a group must end with )");
    this.#depth--;
    return alt(...branches);
  }

  #class(): Characters {
    const isNegated = this.#take("^");
    const ranges: number[] = [];
    while (!this.#take("]")) {
      const first = this.#member();
      if (this.#characters[this.#at] === "-" && this.#characters[this.#at + 1] !== "]") {
        this.#at++;
        const last = this.#member();
        if (first.length !== 2 || last.length !== 2 || first[0] !== first[1] || last[0] !== last[1]) {
          this.#wrong("a range must be between two characters");
        }
        if (last[0] < first[0]) this.#wrong("a range is out of order");
        ranges.push(first[0], last[0]);
      } else ranges.push(...first);
    }
    const set = characters(...ranges);
    return isNegated ? complement(set) : set;
  }

  #member(): Characters {
    const character = this.#characters[this.#at++];
    if (character === undefined) this.#wrong("a class must end with ]");
    if (character !== "\\") return one(character.codePointAt(0)!);
    if (this.#take("b")) return one(8);
    return this.#escape();
  }

  /** What a backslash makes of what follows it. */
  #escape(): Characters {
    const letter = this.#characters[this.#at++];
    if (letter === undefined) this.#wrong("a backslash must not be the end");
    if (Object.hasOwn(CLASSES, letter)) return CLASSES[letter];
    if (Object.hasOwn(CONTROLS, letter)) return one(CONTROLS[letter]);
    if (letter === "x") return one(this.#hex(2));
    if (letter === "u") return one(this.#unicode());
    if (/^[A-Za-z0-9]$/.test(letter)) this.#unsupported(`\\${letter}`);
    return one(letter.codePointAt(0)!);
  }

  #unicode(): number {
    if (!this.#take("{")) {
      const unit = this.#hex(4);
      if (unit < 0xd800 || unit > 0xdbff) return unit;
      // Two surrogates in a row are one character.
      if (!this.#take("\\") || !this.#take("u")) this.#wrong("half a character");
      return 0x10000 + ((unit - 0xd800) << 10) + (this.#hex(4) - 0xdc00);
    }
    let digits = "";
    while (!this.#take("}")) {
      digits += this.#characters[this.#at++] ?? "";
      if (!/^[\da-f]{1,6}$/i.test(digits)) this.#wrong("a code point must be 1 to 6 hexadecimal digits");
    }
    return Number.parseInt(digits, 16);
  }

  #hex(length: number): number {
    const digits = this.#characters.slice(this.#at, this.#at + length).join("");
    if (digits.length !== length || !/^[\da-f]+$/i.test(digits)) {
      this.#wrong(`${length} hexadecimal digits are missing`);
    }
    this.#at += length;
    return Number.parseInt(digits, 16);
  }

  #take(character: string): boolean {
    if (this.#characters[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #wrong(what: string): never {
    throw new TypeError(
      `"${this.#reading.name}" must be a regular expression: ${what}, at character ${this.#at}`,
    );
  }

  #unsupported(what: string): never {
    throw new RangeError(
      `"${this.#reading.name}" must not have ${what}, which is not supported, at character ${this.#at}`,
    );
  }
}

function one(point: number): Characters {
  return characters(point, point);
}
