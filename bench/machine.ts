import { cpus } from "node:os";

/** Where numbers were taken; printed above every table. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** For example "Node 24.21.0 (V8 13.6)". */
  readonly runtime: string;
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    runtime: describeRuntime(),
  };
}

// Deno and Bun imitate `process.versions.node`, so they are asked first.
function describeRuntime(): string {
  const host = globalThis as { Deno?: { version: { deno: string; v8: string } }; Bun?: { version: string } };
  if (host.Deno !== undefined) return `Deno ${host.Deno.version.deno} (V8 ${host.Deno.version.v8})`;
  if (host.Bun !== undefined) return `Bun ${host.Bun.version}`;
  return `Node ${process.versions.node} (V8 ${process.versions.v8})`;
}
