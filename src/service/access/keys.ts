/**
 * The keys that open a service. Only their SHA-256 hashes are kept; a key may be configured as a hash too, so that whoever
 * reads the configuration cannot use it.
 *
 * Hashes suffice without salt or stretching: a key is a random text of a machine, not a password that one could guess.
 */
import { show } from "../errors.ts";
import { type KeyLimits, readKeyLimits } from "./key-limits.ts";

/** A key as it is configured. */
export interface KeyOptions extends KeyLimits {
  /** The key itself, or `sha256:` and the 64 hexadecimal digits of its hash. */
  readonly key: string;
  /** What it is called in logs and limits. Default: key-1, key-2, … in order. */
  readonly name?: string;
}

/** Who asks: the name of a key, and what this key may take. */
export interface Caller {
  readonly name: string;
  readonly limits: KeyLimits;
}

interface Entry extends Caller {
  /** Of 32 bytes. */
  readonly hash: Uint8Array;
}

/** A key before it is hashed: hashing is asynchronous, reading the configuration is not. */
interface Unhashed extends Caller {
  readonly key: string;
}

/** What RFC 6750 allows after "Bearer". */
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;
const HASH = /^sha256:([0-9a-f]{64})$/i;
const NAME = /^[A-Za-z0-9][\w.@-]{0,63}$/;
const SHORTEST = 8;
const LONGEST = 512;

export class ApiKeys {
  readonly #given: readonly Unhashed[];
  #entries: readonly Entry[] | undefined;

  /** @throws {TypeError | RangeError} If a key is malformed, or two have the same name; never tells a key. */
  constructor(keys: readonly (string | KeyOptions)[], defaults: KeyLimits = {}) {
    this.#given = keys.map((given, index) => readKey(given, index, defaults));
    const names = this.#given.map(({ name }) => name);
    const again = names.findIndex((name, index) => names.indexOf(name) < index);
    if (again >= 0) throw new RangeError(`"keys[${again}].name" must be unique, got "${names[again]}" again`);
  }

  /** Without keys a service is open to all. */
  get isOpen(): boolean {
    return this.#given.length === 0;
  }

  /** Whose key this is. Takes as long for a wrong key as for a right one, whichever of them it is. */
  async find(key: string): Promise<Caller | undefined> {
    // Not a shared promise: a Worker's request must not wait for what another request began.
    this.#entries ??= await Promise.all(
      this.#given.map(async ({ key: text, name, limits }) => ({ name, limits, hash: await hashOf(text) })),
    );
    const hash = await sha256(key.length <= LONGEST ? key : "");
    let found: Caller | undefined;
    for (const { name, limits, hash: other } of this.#entries) {
      let difference = 0;
      for (let i = 0; i < hash.length; i++) difference |= hash[i] ^ other[i];
      if (difference === 0) found = { name, limits };
    }
    return found;
  }
}

function readKey(given: string | KeyOptions, index: number, defaults: KeyLimits): Unhashed {
  const path = `keys[${index}]`;
  const options = typeof given === "string" ? splitName(given) : given;
  if (typeof options !== "object" || options === null || typeof options.key !== "string") {
    throw new TypeError(`"${path}" must be a key, or an object with key, got ${show(typeof given)}`);
  }
  const { key, name = `key-${index + 1}` } = options;
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new RangeError(`"${path}.name" must have 1 to 64 letters, digits or ._@-, got ${show(name)}`);
  }
  const isHash = /^sha256:/i.test(key);
  if (isHash && !HASH.test(key)) {
    throw new RangeError(
      `"${path}" must have 64 hexadecimal digits after "sha256:", got ${key.length - 7} characters`,
    );
  }
  if (!isHash && (key.length < SHORTEST || key.length > LONGEST || !TOKEN.test(key))) {
    throw new RangeError(
      `"${path}" must have ${SHORTEST} to ${LONGEST} characters, letters, digits and ._~+/- with = at the end, got ${key.length} characters`,
    );
  }
  return { key, name, limits: { ...defaults, ...readKeyLimits(path, options) } };
}

/** `alice:KEY` or `KEY`; a key itself has no colon, but for `sha256:`. */
function splitName(text: string): KeyOptions {
  const at = text.search(/:(?!.*:)/);
  const isHash = /(^|:)sha256:[^:]*$/i.test(text);
  const cut = isHash ? text.toLowerCase().lastIndexOf("sha256:") - 1 : at;
  return cut < 0 ? { key: text } : { name: text.slice(0, cut), key: text.slice(cut + 1) };
}

/**
 * Keys as an environment variable or a file holds them: one per line or between commas, `KEY` or `NAME:KEY`, `#` begins a
 * comment; or a JSON array of those and of objects with limits.
 *
 * @throws {TypeError} If it looks like JSON and is not.
 */
export function parseKeys(text: string): (string | KeyOptions)[] {
  if (/^\s*\[/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      // What the parser says would quote a key.
      throw new TypeError("API keys that begin with [ must be a JSON array");
    }
  }
  return text
    .replace(/#.*$/gm, "")
    .split(/[\s,]+/)
    .filter((entry) => entry !== "");
}

async function hashOf(key: string): Promise<Uint8Array> {
  const digits = HASH.exec(key)?.[1];
  if (digits === undefined) return sha256(key);
  return Uint8Array.from(digits.match(/../g)!, (pair) => Number.parseInt(pair, 16));
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}
