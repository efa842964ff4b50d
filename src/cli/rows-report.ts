/** What `edgewise rows inspect` says about a message of rows. */
import { grouped } from "../errors.ts";
import type { DecodedRows } from "../format/wire/index.ts";
import { exp, log } from "../math.ts";

export interface SegmentReport {
  encoding: string;
  rows: number;
  /** Of all of them, without the header. */
  bytes: number;
  /** Means over the rows. */
  entropy: number;
  top_probability: number;
  codebook: string | null;
}

/** What `--json` prints. Sizes are bytes; entropy is in nats. */
export interface RowsReport {
  file: string;
  bytes: number;
  vocab: number;
  rows: number;
  segments: SegmentReport[];
  codebooks: { id: string; stages: number; count: number; dim: number }[];
  note: string | null;
}

/** Decodes every row, so a message that this reports on is sound. */
export function rowsReport(file: string, bytes: number, message: DecodedRows): RowsReport {
  const segments: SegmentReport[] = [];
  for (const [index, { encoding, data, codebook }] of message.encoded.entries()) {
    const id = codebook?.id ?? null;
    const { entropy, top } = measure(message.row(index));
    const last = segments.at(-1);
    if (last?.encoding !== encoding || last.codebook !== id) {
      segments.push({ encoding, rows: 1, bytes: data.length, entropy, top_probability: top, codebook: id });
      continue;
    }
    last.rows++;
    last.bytes += data.length;
    last.entropy += (entropy - last.entropy) / last.rows;
    last.top_probability += (top - last.top_probability) / last.rows;
  }
  const codebooks = message.codebooks.map(({ id, stages, count, dim }) => ({ id, stages, count, dim }));
  return { file, bytes, vocab: message.vocab, rows: message.count, segments, codebooks, note: message.note };
}

function measure(row: Float32Array): { entropy: number; top: number } {
  let most = -Infinity;
  for (const z of row) most = Math.max(most, z);
  let [total, weighted] = [0, 0];
  for (const z of row) {
    if (z === -Infinity) continue;
    const mass = exp(z - most);
    total += mass;
    weighted += mass * (z - most);
  }
  return { entropy: log(total) - weighted / total, top: 1 / total };
}

const LONGEST_NOTE = 200;

export function rowsText({ file, bytes, vocab, rows, segments, codebooks, note }: RowsReport): string {
  const lines = [
    `${file}: ${grouped(rows)} rows of ${grouped(vocab)} tokens, ${grouped(bytes)} bytes`,
    "",
    ...table([
      ["encoding", "rows", "bytes a row", "entropy", "best token"],
      ...segments.map((segment) => [
        segment.codebook === null ? segment.encoding : `${segment.encoding} ${segment.codebook}`,
        grouped(segment.rows),
        grouped(Math.round(segment.bytes / segment.rows)),
        `${segment.entropy.toFixed(3)} nats`,
        `${(100 * segment.top_probability).toFixed(1)} %`,
      ]),
    ]),
    ...codebooks.map(
      ({ id, stages, count, dim }) =>
        `codebook ${id}: ${stages} x ${grouped(count)} codewords of ${dim} tokens`,
    ),
    ...(note === null ? [] : ["", `note: ${printable(note)}`]),
  ];
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column])))
      .join("  "),
  );
}

/** A note comes from a file that is not trusted: what a terminal could take for a command is shown, not sent. */
function printable(text: string): string {
  const short = text.length > LONGEST_NOTE ? `${text.slice(0, LONGEST_NOTE)}…` : text;
  return short.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);
}

export interface Conversion {
  readonly rows: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly meanDistance: number;
  readonly mostDistance: number;
}

export function conversionText({
  rows,
  bytesBefore,
  bytesAfter,
  meanDistance,
  mostDistance,
}: Conversion): string {
  const change = `${grouped(bytesBefore)} bytes became ${grouped(bytesAfter)}`;
  const distance = `${meanDistance.toExponential(2)} on average, ${mostDistance.toExponential(2)} at most`;
  return `${grouped(rows)} rows: ${change}; total variation ${distance}\n`;
}

/** Half the sum of the differences of their probabilities. */
export function totalVariation(a: Float32Array, b: Float32Array): number {
  const [p, q] = [lawOf(a), lawOf(b)];
  return p.reduce((sum, value, token) => sum + Math.abs(value - q[token]), 0) / 2;
}

function lawOf(row: Float32Array): Float64Array {
  const most = row.reduce((most, z) => Math.max(most, z), -Infinity);
  const law = Float64Array.from(row, (z) => exp(z - most));
  const total = law.reduce((sum, mass) => sum + mass, 0);
  return law.map((mass) => mass / total);
}
