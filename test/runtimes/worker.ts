/** Entry of the same-bits test for workerd, where Wasm and data are imported. */
import relaxed from "../../build/relaxed.wasm";
import simd from "../../build/simd.wasm";
import f16 from "../../models/edgewise-stories-f16.gguf";
import q4_0 from "../../models/edgewise-stories-q4_0.gguf";
import q8_0 from "../../models/edgewise-stories-q8_0.gguf";
import { type BitsInput, computeBits } from "./bits.ts";

const bytes = (data: unknown) => new Uint8Array(data as ArrayBuffer);
const models: BitsInput["models"] = { q8_0: bytes(q8_0), q4_0: bytes(q4_0), f16: bytes(f16) };

export default {
  async fetch(): Promise<Response> {
    return Response.json(await computeBits({ modules: { simd, relaxed }, models }));
  },
};
