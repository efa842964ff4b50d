/** `POST /v1/verify` over rows that come along: the library's verdict, and the target's law whatever was drafted. */
import { describe, expect, it } from "vitest";
import { createPipeline, denseProbabilities } from "../../src/decoding/pipeline.ts";
import { seededRandom } from "../../src/decoding/verify/random.ts";
import { drawCorrection } from "../../src/decoding/verify/verify.ts";
import { encodeRow, encodeRows, ROWS_MEDIA_TYPE, rowToJson } from "../../src/format/wire/index.ts";
import { createRandom, ln, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

const { post, app, errors } = fakeService(undefined, { maxBodyBytes: 8 << 20 });

interface Answer {
  accepted: number;
  path: number[];
  tokens: number[];
  logprobs: number[];
  pending: number | null;
  stats: { drafted: number; tested: number; accepted: number };
  verifier: string;
  reproducible: boolean;
  lossless: boolean;
  position: number;
  seed: number;
  state?: number[];
  logits?: number[];
  probs?: number[];
  error: { message: string; param: string; type: string };
}

async function verify(body: object): Promise<Answer> {
  const response = await post("/v1/verify", body);
  const answer = (await response.json()) as Answer;
  expect([response.status, errors, answer.error]).toEqual([200, [], undefined]);
  return answer;
}

const VOCAB = 24;
const random = createRandom(8);
const rows = Array.from({ length: 5 }, () => Array.from(randomRow(random, VOCAB)));
const best = rows.map((row) => row.indexOf(Math.max(...row)));
const greedy = { temperature: 0 };

describe("a draft over rows", () => {
  it("is accepted as far as the sampler has its choice", async () => {
    const { target, other } = { target: rows.slice(0, 4), other: (best[1] + 1) % VOCAB };
    const body = { rows: { target }, sampling: greedy, position: 10, seed: 1 };
    expect(await verify({ ...body, draft: best.slice(0, 3), return: ["logits"] })).toEqual({
      object: "verification",
      accepted: 3,
      path: [0, 1, 2],
      tokens: best.slice(0, 4),
      logprobs: [0, 0, 0, 0],
      pending: null,
      stats: { drafted: 3, tested: 3, accepted: 3 },
      verifier: "match",
      reproducible: true,
      lossless: true,
      position: 14,
      seed: 1,
      logits: rows[3].map((z) => expect.closeTo(z, 6)),
    });
    expect(await verify({ ...body, draft: [best[0], other, best[2]] })).toMatchObject({
      accepted: 1,
      tokens: best.slice(0, 2),
      stats: { drafted: 3, tested: 2, accepted: 1 },
    });
    expect(await verify({ rows: { target: [rows[0]] }, sampling: greedy })).toMatchObject({
      accepted: 0,
      tokens: [best[0]],
    });
  });

  it("gives what plain sampling gives, at any temperature, position by position", async () => {
    const sampled: number[] = [];
    for (const [i, row] of rows.slice(0, 4).entries()) {
      const body = { rows: { row }, seed: 5, position: 30 + i };
      sampled.push(((await (await post("/v1/sample", body)).json()) as { token: number }).token);
    }
    const target = rows.slice(0, 4);
    for (const verifier of ["match", "gumbel", "greedy"]) {
      const { tokens } = await verify({
        rows: { target },
        draft: sampled.slice(0, 3),
        seed: 5,
        position: 30,
        verifier,
      });
      expect(tokens).toEqual(sampled);
    }
  });

  it("hands on what mirostat remembers, so that a text goes on as without a draft", async () => {
    const sampling = { mirostat: 2, mirostat_tau: 3, mirostat_eta: 0.3 };
    const place = { seed: 3, sampling };
    const plain: number[] = [];
    let state: unknown;
    for (const [position, row] of rows.entries()) {
      const body = {
        rows: { row },
        ...place,
        position,
        history: plain,
        ...(state !== undefined && { state }),
      };
      const answer = await (await post("/v1/sample", body)).json();
      ({ state } = answer as { state: unknown });
      plain.push((answer as { token: number }).token);
    }
    const first = await verify({ ...place, rows: { target: rows.slice(0, 3) }, draft: plain.slice(0, 2) });
    expect(first.tokens).toEqual(plain.slice(0, 3));
    const rest = { ...place, rows: { target: rows.slice(3) }, draft: [plain[3]], history: first.tokens };
    const second = await verify({ ...rest, position: 3, state: first.state });
    expect([...first.tokens, ...second.tokens]).toEqual(plain);
    expect(second.state).toEqual(state);
    for (const wrong of [[], [1, 2], "x", [null]]) {
      const refused = await post("/v1/verify", { ...rest, state: wrong });
      expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: "state" } }]);
    }
  });

  it("may be a tree", async () => {
    // Two children of the text, the second is right, and so is one of its own two.
    const wrong = (best[0] + 1) % VOCAB;
    const draft = [wrong, best[0], (best[2] + 1) % VOCAB, best[2]];
    const answer = await verify({
      rows: { target: rows },
      draft,
      parents: [-1, -1, 1, 1],
      sampling: greedy,
    });
    expect(answer).toMatchObject({ path: [1, 3], tokens: [best[0], best[2], best[4]] });
  });

  it("has the target's law where it was drawn from rows", async () => {
    const p = [0.6, 0.3, 0.1];
    const q = [0.2, 0.3, 0.5];
    const counts = [0, 0, 0];
    const law = createPipeline([]);
    const draftRow = Float64Array.from(ln(...q));
    const trials = 1500;
    for (let seed = 0; seed < trials; seed++) {
      const x = law.sample(draftRow, { history: [], promptLength: 0, seed: seed + 1e6 }).token;
      const { tokens } = await verify({
        rows: { target: [ln(...p), ln(...p)].map((row) => Array.from(row)), draft: [Array.from(draftRow)] },
        draft: [x],
        verifier: seed % 2 === 0 ? "token" : "block",
        seed,
      });
      counts[tokens[0]]++;
    }
    // Pearson's χ² with 2 degrees of freedom: above 13.8 once in a thousand.
    const chi = p.reduce((sum, share, i) => sum + (counts[i] - trials * share) ** 2 / (trials * share), 0);
    expect(chi).toBeLessThan(13.8);
  });

  it("tells who has its rows what to draw the correction from, where only scalars were sent", async () => {
    let corrected = 0;
    const q = ln(0.5, 0.25, 0.25);
    const p = ln(0.1, 0.45, 0.45);
    for (let seed = 0; seed < 20; seed++) {
      const body = { draft: [0], seed, position: 3, verifier: "token" };
      const target = [Array.from(p), Array.from(p)];
      const whole = await verify({ ...body, rows: { target, draft: [Array.from(q)] } });
      const scalars = await verify({ ...body, rows: { target }, scalars: [0.5] });
      if (scalars.pending === null) {
        expect(scalars.tokens).toEqual(whole.tokens);
        continue;
      }
      corrected++;
      expect(scalars).toMatchObject({ pending: 0, tokens: [], accepted: 0, position: 3 });
      const token = drawCorrection({
        target: Float64Array.from(scalars.probs!),
        draft: Float64Array.of(0.5, 0.25, 0.25),
        start: 3,
        random: seededRandom(seed),
      });
      expect([token]).toEqual(whole.tokens);
    }
    expect(corrected).toBeGreaterThan(5);
  });

  it("may come in any encoding, and as a message", async () => {
    for (const encoding of ["int8", "top-k", "lattice"] as const) {
      const encoded = rows.slice(0, 3).map((row) => encodeRow(Float32Array.from(row), encoding));
      const body = { draft: best.slice(0, 2), seed: 3, position: 6, verifier: "token" };
      const json = { target: encoded.map(rowToJson), draft: encoded.slice(0, 2).map(rowToJson) };
      const expected = await verify({ ...body, rows: json });
      // q is p: everything is accepted.
      expect(expected.accepted).toBe(2);
      const places = { target: [{ row: 0 }, { row: 1 }, { row: 2 }], draft: [{ row: 0 }, { row: 1 }] };
      const note = JSON.stringify({ ...body, rows: places });
      const response = await app.request("/v1/verify", {
        method: "POST",
        headers: { "content-type": ROWS_MEDIA_TYPE },
        body: encodeRows(encoded, encoding, { note }) as Uint8Array<ArrayBuffer>,
      });
      expect(await response.json()).toEqual(expected);
    }
  });

  it("tells the law of its last place", async () => {
    const sampling = { temperature: 0.5, top_k: 4 };
    const { probs } = await verify({ rows: { target: [rows[0]] }, sampling, return: ["probs"], seed: 0 });
    const steps = [
      { step: "temperature", temperature: 0.5 },
      { step: "top-k", k: 4 },
    ];
    const context = { history: [], promptLength: 0, seed: 0 };
    const law = denseProbabilities(createPipeline(steps).distribution(Float64Array.from(rows[0]), context));
    expect(probs).toEqual(Array.from(law, (p) => expect.closeTo(p, 6)));
  });

  it("says what a lossy verifier does not promise", async () => {
    const target = rows.slice(0, 2);
    const body = { rows: { target }, draft: [best[0]], verifier: { verifier: "typical", epsilon: 0.2 } };
    expect(await verify(body)).toMatchObject({ verifier: "typical", lossless: false, reproducible: false });
  });
});

describe("what is wrong", () => {
  const target = [rows[0], rows[1]];
  it.each<[object, string]>([
    [{}, "rows"],
    [{ rows: {} }, "rows.target"],
    [{ rows: { target: [] } }, "rows.target"],
    [{ rows: { target: [rows[0], [1, 2]] }, draft: [1] }, "rows.target[1]"],
    [{ rows: { target }, draft: [1, 2] }, "rows.target"],
    [{ rows: { target }, draft: [VOCAB] }, "draft[0]"],
    [{ rows: { target }, draft: "x" }, "draft"],
    [{ rows: { target }, draft: [1], parents: [0] }, "parents[0]"],
    [{ rows: { target }, draft: [1], parents: [] }, "parents"],
    [{ rows: { target }, draft: [1], scalars: [2], verifier: "token" }, "scalars[0]"],
    [{ rows: { target }, draft: [1], scalars: [] }, "scalars"],
    [{ rows: { target }, draft: [1], verifier: "best" }, "verifier"],
    [{ rows: { target }, draft: [1], verifier: { verifier: "typical", epsilon: 2 } }, "verifier.epsilon"],
    [{ rows: { target }, draft: [1], verifier: "sequoia" }, "verifier"],
    [{ rows: { target: rows.slice(0, 3) }, draft: [1, 2], parents: [-1, -1], verifier: "block" }, "verifier"],
    [{ rows: { target, draft: [[null, 1]] }, draft: [1] }, "rows.draft[0]"],
    [{ rows: { target, draft: [rows[0].map(() => null)] }, draft: [1], verifier: "token" }, "rows.draft[0]"],
    [{ rows: { target }, draft: [1], sampling: { top_p: 2 } }, "sampling.top_p"],
    [{ rows: { target }, draft: [1], history: [1], prompt_length: 3 }, "prompt_length"],
    [{ rows: { target }, draft: [1], max_tokens: 3 }, "max_tokens"],
    [{ session: 7 }, "session"],
  ])("is named, case %#", async (body, param) => {
    const response = await post("/v1/verify", body);
    const { error } = (await response.json()) as Answer;
    expect([response.status, error.param, error.type]).toEqual([400, param, "invalid_request_error"]);
  });

  it("is a session that is not there", async () => {
    for (const session of ["a", "0".repeat(32)]) {
      const response = await post("/v1/verify", { session, draft: [] });
      const { error } = (await response.json()) as { error: { code: string } };
      expect([response.status, error.code]).toEqual([404, "session_not_found"]);
    }
  });
});
