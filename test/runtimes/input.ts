import type { BitsInput } from "./bits.ts";

export const MODEL_NAMES = ["q8_0", "q4_0", "f16"] as const;

/** What computeBits takes, from files of the folders "build" and "models". Not for workerd, which compiles no Wasm. */
export async function readInput(
  read: (folder: "build" | "models", name: string) => Promise<Uint8Array>,
): Promise<BitsInput> {
  const bytes = async (name: string) => new Uint8Array(await read("build", `${name}.wasm`));
  const relaxed = await bytes("relaxed");
  const models: Record<string, Uint8Array> = {};
  for (const name of MODEL_NAMES) models[name] = await read("models", `edgewise-stories-${name}.gguf`);
  return {
    modules: {
      simd: await WebAssembly.compile(await bytes("simd")),
      relaxed: WebAssembly.validate(relaxed) ? await WebAssembly.compile(relaxed) : undefined,
    },
    models,
  };
}
