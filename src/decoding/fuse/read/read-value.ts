/** Values: the numbers of a plan. */
import { expectInteger, expectNumber } from "../../../errors.ts";
import { expectArray, Fields, kindOf } from "../../pipeline/fields.ts";
import {
  type Calculation,
  DISTANCES,
  LIMITS,
  type Match,
  OPERATIONS,
  type Operation,
  SOLVERS,
  STATISTICS,
  type Value,
} from "../plan.ts";
import { expectName, type Reader } from "./reader.ts";

const TOKEN_STATISTICS = ["logit", "probability", "rank"] as const;
const ALL_STATISTICS = [...STATISTICS, ...DISTANCES, ...TOKEN_STATISTICS, "nth", "extra"] as const;
const OPERATION_NAMES = Object.keys(OPERATIONS) as Operation[];
const WORDS = ["stat", "input", "schedule", "smooth", "match", ...OPERATION_NAMES] as const;

const MAX_NUMBER = 1e6;
const MAX_STEP = 2 ** 31 - 1;
const MAX_SCHEDULE = 256;

/** @param bound Of a constant. */
export function readValue(
  reader: Reader,
  path: string,
  json: unknown,
  depth: number,
  bound = MAX_NUMBER,
): Value {
  reader.enter(path, depth);
  if (typeof json === "number") return expectNumber(path, json, -bound, bound);
  if (typeof json === "string") return expectName(path, json, reader.values);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError(`"${path}" must be a number, a name or an object, got ${kindOf(json)}`);
  }
  const fields = new Fields(path, json);
  const value = readWord(reader, fields, oneWord(fields, path, WORDS), depth);
  fields.done();
  return Object.freeze(value);
}

/** The one field that says what an object is. */
export function oneWord<Word extends string>(fields: Fields, path: string, words: readonly Word[]): Word {
  const found = words.filter((word) => fields.has(word));
  if (found.length === 1) return found[0];
  const got = found.length === 0 ? "none" : found.map((word) => `"${word}"`).join(" and ");
  throw new TypeError(
    `"${path}" must have one of ${words.map((word) => `"${word}"`).join(", ")}, got ${got}`,
  );
}

function readWord(
  reader: Reader,
  fields: Fields,
  word: (typeof WORDS)[number],
  depth: number,
): Exclude<Value, number | string> {
  switch (word) {
    case "stat":
      return readStatistic(reader, fields, depth);
    case "input": {
      const input = expectName(fields.path("input"), fields.raw("input"), [...reader.inputs.keys()]);
      return { input, at: fields.integer("at", 0, reader.inputs.get(input)! - 1, 0) };
    }
    case "schedule":
      return { schedule: readSchedule(fields.path("schedule"), fields.raw("schedule")) };
    case "smooth": {
      const smooth = readValue(reader, fields.path("smooth"), fields.raw("smooth"), depth + 1);
      const rate = fields.raw("rate");
      if (rate === undefined || typeof rate === "number")
        return { smooth, rate: fields.number("rate", 0, 1) };
      return { smooth, rate: readValue(reader, fields.path("rate"), rate, depth + 1) };
    }
    case "match": {
      const match = readMatch(reader, fields.path("match"), fields.raw("match"));
      return { match, at: fields.integer("at", 0, match.experts.length - 1, 0) };
    }
    default:
      return readCalculation(reader, fields, word, depth);
  }
}

function readStatistic(reader: Reader, fields: Fields, depth: number): Exclude<Value, number | string> {
  const stat = fields.choice("stat", ALL_STATISTICS);
  if (stat === "extra") {
    const of = expectName(fields.path("of"), fields.raw("of"), [...reader.sources.keys()]);
    const extra = reader.sources.get(of)!.extra ?? 0;
    const column = fields.integer("column", 0, LIMITS.vocab, 0);
    if (column < extra) return { stat, of, column };
    throw new RangeError(
      `"${fields.path("column")}" must be below the ${extra} extra columns of "${of}", got ${column}`,
    );
  }
  const of = reader.rowName(fields, "of");
  if (stat === "kl" || stat === "l1") return { stat, of, to: reader.rowName(fields, "to") };
  if (stat === "nth") return { stat, of, n: fields.integer("n", 1, LIMITS.vocab) };
  if (stat === "logit" || stat === "probability" || stat === "rank") {
    return { stat, of, token: readValue(reader, fields.path("token"), fields.raw("token"), depth + 1) };
  }
  const temperature = fields.number("temperature", 1e-3, 1e3, 1);
  return temperature === 1 ? { stat, of } : { stat, of, temperature };
}

function readSchedule(path: string, json: unknown): readonly (readonly [number, number])[] {
  const points = expectArray(path, json, MAX_SCHEDULE).map((point, index): readonly [number, number] => {
    const [step, value, ...more] = expectArray(`${path}[${index}]`, point, 2);
    if (more.length > 0 || value === undefined)
      throw new RangeError(`"${path}[${index}]" must be [step, value]`);
    return Object.freeze([
      expectInteger(`${path}[${index}][0]`, step, 0, MAX_STEP),
      expectNumber(`${path}[${index}][1]`, value, -MAX_NUMBER, MAX_NUMBER),
    ] as const);
  });
  if (points.length === 0 || points[0][0] !== 0) throw new RangeError(`"${path}" must begin with step 0`);
  points.forEach(([step], index) => {
    if (index > 0 && step <= points[index - 1][0]) {
      throw new RangeError(
        `"${path}[${index}][0]" must be above the step before, ${points[index - 1][0]}, got ${step}`,
      );
    }
  });
  return Object.freeze(points);
}

function readMatch(reader: Reader, path: string, json: unknown): Match {
  const fields = new Fields(path, json);
  const base = reader.rowName(fields, "base");
  const list = expectArray(fields.path("experts"), fields.raw("experts"), LIMITS.terms);
  if (list.length === 0) throw new RangeError(`"${fields.path("experts")}" must have an expert`);
  const experts = list.map((pair, index) => {
    const pairFields = new Fields(`${fields.path("experts")}[${index}]`, pair);
    const expert = reader.rowName(pairFields, "expert");
    const anti = reader.rowName(pairFields, "anti");
    pairFields.done();
    return Object.freeze({ expert, anti });
  });
  const solver = fields.choice("solver", SOLVERS, "grid21");
  const limit = fields.number("limit", 0.1, 10, 2);
  fields.done();
  return Object.freeze({ base, experts: Object.freeze(experts), solver, limit });
}

function readCalculation(reader: Reader, fields: Fields, word: Operation, depth: number): Calculation {
  const path = fields.path(word);
  const [least, most] = OPERATIONS[word];
  const list = expectArray(path, fields.raw(word), most);
  if (list.length < least) {
    throw new RangeError(
      `"${path}" must have ${least} ${least === 1 ? "value" : "values"}, got ${list.length}`,
    );
  }
  const operands = list.map((operand, index) => readValue(reader, `${path}[${index}]`, operand, depth + 1));
  return { [word]: Object.freeze(operands) } as unknown as Calculation;
}
