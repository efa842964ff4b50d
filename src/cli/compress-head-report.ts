import type { CompressReport } from "../compress/compress-head.ts";
import { grouped } from "../errors.ts";

/** The report as lines. */
export function compressReportText(file: string, report: CompressReport): string {
  const { method, role, vocab, hidden, codes, residual, bytes, denseBytes, fileBytes, quality } = report;
  const { kl, top1, top10, nll, nllChange, states } = quality;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const more = residual > 0 ? `, residuals of ${residual} bytes` : "";
  const lines = [
    [
      "head",
      `${method}${codes === null ? "" : `, ${grouped(codes)} codes`}${more}; ${grouped(vocab)} tokens of ${grouped(hidden)}`,
    ],
    ["used", role === "model" ? "as the model's own" : "to draft, with --draft self"],
    [
      "read per token",
      `${grouped(bytes)} bytes, ${percent(bytes / denseBytes)} of the dense head's ${grouped(denseBytes)}`,
    ],
    ["added to the file", `${grouped(fileBytes)} bytes`],
    [
      "KL",
      `${kl.toFixed(4)} nats from the dense head's law, on ${grouped(states)} states that were held out`,
    ],
    ["best token", `${percent(top1)} the same; of the best ten ${percent(top10)}`],
    [
      "NLL",
      `${(nll + nllChange).toFixed(4)} nats a token, ${nllChange < 0 ? "" : "+"}${nllChange.toFixed(4)} on ${nll.toFixed(4)}`,
    ],
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return `${file}\n${lines.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join("")}`;
}
