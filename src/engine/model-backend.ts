import type { Backend } from "../backend/backend.ts";
import type { Source } from "./source.ts";

const backends = new WeakMap<Source, Backend>();

/** Says where a source's rows are computed, to those who go on with them in the same place; users need not know. */
export function setBackend(source: Source, backend: Backend): void {
  backends.set(source, backend);
}

/** Undefined for sources of somebody else. */
export function backendOf(source: Source): Backend | undefined {
  return backends.get(source);
}
