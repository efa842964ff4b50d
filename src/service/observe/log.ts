/** What a service says about itself: objects that are one line of JSON each. */

/** One line. Never holds a prompt, an answer, a key, a path of a file or a stack. */
export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly event: "request" | "error" | "open";
  readonly [field: string]: unknown;
}

export type Log = (line: LogLine) => void;

/** The usual place: Workers index what goes there by its fields. */
export const consoleLog: Log = (line) => console.log(JSON.stringify(line));

/** An unexpected error as a line. Its stack is left out, as it has paths, and so are paths in its message. */
export function errorLine(error: unknown, requestId?: string): LogLine {
  const isError = error instanceof Error;
  return {
    level: "error",
    event: "error",
    ...(requestId !== undefined && { request_id: requestId }),
    error: isError ? error.name : typeof error,
    message: withoutPaths(isError ? error.message : String(error)).slice(0, 500),
  };
}

const PATH = /(?<![\w/.:-])(?:file:\/\/|[A-Za-z]:[\\/]|\/(?=[^\s/"'`]+\/))[^\s"'`,;()]*/g;

/** "/home/me/model.gguf" → "…/model.gguf". */
export function withoutPaths(text: string): string {
  return text.replace(PATH, (path) => `…/${/[^\\/]*$/.exec(path)![0]}`);
}
