import type { TensorInfo } from "../format/gguf.ts";

/** What `--json` prints. Facts that the file does not tell are null; sizes are bytes. */
export interface Report {
  file: string;
  bytes: number | null;
  gguf_version: number;
  name: string | null;
  architecture: string | null;
  /** Of the architecture's metadata: layers, widths, heads. */
  shape: Readonly<Record<string, number>>;
  parameters: number;
  context_length: number | null;
  tokenizer: { model: string | null; pre: string | null; vocab: number } | null;
  chat_template: boolean;
  tensors: Pick<TensorInfo, "name" | "type" | "shape" | "bytes">[];
  types: Readonly<Record<string, TypeTotal>>;
  /** Null if it can run. */
  reason: string | null;
  runs: boolean;
  memory: Memory | null;
}

export interface TypeTotal {
  tensors: number;
  parameters: number;
  bytes: number;
  /** Whether weights of this type can run here. */
  supported: boolean;
}

export interface Memory {
  /** Positions that `context` and `total` are for. */
  positions: number;
  weights: number;
  working: number;
  context: number;
  context_per_1000_positions: number;
  total: number;
}
