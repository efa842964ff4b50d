/** Who may use `edgewise serve`, and how much of it: options, and the variables of the worker that they become. */
import { readFile } from "node:fs/promises";
import { ApiKeys, type KeyOptions, parseKeys } from "../service/access/keys.ts";
import type { OptionGroup } from "./option.ts";
import type { Values } from "./values.ts";

export interface AccessArguments {
  /** As `parseKeys` reads them, each one or several. */
  readonly apiKeys?: readonly string[];
  /** A file with such keys. */
  readonly apiKeyFile?: string;
  readonly corsOrigins?: string;
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly concurrency?: number;
  readonly maxTokens?: number;
}

export const ACCESS_GROUP: OptionGroup = {
  title: "Who may use it, and how much",
  options: {
    "api-key": {
      kind: "texts",
      value: "KEY",
      help: "wants this key, or one of several: KEY or NAME:KEY, where KEY may be sha256: and its hash; others see it in the list of processes, so rather use a file, or the variable API_KEYS",
    },
    "api-key-file": {
      aliases: ["api-keys-file"],
      kind: "text",
      value: "FILE",
      help: "such keys, one per line; # begins a comment",
    },
    "requests-per-minute": { kind: "integer", value: "N", help: "of each key" },
    "tokens-per-minute": { kind: "integer", value: "N", help: "of each key, of prompts and answers" },
    concurrency: { kind: "integer", value: "N", help: "requests of each key at one time" },
    "max-tokens": { kind: "integer", value: "N", help: "most tokens to decode for one request" },
    cors: { kind: "text", value: "ORIGINS", help: "pages that may use it from a browser, between commas" },
    log: { kind: "flag", help: "print a line of JSON for each request" },
  },
};

const MOST = 2 ** 31 - 1;

/** What was given of them. */
export function accessArguments(values: Values): { access?: AccessArguments; log?: boolean } {
  const names = Object.keys(ACCESS_GROUP.options).filter((name) => name !== "log" && values.has(name));
  const limit = (name: string) => values.integer(name, 1, MOST);
  return {
    ...(names.length > 0 && {
      access: {
        apiKeys: values.texts("api-key"),
        apiKeyFile: values.text("api-key-file"),
        corsOrigins: values.text("cors"),
        requestsPerMinute: limit("requests-per-minute"),
        tokensPerMinute: limit("tokens-per-minute"),
        concurrency: limit("concurrency"),
        maxTokens: limit("max-tokens"),
      },
    }),
    ...(values.has("log") && { log: true }),
  };
}

/** Variables of the worker. */
export interface AccessVariables {
  readonly API_KEYS: readonly (string | KeyOptions)[];
  readonly [name: string]: unknown;
}

/**
 * @param environment Its `API_KEYS` count where no option gives keys.
 * @throws {TypeError | RangeError} If a key is malformed, or the file has none; never tells a key.
 */
export async function accessVariables(
  { apiKeys = [], apiKeyFile, ...limits }: AccessArguments = {},
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<AccessVariables> {
  const fromFile = apiKeyFile === undefined ? [] : parseKeys(await readFile(apiKeyFile, "utf8"));
  if (apiKeyFile !== undefined && fromFile.length === 0) {
    // An empty file must not open the service to all.
    throw new RangeError(`"--api-key-file" must have at least one key, "${apiKeyFile}" has none`);
  }
  const given = [...apiKeys.flatMap(parseKeys), ...fromFile];
  const keys = given.length > 0 ? given : parseKeys(environment.API_KEYS ?? "");
  // Says now what is wrong with them.
  new ApiKeys(keys);
  return {
    API_KEYS: keys,
    ...(limits.corsOrigins !== undefined && { CORS_ORIGINS: limits.corsOrigins }),
    ...(limits.requestsPerMinute !== undefined && { REQUESTS_PER_MINUTE: limits.requestsPerMinute }),
    ...(limits.tokensPerMinute !== undefined && { TOKENS_PER_MINUTE: limits.tokensPerMinute }),
    ...(limits.concurrency !== undefined && { CONCURRENCY_PER_KEY: limits.concurrency }),
    ...(limits.maxTokens !== undefined && { MAX_TOKENS: limits.maxTokens }),
  };
}

/** The same with a key of the server's own, which it tries its models with; of hashes it could not know one. */
export function asServer({ API_KEYS, ...variables }: AccessVariables): {
  variables: object;
  headers: Record<string, string>;
} {
  if (API_KEYS.length === 0) return { variables, headers: {} };
  const key = crypto.randomUUID() + crypto.randomUUID();
  const own: KeyOptions = { name: "edgewise-serve", key, requestsPerMinute: MOST, tokensPerMinute: MOST };
  return {
    variables: { ...variables, API_KEYS: [...API_KEYS, own] },
    headers: { authorization: `Bearer ${key}` },
  };
}
