/** Models by path or address: files are loaded, servers are connected to. */
import { readFile } from "node:fs/promises";
import { isServer } from "../engine/remote/connect.ts";
import { connectModel, type Lender } from "../engine/remote/model.ts";
import { type LoadOptions, loadModel, type Model } from "../node.ts";

/** What is needed of the options of loading where a model is not loaded. */
type ConnectArguments = Pick<LoadOptions, "contextLength" | "signal">;

/**
 * @param keyFile Holds the key that the server asks for; none: it asks for none.
 * @throws As `connectModel`; or if the file has no key.
 */
export async function openServer(
  address: string,
  like: Lender,
  keyFile: string | undefined,
  { contextLength, signal }: ConnectArguments,
): Promise<Model> {
  const apiKey = keyFile === undefined ? undefined : (await readFile(keyFile, "utf8")).trim();
  if (apiKey === "") throw new RangeError(`"${keyFile}" must have a key, it is empty`);
  return connectModel(address, {
    like,
    fetch: (url, init) => fetch(url, init),
    ...(apiKey !== undefined && { apiKey }),
    ...(contextLength !== undefined && { contextLength }),
    ...(signal !== undefined && { signal }),
  });
}

/**
 * Models by name of source; what several name is opened once. The first that is a file lends the servers its tokenizer.
 *
 * @param opened Where those that are open go, so that they can be closed should a later one fail.
 */
export async function openSources(
  sources: ReadonlyMap<string, string>,
  keyFiles: ReadonlyMap<string, string>,
  options: LoadOptions,
  opened: Map<string, Model>,
): Promise<ReadonlyMap<string, Model>> {
  for (const place of sources.values()) {
    if (!isServer(place) && !opened.has(place)) opened.set(place, await loadModel(place, options));
  }
  const [like] = opened.values();
  for (const [name, place] of sources) {
    if (opened.has(place)) continue;
    if (like === undefined) {
      throw new TypeError(
        `"--source ${name}=" is a server, which has no tokenizer to lend: one "--source" must be a file`,
      );
    }
    opened.set(place, await openServer(place, like, keyFiles.get(name), options));
  }
  return new Map([...sources].map(([name, place]) => [name, opened.get(place)!]));
}
