import { Hono } from "hono";
import { nextTask } from "../../decoding/next-task.ts";
import { type ScoreJson, scoreJson } from "../../decoding/score.ts";
import { apiError, show } from "../errors.ts";
import { checkedPaths, type Rename } from "../path-errors.ts";
import { readRowsBody } from "../row-messages.ts";
import { denseRow, MAX_ROWS, MAX_VOCAB, readRow, wrong } from "../rows.ts";
import { checkScore, type ScoreBody } from "../schemas/score.ts";
import type { Service, ServiceEnv } from "../service.ts";
import { inTurn } from "../turn.ts";

type Row = ReturnType<typeof denseRow>;

/** Positions of scores that are over several. */
const MAX_POSITIONS = 256;

/** `POST /v1/score`: one or two rows in, numbers about them out, by name. Needs no model here. */
export function scoreRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/score", async (c) => {
    const body = checkScore(await readRowsBody(c, service));
    return c.json(await inTurn(c, service, () => answer(body)));
  });
}

async function answer(body: ScoreBody): Promise<object> {
  const options = readOptions(body);
  const input = {
    ...(await readRows(body.rows)),
    ...(body.target != null && { token: body.target }),
    ...(body.projection != null && { projection: body.projection }),
    ...(body.common != null && { common: body.common }),
  };
  const results: ScoreJson[] = [];
  for (const [index, score] of body.scores.entries()) {
    const request = { scores: [{ ...options[index], score }], ...input };
    results.push(...checkedPaths(renameFor(score), () => scoreJson(request)));
    await nextTask();
  }
  const parts = results.filter((result) => result.parts !== undefined);
  return {
    scores: Object.fromEntries(results.map(({ score, value }) => [score, value])),
    ...(parts.length > 0 && {
      parts: Object.fromEntries(parts.map((result) => [result.score, result.parts])),
    }),
  };
}

/** One object for each score. */
function readOptions({ scores, options }: ScoreBody): readonly object[] {
  const again = scores.findIndex((score, index) => scores.indexOf(score) < index);
  if (again >= 0) throw wrong(`scores[${again}]`, `must be a name of its own, got "${scores[again]}" again`);
  const given = options ?? {};
  const unasked = Object.keys(given).find((name) => !scores.includes(name));
  if (unasked !== undefined) {
    const param = `options.${unasked.slice(0, 40)}`;
    throw apiError(400, `"${param}" must be one of "scores": ${scores.join(", ")}`, {
      param,
      code: "unknown_parameter",
    });
  }
  return scores.map((score) => {
    const one = Object.hasOwn(given, score) ? given[score] : {};
    if (typeof one !== "object" || one === null || Array.isArray(one) || Object.hasOwn(one, "score")) {
      throw wrong(`options.${score}`, `must be an object with its options, got ${show(one)}`);
    }
    return one;
  });
}

async function readRows({ row, reference }: ScoreBody["rows"]): Promise<object> {
  const budget = { logits: MAX_ROWS * MAX_VOCAB };
  const rows: Record<string, unknown> = {};
  for (const [name, value] of Object.entries({ row, reference })) {
    if (value === undefined || value === null) continue;
    rows[name] = isList(value)
      ? await readList(`rows.${name}`, value, budget)
      : denseRow(`rows.${name}`, readRow(`rows.${name}`, value));
    await nextTask();
  }
  return rows;
}

/** Rows of several positions; a row's own entries are numbers or null. */
function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && typeof value[0] === "object" && value[0] !== null;
}

async function readList(param: string, list: readonly unknown[], budget: { logits: number }): Promise<Row[]> {
  if (list.length > MAX_POSITIONS) {
    throw wrong(param, `must have at most ${MAX_POSITIONS} rows, got ${list.length}`);
  }
  const rows: Row[] = [];
  for (const [index, value] of list.entries()) {
    const row = readRow(`${param}[${index}]`, value);
    budget.logits -= "ids" in row ? row.vocab : row.length;
    if (budget.logits < 0) {
      throw wrong(param, `must have at most ${MAX_ROWS * MAX_VOCAB} logits in all, got more`);
    }
    rows.push(denseRow(`${param}[${index}]`, row));
    await nextTask();
  }
  return rows;
}

/** The library's words for what the body has. */
function renameFor(score: string): Rename {
  return (path) => {
    if (/^(row|reference)\b/.test(path)) return `rows.${path}`;
    if (path === "token") return "target";
    if (path.startsWith("scores[0]")) return path.replace("scores[0]", `options.${score}`);
    return /^(projection|common)\b/.test(path) ? path : undefined;
  };
}
