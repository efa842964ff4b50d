import { apiError } from "./errors.ts";

/** Where in the body a path of the library's lies; undefined: nowhere, so it is not the client's fault. */
export type Rename = (path: string) => string | undefined;

/**
 * What `call` returns. The library's errors begin with the path of what is wrong; those that lie in the body become a 400
 * that names it there.
 *
 * @throws {HTTPException} 400, or the error as it is.
 */
export function checkedPaths<T>(rename: Rename, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw pathError(rename, error);
  }
}

export function pathError(rename: Rename, error: unknown): unknown {
  if (!(error instanceof RangeError || error instanceof TypeError)) return error;
  const [quoted, path] = /^"([^"]{1,300})"/.exec(error.message) ?? [];
  const param = path === undefined ? undefined : rename(path);
  if (quoted === undefined || param === undefined) return error;
  const code = error instanceof TypeError ? "invalid_type" : "invalid_value";
  return apiError(400, `"${param}"${error.message.slice(quoted.length)}`, { param, code });
}

/** The first name of a path: `rows` of `rows.base[3]`. */
export function rootOf(path: string): string {
  return /^[^.[]*/.exec(path)![0];
}
