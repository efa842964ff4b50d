/** Entry of the same-bits test for browsers: folders are served as /build and /models. */
import { computeBits } from "./bits.ts";
import { readInput } from "./input.ts";

export const bits = readInput(async (folder, name) => {
  const response = await fetch(`/${folder}/${name}`);
  if (!response.ok) throw new RangeError(`/${folder}/${name} answers with status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}).then(computeBits);
