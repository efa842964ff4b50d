import type { Architecture } from "./architecture.ts";
import { gemma3 } from "./gemma3.ts";
import { llama } from "./llama.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

/** Those that can run. */
export const ARCHITECTURES: readonly Architecture[] = [llama, qwen2, qwen3, gemma3];
