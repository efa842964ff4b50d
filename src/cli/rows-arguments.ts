import type { RowsArguments } from "./rows.ts";
import { ROWS_ACTIONS, type RowsAction } from "./rows-usage.ts";
import type { Values } from "./values.ts";

const MOST = 2 ** 31 - 1;

/** Options that say something about one encoding, or several. */
const OF_ENCODINGS: Readonly<Record<string, readonly string[]>> = {
  clip: ["int8", "int4"],
  count: ["top-k", "lattice", "ids"],
  precision: ["top-k"],
  resolution: ["lattice"],
  codebook: ["vq"],
};

const OF_ACTIONS: Readonly<Record<RowsAction, readonly string[]>> = {
  inspect: ["json", "codebook"],
  convert: ["encoding", ...Object.keys(OF_ENCODINGS)],
  dump: ["encoding", ...Object.keys(OF_ENCODINGS), "model", "text", "file", "output", "context"],
  codebook: ["codes", "dim", "stages", "seed"],
};

/**
 * @param given What follows `edgewise rows` and is no option.
 * @throws {TypeError | RangeError} If it is not one of the actions with its files, or has options of another.
 */
export function rowsArguments(values: Values, given: readonly string[]): RowsArguments {
  const [first, ...files] = given;
  const action = (Object.keys(ROWS_ACTIONS) as RowsAction[]).find((name) => name === first);
  if (action === undefined) {
    const names = Object.keys(ROWS_ACTIONS).join(", ");
    throw new TypeError(`Arguments of rows must begin with one of ${names}, got ${show(first)}`);
  }
  const foreign = Object.values(OF_ACTIONS)
    .flat()
    .find((name) => values.has(name) && !OF_ACTIONS[action].includes(name));
  if (foreign !== undefined) {
    throw new TypeError(`"${values.label(foreign)}" is not an option of "rows ${action}"`);
  }
  switch (action) {
    case "inspect": {
      const [file] = expectFiles(action, files, 1);
      return { action, file, json: values.has("json"), codebook: values.text("codebook") };
    }
    case "convert": {
      const [input, output] = expectFiles(action, files, 2);
      return { action, input, output, ...encodingArguments(values) };
    }
    case "dump":
      return dumpArguments(values, files);
    case "codebook": {
      const [input, output] = expectFiles(action, files, 2);
      const shape = {
        count: values.integer("codes", 1, MOST),
        dim: values.integer("dim", 1, MOST),
        stages: values.integer("stages", 1, MOST),
        seed: values.integer("seed", 0, MOST),
      };
      return { action, input, output, shape };
    }
  }
}

function dumpArguments(values: Values, files: readonly string[]): RowsArguments {
  if (files.length > 1 || (files.length === 1 && values.has("model"))) {
    throw new TypeError(
      `Arguments of rows dump must have one model at most, got ${files.map(show).join(" ")}`,
    );
  }
  const output = values.text("output");
  if (output === undefined) throw new TypeError('"--output" must be given: where the rows go');
  if (values.has("text") === values.has("file")) {
    throw new TypeError('"--text" or "--file" must be given, and not both');
  }
  const contextLength = values.integer("context", 1, MOST);
  return {
    action: "dump",
    model: files[0] ?? values.text("model"),
    text: values.text("text"),
    file: values.text("file"),
    output,
    ...encodingArguments(values),
    ...(contextLength !== undefined && { contextLength }),
  };
}

/** An encoding as it was asked for; what its numbers may be, the format knows. */
function encodingArguments(values: Values) {
  const encoding = values.text("encoding") ?? "f16";
  for (const [name, encodings] of Object.entries(OF_ENCODINGS)) {
    if (!values.has(name) || encodings.includes(encoding)) continue;
    throw new TypeError(
      `"${values.label(name)}" is of ${encodings.join(", ")}, got "--encoding ${encoding}"`,
    );
  }
  const codebook = values.text("codebook");
  if (encoding === "vq" && codebook === undefined) {
    throw new TypeError('"--encoding vq" needs "--codebook" beside it');
  }
  const options = {
    clip: values.number("clip"),
    count: values.number("count"),
    precision: values.text("precision"),
    resolution: values.number("resolution"),
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { spec: { encoding, ...Object.fromEntries(given) }, codebook };
}

function expectFiles(action: RowsAction, files: readonly string[], count: number): readonly string[] {
  if (files.length === count) return files;
  const got = files.length === 0 ? "nothing" : files.map(show).join(" ");
  throw new TypeError(
    `Arguments of rows must be "edgewise rows ${action} ${ROWS_ACTIONS[action]}", got ${got}`,
  );
}

function show(text: string | undefined): string {
  return text === undefined ? "nothing" : `"${text}"`;
}
