/**
 * Who samples from a decoded row and verifies against the same decoded row loses nothing, by exact enumeration, however
 * coarse the encoding; who verifies against another copy of it does.
 */
import { describe, expect, it } from "vitest";
import type { Row, RowSet } from "../../../src/decoding/draft.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { decodeRow, type EncodedRow, encodeRow, trainCodebook } from "../../../src/format/wire/index.ts";
import type { EncodingSpec } from "../../../src/format/wire/types.ts";
import {
  BINARY,
  chain,
  compareRound,
  drawBy,
  type Model,
  type RoundRequest,
  randomModel,
  UNEVEN,
} from "../../decoding/verify/models.ts";
import { lawOf } from "./support.ts";

const CODEBOOK = trainCodebook(
  [1, 2, 3].map((seed) => randomModel(seed, 4)([]).map(Math.log)),
  { count: 2, dim: 4 },
);

const SPECS: readonly Exclude<EncodingSpec, string>[] = [
  { encoding: "f16" },
  { encoding: "int8" },
  { encoding: "int4", clip: 2 },
  { encoding: "vq", codebook: CODEBOOK },
  { encoding: "top-k", count: 1 },
  { encoding: "lattice", resolution: 5 },
];

const ENCODED = new WeakMap<Row, EncodedRow>();

/** A model whose rows are what is decoded; the very bytes go to the verifier. */
function through(spec: EncodingSpec, model: Model): Model {
  const rows = new Map<string, Float64Array>();
  return (context) => {
    const key = context.join();
    let law = rows.get(key);
    if (law === undefined) {
      const encoded = encodeRow(model(context).map(Math.log), spec);
      law = lawOf(decodeRow(encoded));
      ENCODED.set(law, encoded);
      rows.set(key, law);
    }
    return law;
  };
}

const encodedRows = (rows: RowSet): RowSet => ({
  ...rows,
  row: (index) => ENCODED.get(rows.row(index) as Row)!,
});

const verifyEncoded =
  (policy: Policy) =>
  ({ rows, draft, ...request }: RoundRequest) => {
    const { law } = draft;
    if (law === "one-hot" || "scalars" in law) throw new Error("Drafts here have rows");
    return verify({
      ...request,
      rows: encodedRows(rows),
      draft: { ...draft, law: { rows: encodedRows(law.rows) } },
      policy,
    });
  };

describe.each(SPECS.map((spec) => [spec.encoding, spec] as const))("rows in %s", (_, spec) => {
  for (const [verifier, parents] of [
    ["token", chain(3)],
    ["block", chain(3)],
    ["specinfer", UNEVEN],
    ["sequoia", BINARY],
    ["traversal", UNEVEN],
  ] as const) {
    it(`are verified without loss: ${verifier}`, () => {
      for (const seed of [1, 2]) {
        const { maxError } = compareRound({
          target: through(spec, randomModel(seed, 3)),
          draft: through(spec, randomModel(seed + 100, 3)),
          parents,
          draw: drawBy(verifier === "sequoia" || verifier === "traversal" ? "distinct" : "independent"),
          run: verifyEncoded({ verifier }),
        });
        expect(maxError).toBeLessThan(1e-12);
      }
    });
  }
});

it("loses something if who drafts does not draw from the decoded row", () => {
  for (const spec of SPECS.slice(2)) {
    const plain = randomModel(101, 3);
    const { distance } = compareRound({
      target: randomModel(1, 3),
      draft: plain,
      claimed: through(spec, plain),
      parents: chain(2),
      draw: drawBy("independent"),
      run: (request) => verify({ ...request, policy: { verifier: "token" } }),
    });
    expect(distance).toBeGreaterThan(1e-3);
  }
});

it("gives wrong bytes the path of the row", () => {
  const wrong = { ...encodeRow([0, 1], "f32"), vocab: 3 };
  const rows: RowSet = { count: 2, vocab: 3, row: () => wrong };
  const random = { uniform: () => 0, noise: () => 0.5 };
  const round = {
    rows,
    draft: { tokens: [1], law: "one-hot" },
    start: 0,
    random,
    policy: { verifier: "token" },
  } as const;
  expect(() => verify(round)).toThrow('"rows[0].data" must have 12 bytes for 3 tokens in "f32", got 8');
});
