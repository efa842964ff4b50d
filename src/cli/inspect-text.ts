/** The report of `edgewise inspect` for people. */
import { grouped } from "../errors.ts";
import type { Report } from "./inspect-report.ts";

/** Names come from a file that is not trusted: what a terminal could take for a command is shown, not sent. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);
}

export function reportText(report: Report): string {
  const { bytes, name, architecture, shape, tokenizer, context_length } = report;
  const size = bytes === null ? "" : `, ${megabytes(bytes)}`;
  const sizes = Object.entries(shape).map(([what, value]) => `${what.replace("_", " ")} ${grouped(value)}`);
  const lines = [
    `${printable(report.file)}: GGUF version ${report.gguf_version}${size}`,
    "",
    ...columns([
      ["name", printable(name ?? "not given")],
      ["architecture", [printable(architecture ?? "not given"), ...sizes].join(", ")],
      ["parameters", grouped(report.parameters)],
      ["context", context_length === null ? "not given" : `${grouped(context_length)} positions`],
      ["tokenizer", tokenizer === null ? "none" : tokenizerText(tokenizer)],
      ["chat template", report.chat_template ? "yes" : "no"],
    ]),
    "",
    ...columns(
      [
        ["tensor", "count", "type", "shape", "bytes"],
        ...groupTensors(report.tensors).map(({ label, count, type, shape, bytes }) => [
          printable(label),
          String(count),
          type,
          shape.map(grouped).join(" x "),
          grouped(bytes),
        ]),
      ],
      [1, 4],
    ),
    "",
    ...columns(
      [
        ["type", "tensors", "parameters", "bytes", ""],
        ...Object.entries(report.types).map(([type, total]) => [
          type,
          grouped(total.tensors),
          grouped(total.parameters),
          grouped(total.bytes),
          total.supported ? "" : "cannot run here",
        ]),
      ],
      [1, 2, 3],
    ),
    "",
    ...runsText(report),
  ];
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

function tokenizerText({ model, pre, vocab }: NonNullable<Report["tokenizer"]>): string {
  const kind = [model ?? "not given", ...(pre === null ? [] : [`pre-tokenizer ${pre}`])];
  return printable(`${kind.join(", ")}, ${grouped(vocab)} tokens`);
}

function runsText({ runs, reason, memory }: Report): string[] {
  const lines = runs ? ["Can run."] : [`Cannot run here. ${printable(reason ?? "")}`];
  if (memory === null) return lines;
  const { positions, weights, working, context, context_per_1000_positions, total } = memory;
  return [
    ...lines,
    `Memory for ${grouped(positions)} positions: ${megabytes(total)}`,
    ...columns(
      [
        ["  weights", megabytes(weights)],
        ["  working", megabytes(working)],
        [
          "  context",
          `${megabytes(context)}`,
          `${megabytes(context_per_1000_positions)} per 1,000 positions`,
        ],
      ],
      [1],
    ),
  ];
}

interface TensorGroup {
  label: string;
  count: number;
  type: string;
  shape: readonly number[];
  /** Of all together. */
  bytes: number;
}

/** Tensors that differ in the layer alone are one line: `blk.0-29.attn_q.weight`. Order is that of first appearance. */
export function groupTensors(tensors: Report["tensors"]): TensorGroup[] {
  const groups = new Map<string, TensorGroup & { layers: number[] }>();
  for (const { name, type, shape, bytes } of tensors) {
    const [, layer, part] = /^blk\.(\d{1,6})\.(.+)$/s.exec(name) ?? [];
    const key = JSON.stringify([part ?? null, layer === undefined ? name : null, type, shape]);
    const group = groups.get(key);
    if (group === undefined) {
      groups.set(key, {
        label: part ?? name,
        count: 1,
        type,
        shape,
        bytes,
        layers: layer === undefined ? [] : [Number(layer)],
      });
      continue;
    }
    group.count += 1;
    group.bytes += bytes;
    group.layers.push(Number(layer));
  }
  return [...groups.values()].map(({ layers, label, ...group }) => ({
    ...group,
    label: layers.length === 0 ? label : `blk.${ranges(layers)}.${label}`,
  }));
}

/** [0, 1, 2, 5] is "0-2,5". */
function ranges(numbers: number[]): string {
  const sorted = numbers.sort((a, b) => a - b);
  const parts: string[] = [];
  for (let first = 0; first < sorted.length; ) {
    let last = first;
    while (sorted[last + 1] === sorted[last] + 1) last++;
    parts.push(first === last ? `${sorted[first]}` : `${sorted[first]}-${sorted[last]}`);
    first = last + 1;
  }
  return parts.join(",");
}

/** Two spaces between columns; those in `right` are aligned there. */
function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
      )
      .join("  "),
  );
}

function megabytes(bytes: number): string {
  return bytes < 100_000_000 ? `${(bytes / 1e6).toFixed(1)} MB` : `${grouped(Math.round(bytes / 1e6))} MB`;
}
