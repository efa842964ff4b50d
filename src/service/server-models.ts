/** Models that servers run, as a worker is configured with them. */
import { Fields, kindOf } from "../decoding/pipeline/fields.ts";
import type { Model } from "../engine/model.ts";
import type { ConnectOptions } from "../engine/remote/connect.ts";
import { connectModel } from "../engine/remote/model.ts";

/** A model on a server: llama.cpp's, vLLM, another Edgewise, or what has OpenAI's completions with log-probabilities. */
export interface ServerModel
  extends Pick<ConnectOptions, "kind" | "known" | "encoding" | "contextLength" | "speech" | "timeoutMs"> {
  /** As in "https://host/v1#model". */
  readonly url: string;
  /** The model here that lends it its tokenizer. Default: the worker's own. */
  readonly like?: string;
  /** The variable with the key that it asks for; put it there by `wrangler secret put`. */
  readonly key?: string;
}

const OPTIONS = ["kind", "known", "encoding", "contextLength", "speech", "timeoutMs"] as const;

/** What a loader needs of the worker. */
export interface ServerHost {
  /** A variable of the worker. */
  variable(name: string): unknown;
  /** A model of the worker's by name. */
  model(name: string | undefined): Promise<Model>;
}

/**
 * Loaders by name of model. Values of options are checked when a server is connected to, at the first use.
 *
 * @throws {TypeError} If something is not as above; the message names the path, as in `"SERVERS.large.url"`.
 */
export function serverLoaders(
  servers: Readonly<Record<string, ServerModel>>,
  host: ServerHost,
): Record<string, () => Promise<Model>> {
  new Fields("SERVERS", servers);
  return Object.fromEntries(
    Object.entries(servers).map(([name, json]) => [name, loaderOf(name, json, host)]),
  );
}

function loaderOf(name: string, json: unknown, host: ServerHost): () => Promise<Model> {
  const path = `SERVERS.${name.slice(0, 64)}`;
  const fields = new Fields(path, json);
  const text = (field: string) => {
    const value = fields.raw(field);
    if (value === undefined || typeof value === "string") return value;
    throw new TypeError(`"${path}.${field}" must be a text, got ${kindOf(value)}`);
  };
  const [url, like, key] = [text("url"), text("like"), text("key")];
  if (url === undefined) throw new TypeError(`"${path}.url" must be given: the address of the server`);
  if (like === name) throw new RangeError(`"${path}.like" must be another model`);
  const options = Object.fromEntries(
    OPTIONS.flatMap((option) => (fields.has(option) ? [[option, fields.raw(option)]] : [])),
  ) as Partial<ServerModel>;
  fields.done();
  return async () => {
    const apiKey = key === undefined ? undefined : host.variable(key);
    if (key !== undefined && (typeof apiKey !== "string" || apiKey === "")) {
      throw new TypeError(`"${path}.key" must name a variable that is a key, "${key}" is none`);
    }
    return await connectModel(url, {
      ...options,
      name,
      like: await host.model(like),
      // Called as a method, a platform's fetch refuses.
      fetch: (address, init) => fetch(address, init),
      ...(typeof apiKey === "string" && { apiKey: apiKey.trim() }),
    });
  };
}
