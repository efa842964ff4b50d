import { dequantize, F32, type GgufFile } from "./gguf.ts";

/**
 * The same model with every tensor dequantised to F32: what a runtime must agree with, apart from its own arithmetic.
 *
 * @returns Bytes of a GGUF with the metadata, tensor names and order of `file`.
 */
export function toF32(file: GgufFile): Uint8Array {
  const align = (offset: number) => Math.ceil(offset / file.alignment) * file.alignment;
  const tensors = [...file.tensors.values()];
  const encoder = new TextEncoder();
  const descriptionBytes = tensors.reduce(
    (sum, { name, shape }) => sum + 8 + encoder.encode(name).length + 4 + 8 * shape.length + 4 + 8,
    0,
  );
  const dataOffset = align(file.descriptionsOffset + descriptionBytes);
  const sizes = tensors.map(({ shape }) => 4 * shape.reduce((product, extent) => product * extent, 1));
  const bytes = new Uint8Array(dataOffset + sizes.reduce((sum, size) => sum + align(size), 0));
  bytes.set(file.bytes.subarray(0, file.descriptionsOffset));

  const view = new DataView(bytes.buffer);
  let at = file.descriptionsOffset;
  let offset = 0;
  for (const [i, { name, shape }] of tensors.entries()) {
    const encoded = encoder.encode(name);
    view.setBigUint64(at, BigInt(encoded.length), true);
    bytes.set(encoded, at + 8);
    at += 8 + encoded.length;
    view.setUint32(at, shape.length, true);
    at += 4;
    for (const extent of shape) {
      view.setBigUint64(at, BigInt(extent), true);
      at += 8;
    }
    view.setUint32(at, F32, true);
    view.setBigUint64(at + 4, BigInt(offset), true);
    at += 12;
    bytes.set(new Uint8Array(dequantize(file, name).buffer), dataOffset + offset);
    offset += align(sizes[i]);
  }
  return bytes;
}
