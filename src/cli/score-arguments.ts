import { Fields } from "../decoding/pipeline/fields.ts";
import { findScore } from "../decoding/score/registry.ts";
import { SCORE_NAMES, type ScoreName } from "../decoding/score.ts";
import { scalar } from "./plan-arguments.ts";
import type { Values } from "./values.ts";

/** A score to compute at every token, its options checked. */
export interface ScoreRequest {
  readonly name: ScoreName;
  readonly options: Readonly<Record<string, string | number | boolean>>;
}

/** What there is at each token of a text: a row, the token that came, and the row of a second model. */
const ONE_ROW = ["row", "row, token"];
const TWO_ROWS = ["row, reference", "row, reference, token"];

const DEFAULTS = "nll";
const DEFAULTS_AGAINST = "nll,kl,total-variation,top-k-agreement";

/** Scores that a text gives all that they need. */
export const TEXT_SCORES = SCORE_NAMES.filter((name) => {
  return name !== "nan" && [...ONE_ROW, ...TWO_ROWS].includes(findScore(name).needs);
});

/**
 * `--scores nll,energy:temperature=2,kl`; an option goes with the score before it.
 *
 * @throws {TypeError | RangeError} If a score is unknown, needs what is not there, or an option of it is wrong.
 */
export function scoreRequests(values: Values): readonly ScoreRequest[] {
  const against = values.has("against");
  const text = values.text("scores") ?? (against ? DEFAULTS_AGAINST : DEFAULTS);
  const requests: { name: ScoreName; options: Record<string, string | number | boolean> }[] = [];
  for (const part of text.split(",")) {
    const [, name, key, value] = /^(?:([^:=]*)(?::|$))?(?:([^=]*)=(.*))?$/s.exec(part) ?? [];
    if (name !== undefined) requests.push({ name: expectScore(name, against), options: {} });
    const last = requests.at(-1);
    if (last === undefined || (name === undefined && key === undefined)) {
      throw new TypeError(`"--scores" must be names like nll,energy:temperature=2, got "${part}"`);
    }
    if (key !== undefined) last.options[key] = scalar(value);
  }
  const again = requests.findIndex(({ name }, at) => requests.findIndex((one) => one.name === name) < at);
  if (again >= 0)
    throw new TypeError(`"--scores" must name each score once, got "${requests[again].name}" again`);
  for (const { name, options } of requests) {
    const fields = new Fields(`--scores ${name}`, options);
    findScore(name).read(fields);
    fields.done();
  }
  return requests;
}

function expectScore(name: string, against: boolean): ScoreName {
  const found = TEXT_SCORES.find((score) => score === name);
  if (found === undefined) {
    throw new RangeError(`"--scores" must be of ${TEXT_SCORES.join(", ")}, got "${name}"`);
  }
  if (!against && TWO_ROWS.includes(findScore(found).needs)) {
    throw new TypeError(`"--scores ${name}" needs a second model beside it, "--against FILE"`);
  }
  return found;
}
