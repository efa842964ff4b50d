/**
 * `edgewise rows`: files of encoded rows (format/wire), looked into, converted, made from a text by a model; and codebooks.
 */
import { readFile, writeFile } from "node:fs/promises";
import { createWasmBackend } from "../backend/wasm/index.ts";
import {
  type Codebook,
  type DecodedRows,
  decodeRow,
  decodeRows,
  type EncodedRow,
  type EncodingSpec,
  encodeRow,
  encodeRows,
  type TrainCodebookOptions,
  trainCodebook,
  type WireKernels,
} from "../format/wire/index.ts";
import { kernelModules, loadModel } from "../node.ts";
import { EMBEDDED_MODEL, type Terminal } from "./generate.ts";
import { readInput } from "./input.ts";
import { writing } from "./output-file.ts";
import { conversionText, rowsReport, rowsText, totalVariation } from "./rows-report.ts";

/** An encoding as it was asked for, without the codebook, which is in a file. */
interface EncodingArguments {
  readonly spec: { readonly encoding: string };
  /** Path. */
  readonly codebook?: string;
}

export interface DumpArguments extends EncodingArguments {
  readonly action: "dump";
  /** Path or URL. Default: the embedded model. */
  readonly model?: string;
  readonly text?: string;
  /** Instead of `text`; "-" is standard input. */
  readonly file?: string;
  readonly output: string;
  readonly contextLength?: number;
}

export type RowsArguments =
  | { readonly action: "inspect"; readonly file: string; readonly json: boolean; readonly codebook?: string }
  | (EncodingArguments & { readonly action: "convert"; readonly input: string; readonly output: string })
  | DumpArguments
  | {
      readonly action: "codebook";
      readonly input: string;
      readonly output: string;
      readonly shape: TrainCodebookOptions;
    };

/** Tokens of one forward pass, whose rows are held together. */
const PIECE = 16;

/** @throws {RangeError | TypeError | UnsupportedError} If a file is no message of rows, or an encoding cannot hold a row. */
export async function rows(options: RowsArguments, terminal: Terminal): Promise<void> {
  const kernels = createWasmBackend((await kernelModules()).simd).wireKernels();
  switch (options.action) {
    case "inspect": {
      const bytes = await readFile(options.file);
      const message = decodeRows(bytes, { kernels, codebooks: await readCodebooks(options.codebook) });
      const report = rowsReport(options.file, bytes.length, message);
      return terminal.out(options.json ? `${JSON.stringify(report)}\n` : rowsText(report));
    }
    case "convert":
      return convert(options, kernels, terminal);
    case "dump":
      return dump(options, kernels, terminal);
    case "codebook": {
      const message = await readRows(options.input, kernels);
      const codebook = trainCodebook(allOf(message), definedOf(options.shape));
      const bytes = encodeRows([], "f32", { codebooks: [codebook] });
      await writing(options.output, () => writeFile(options.output, bytes));
      return terminal.error(`codebook ${codebook.id}, of ${message.count} rows\n`);
    }
  }
}

async function convert(
  { input, output, ...encoding }: Extract<RowsArguments, { action: "convert" }>,
  kernels: WireKernels,
  { error, signal }: Terminal,
): Promise<void> {
  const spec = await specOf(encoding);
  const bytes = await readFile(input);
  const message = decodeRows(bytes, { kernels, codebooks: await readCodebooks(encoding.codebook) });
  const encoded: EncodedRow[] = [];
  const distances: number[] = [];
  for (let index = 0; index < message.count; index++) {
    signal.throwIfAborted();
    const row = message.row(index);
    const coded = encodeRow(row, spec, { kernels, path: `rows[${index}]` });
    encoded.push(coded);
    distances.push(totalVariation(row, decodeRow(coded, { kernels })));
  }
  const { note } = message;
  // Codebooks that no row needs were there to be kept.
  const needed = new Set(message.encoded.map(({ codebook }) => codebook?.id));
  const codebooks = message.codebooks.filter(({ id }) => !needed.has(id));
  const result = encodeRows(encoded, spec, { kernels, codebooks, ...(note !== null && { note }) });
  await writing(output, () => writeFile(output, result));
  const total = distances.reduce((sum, distance) => sum + distance, 0);
  error(
    conversionText({
      rows: message.count,
      bytesBefore: bytes.length,
      bytesAfter: result.length,
      meanDistance: total / Math.max(1, distances.length),
      mostDistance: Math.max(0, ...distances),
    }),
  );
}

/** A row after each token; the note has the tokens. */
async function dump(
  { model: path, text, file, output, contextLength, ...encoding }: DumpArguments,
  kernels: WireKernels,
  { error, signal }: Terminal,
): Promise<void> {
  const spec = await specOf(encoding);
  const body = text ?? (await readInput(file!));
  const model = await loadModel(path ?? EMBEDDED_MODEL, { contextLength, signal });
  try {
    const tokens = model.tokenizer.encode(body);
    if (tokens.length === 0) throw new RangeError("Cannot dump rows: the text has no token");
    if (tokens.length > model.contextLength) {
      throw new RangeError(
        `Cannot dump rows: the text must have at most ${model.contextLength} tokens, got ${tokens.length}`,
      );
    }
    const session = model.open({ capacity: tokens.length });
    const encoded: EncodedRow[] = [];
    for (let at = 0; at < tokens.length; at += PIECE) {
      signal.throwIfAborted();
      const piece = tokens.slice(at, at + PIECE);
      const found = await session.forward(piece, piece.length);
      for (let i = 0; i < piece.length; i++) {
        encoded.push(encodeRow(found.row(i), spec, { kernels, path: `rows[${at + i}]` }));
      }
    }
    const note = JSON.stringify({ model: model.name, fingerprint: model.fingerprint, tokens });
    const bytes = encodeRows(encoded, spec, { kernels, note });
    await writing(output, () => writeFile(output, bytes));
    error(`${tokens.length} rows, ${bytes.length} bytes\n`);
  } finally {
    model.close();
  }
}

async function specOf({ spec, codebook: path }: EncodingArguments): Promise<EncodingSpec> {
  if (spec.encoding !== "vq") return spec as EncodingSpec;
  const [codebook, second] = await readCodebooks(path);
  if (codebook !== undefined && second === undefined) return { encoding: "vq", codebook };
  throw new RangeError(
    `"--codebook" must be a file with one codebook, got "${path}" with another number of them`,
  );
}

async function readCodebooks(path: string | undefined): Promise<readonly Codebook[]> {
  return path === undefined ? [] : decodeRows(await readFile(path)).codebooks;
}

async function readRows(path: string, kernels: WireKernels): Promise<DecodedRows> {
  return decodeRows(await readFile(path), { kernels });
}

function allOf(message: DecodedRows): Float32Array[] {
  return Array.from({ length: message.count }, (_, index) => message.row(index));
}

/** Without what was not given, which has defaults. */
function definedOf<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
