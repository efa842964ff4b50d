/** `POST /v1/score` gives what the library gives, by name, and says by its path what is wrong. */
import { describe, expect, it } from "vitest";
import { SCORE_NAMES, type ScoreName, score, scoreInfo } from "../../src/decoding/score.ts";
import { createRandom, ln, randomRow } from "../decoding/fuse/support.ts";
import { fakeService } from "./fake-model.ts";

const { post: send, errors, app } = fakeService();

interface Answer {
  scores: Record<string, number | string>;
  parts?: Record<string, Record<string, number>>;
  error?: { message: string; type: string; param: string | null; code: string };
}

async function post(body: object): Promise<{ status: number; answer: Answer }> {
  const response = await send("/v1/score", body);
  expect(errors).toEqual([]);
  return { status: response.status, answer: (await response.json()) as Answer };
}

async function scores(body: object): Promise<Answer> {
  const { status, answer } = await post(body);
  expect([status, answer.error]).toEqual([200, undefined]);
  return answer;
}

async function refusal(body: object) {
  const { status, answer } = await post(body);
  expect(status).toBe(400);
  expect(answer.error!.type).toBe("invalid_request_error");
  return answer.error!;
}

const numbers = (row: ArrayLike<number>) => Array.from(row, (z) => (z === -Infinity ? null : z));

describe("scoring", () => {
  it("gives golden numbers", async () => {
    const { scores: one } = await scores({
      scores: ["nll", "log-partition", "max-logit"],
      rows: { row: [1, 3, 2, 0, -1] },
      target: 2,
    });
    expect(one.nll).toBeCloseTo(1.4519144, 7);
    expect(one["log-partition"]).toBeCloseTo(3.4519144, 7);
    expect(one["max-logit"]).toBe(3);
    const pair = { row: numbers(ln(1, 2, 5)), reference: numbers(ln(2, 6, 2)) };
    const { scores: two } = await scores({ scores: ["nkd", "dhkd", "kl"], rows: pair, target: 1 });
    expect(two.nkd).toBeCloseTo(2.3123374, 7);
    expect(two.dhkd).toBeCloseTo(0.312811, 6);
  });

  const GATE = { maxProbability: 3, entropy: -1, margin: 2, escortEntropy: -1, bias: -2 };
  it.each(SCORE_NAMES)("gives what the library gives: %s", async (name) => {
    const random = createRandom(3);
    const row = randomRow(random, 23);
    const reference = randomRow(random, 23);
    const extra = {
      projection: {
        offsets: Array.from({ length: 24 }, (_, i) => i),
        tokens: Array.from({ length: 23 }, (_, i) => (i * 7) % 23),
        weights: Array.from({ length: 23 }, () => 1),
      },
      common: [
        [0, 3],
        [5, 1],
      ] as [number, number][],
    };
    const options = (scoreInfo(name).options === null ? GATE : {}) as never;
    const { value, parts } = score(name, { row, reference, token: 4, ...extra }, options);
    const needs = scoreInfo(name).needs as readonly string[];
    const answer = await scores({
      scores: [name],
      rows: {
        row: numbers(row),
        ...(needs.includes("reference") && { reference: numbers(reference) }),
      },
      ...(needs.includes("token") && { target: 4 }),
      ...(needs.includes("projection") && { projection: extra.projection }),
      ...(needs.includes("common") && { common: extra.common }),
      options: { [name]: options },
    });
    expect(answer).toEqual({ scores: { [name]: value }, ...(parts && { parts: { [name]: parts } }) });
  });

  it("takes options by name, all forms of rows, and several positions", async () => {
    const row = Float32Array.of(1, 3, 2);
    const encoded = { encoding: "f32", data: Buffer.from(row.buffer).toString("base64") };
    const { scores: values } = await scores({
      scores: ["energy", "entropy"],
      rows: { row: encoded },
      options: { energy: { temperature: 2 } },
    });
    expect(values).toEqual({
      energy: score("energy", { row }, { temperature: 2 }).value,
      entropy: score("entropy", { row }).value,
    });
    const truncated = { ids: [1], logprobs: [Math.log(0.5)], tail_mass: 0.5, vocab: 3 };
    const { scores: law } = await scores({ scores: ["max-probability", "margin"], rows: { row: truncated } });
    expect(law["max-probability"]).toBeCloseTo(0.5, 12);
    expect(law.margin).toBeCloseTo(0.25, 12);
    const student = [
      [3, 1, 0, 0],
      [0, 2, 2, 1],
    ];
    const teacher = [
      [2, 2, 0, 1],
      [1, 0, 1, 0],
    ];
    const rows = { row: student, reference: teacher };
    expect((await scores({ scores: ["graph-on-logits"], rows })).scores).toEqual({
      "graph-on-logits": score("graph-on-logits", { row: student, reference: teacher }).value,
    });
  });

  it("spells infinity", async () => {
    const { scores: values } = await scores({ scores: ["nll"], rows: { row: [0, null] }, target: 1 });
    expect(values.nll).toBe("Infinity");
  });
});

describe("what is wrong", () => {
  const good = { scores: ["kl", "nll"], rows: { row: [1, 2], reference: [2, 1] }, target: 0 };
  it.each<[object, string]>([
    [{ scores: ["nope"] }, "scores[0]"],
    [{ scores: [] }, "scores"],
    [{ scores: "kl" }, "scores"],
    [{ scores: ["kl", "kl"] }, "scores[1]"],
    [{ rows: 1 }, "rows"],
    [{ rows: { row: [1, 2], other: [1] } }, "rows.other"],
    [{ rows: { row: [1, 2] } }, "rows.reference"],
    [{ rows: { reference: [1, 2] } }, "rows.row"],
    [{ rows: { row: [1, "2"], reference: [1, 2] } }, "rows.row[1]"],
    [{ rows: { row: [1, 2], reference: [1, 2, 3] } }, "rows.reference"],
    [{ rows: { row: [[1, 2]], reference: [1, 2] } }, "rows.row[0]"],
    [
      {
        rows: {
          row: [
            [1, 2],
            [1, {}],
          ],
          reference: [1, 2],
        },
      },
      "rows.row[1][1]",
    ],
    [{ rows: { row: [null, null], reference: [1, 2] } }, "rows.row"],
    [{ target: 2 }, "target"],
    [{ target: null }, "target"],
    [{ target: 0.5 }, "target"],
    [{ options: { energy: {} } }, "options.energy"],
    [{ options: { kl: 1 } }, "options.kl"],
    [{ options: { kl: { temperature: 1, tau: 1 } } }, "options.kl"],
    [{ options: { kl: { score: "nll" } } }, "options.kl"],
    [{ scores: ["energy"], options: { energy: { temperature: -1 } } }, "options.energy.temperature"],
    [{ scores: ["jei-gate"] }, "options.jei-gate.maxProbability"],
    [{ scores: ["p-kl"] }, "projection"],
    [
      { scores: ["p-kl"], projection: { offsets: [0], tokens: [], weights: [] } },
      "projection.offsets.length",
    ],
    [{ scores: ["h-kl"], common: [[0, 9]] }, "common[0][1]"],
    [{ other: 1 }, "other"],
  ])("is told by path, case %#", async (change, param) => {
    expect((await refusal({ ...good, ...change })).param).toBe(param);
  });

  it("gives its slot back", async () => {
    await refusal({ ...good, target: 9 });
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("is refused where too many are waiting", async () => {
    const { app, post } = fakeService(undefined, { maxRunning: 1, maxWaiting: 0 });
    const names: ScoreName[] = ["nll", "entropy", "energy", "margin", "rank"];
    const body = { scores: names, rows: { row: [1, 2, 3] }, target: 1 };
    const statuses = await Promise.all([1, 2, 3].map(async () => (await post("/v1/score", body)).status));
    expect(statuses.sort()).toEqual([200, 429, 429]);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
  });
});
