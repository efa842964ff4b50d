/** `POST /v1/sample` chooses as the library does, whatever the row is encoded as, and says what is wrong by its path. */
import { describe, expect, it } from "vitest";
import { createPipeline, presetSteps } from "../../src/decoding/pipeline.ts";
import { seededRandom } from "../../src/decoding/verify/random.ts";
import { decodeRow, encodeRow, encodeRows, ROWS_MEDIA_TYPE, rowToJson } from "../../src/format/wire/index.ts";
import { createRandom, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

const { post, app, errors } = fakeService(undefined, { maxBodyBytes: 4 << 20 });

interface Answer {
  token: number;
  logprob: number;
  top_logprobs?: { token: number; logprob: number }[];
  probs?: number[];
  position: number;
  seed: number;
  state?: number[];
  error: { message: string; param: string; type: string };
}

async function sample(body: object): Promise<Answer> {
  const response = await post("/v1/sample", body);
  const answer = (await response.json()) as Answer;
  expect([response.status, errors, answer.error]).toEqual([200, [], undefined]);
  return answer;
}

async function refusal(body: object) {
  const response = await post("/v1/sample", body);
  expect(response.status).toBe(400);
  return ((await response.json()) as Answer).error;
}

const random = createRandom(5);
const row = Float32Array.from(randomRow(random, 90));
const numbers = Array.from(row);

const softmax = (logits: ArrayLike<number>) => {
  const most = Math.max(...Array.from(logits));
  const weights = Array.from(logits, (z) => Math.exp(z - most));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
};

describe("sampling", () => {
  it("draws by the exponential race whose noise is a function of seed and position", async () => {
    const law = softmax(row);
    for (const position of [0, 3, 77, 4_000_000_000]) {
      const { uniform: _, noise } = seededRandom(11);
      const scores = law.map((p, token) => p / -Math.log(noise(position, token)));
      const { token, logprob, ...rest } = await sample({ rows: { row: numbers }, seed: 11, position });
      expect(token).toBe(scores.indexOf(Math.max(...scores)));
      expect(logprob).toBeCloseTo(Math.log(law[token]), 6);
      expect(rest).toEqual({ position, seed: 11 });
    }
  });

  it("follows the fields of completions, tells the law, and the likeliest", async () => {
    const sampling = { temperature: 0.7, top_k: 3 };
    const { probs, top_logprobs, token } = await sample({
      rows: { row: numbers },
      sampling,
      top_logprobs: 3,
      return: ["probs"],
      seed: 1,
    });
    const best = [...numbers.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3);
    const law = softmax(best.map((id) => row[id] / 0.7));
    expect(top_logprobs!.map((top) => top.token)).toEqual(best);
    for (const [i, id] of best.entries()) {
      expect(probs![id]).toBeCloseTo(law[i], 6);
      expect(top_logprobs![i].logprob).toBeCloseTo(Math.log(law[i]), 5);
    }
    expect(best).toContain(token);
    expect((await sample({ rows: { row: numbers }, sampling: { temperature: 0 } })).token).toBe(best[0]);
    const steps = [{ step: "top-k", k: 1 }];
    expect((await sample({ rows: { row: numbers }, sampling: { pipeline: steps } })).token).toBe(best[0]);
  });

  it("takes every encoding for the row that it decodes to", async () => {
    for (const encoding of ["f32", "f16", "int8", "int4", "top-k", "lattice", "ids"] as const) {
      const encoded = encodeRow(row, encoding);
      const expected = await sample({
        rows: { row: Array.from(decodeRow(encoded), (z) => (z === -Infinity ? null : z)) },
        seed: 3,
        position: 9,
      });
      const body = { seed: 3, position: 9 };
      const { token } = await sample({ rows: { row: rowToJson(encoded) }, ...body });
      expect([encoding, token]).toEqual([encoding, expected.token]);
      const note = JSON.stringify({ ...body, rows: { row: { row: 0 } } });
      const response = await app.request("/v1/sample", {
        method: "POST",
        headers: { "content-type": ROWS_MEDIA_TYPE },
        body: encodeRows([encoded], encoding, { note }) as Uint8Array<ArrayBuffer>,
      });
      expect(((await response.json()) as Answer).token).toBe(token);
    }
    const truncated = { ids: [4, 2], logprobs: [-0.5, -1], tail_mass: 0.02, vocab: 90 };
    expect((await sample({ rows: { row: truncated }, sampling: { temperature: 0 } })).token).toBe(4);
  });

  it("looks at the history, and counts the position from it", async () => {
    const [best, second] = [...numbers.keys()].sort((a, b) => row[b] - row[a]);
    const body = { rows: { row: numbers }, history: [1, best, best], prompt_length: 1 };
    const gap = row[best] - row[second];
    const sampling = { temperature: 0, frequency_penalty: gap };
    expect(await sample({ ...body, sampling, seed: 0 })).toMatchObject({ token: second, position: 3 });
    expect((await sample({ ...body, history: [1, best], sampling: { temperature: 0 } })).token).toBe(best);
  });

  it("hands on what mirostat learned", async () => {
    const steps = presetSteps("edgewise", { mirostat: { version: 2, tau: 3, eta: 0.3 } });
    const pipeline = createPipeline(steps);
    let state = pipeline.start();
    let given: number[] | undefined;
    for (let position = 0; position < 4; position++) {
      const expected = pipeline.sample(row, { history: [], promptLength: 0, position, seed: 2, state });
      const answer = await sample({
        rows: { row: numbers },
        sampling: { pipeline: steps },
        seed: 2,
        position,
        state: given,
      });
      expect([answer.token, answer.logprob]).toEqual([
        expected.token,
        expect.closeTo(expected.logProbability, 6),
      ]);
      state = expected.state;
      given = answer.state;
    }
  });

  it("obeys a bitmask", async () => {
    const words = [0, 1 << 5, 0];
    const body = { rows: { row: numbers }, sampling: { pipeline: [{ step: "bitmask" }] }, bitmask: words };
    expect(await sample(body)).toMatchObject({ token: 37, logprob: 0 });
  });
});

describe("what is wrong", () => {
  it.each([
    [{}, "rows"],
    [{ rows: {} }, "rows.row"],
    [{ rows: { row: [] } }, "rows.row"],
    [{ rows: { row: [1, 2] }, seed: -1 }, "seed"],
    [{ rows: { row: [1, 2] }, position: 2 ** 32 }, "position"],
    [{ rows: { row: [1, 2] }, history: [1], prompt_length: 2 }, "prompt_length"],
    [{ rows: { row: [1, 2] }, history: "text" }, "history"],
    [{ rows: { row: [1, 2] }, sampling: { top_p: 3 } }, "sampling.top_p"],
    [{ rows: { row: [1, 2] }, state: [1] }, "state"],
    [{ rows: { row: [1, 2] }, return: ["all"] }, "return[0]"],
    [{ rows: { row: [1, 2] }, bitmask: [-1] }, "bitmask[0]"],
    [{ rows: { row: numbers }, bitmask: [1] }, "bitmask"],
    [{ rows: { row: [1, 2] }, more: 1 }, "more"],
  ])("is named, case %#", async (body, param) => {
    expect(await refusal(body)).toMatchObject({ param, type: "invalid_request_error" });
  });

  it("is a row of which nothing is left", async () => {
    expect((await refusal({ rows: { row: [null, null] } })).message).toContain(
      "no logit of the row is above",
    );
  });
});
