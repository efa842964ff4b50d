/** The fields of an object that are there; null is absent, as clients send it. */
export function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], null> } {
  const there = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(there) as { [K in keyof T]: Exclude<T[K], null> };
}
