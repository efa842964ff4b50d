/**
 * Jinja with a budget: the interpreter of @huggingface/jinja, stopped when a template does more than a template needs.
 *
 * A template comes with a file from anywhere, and the library does whatever it says: loops over a range of 1e9, text
 * that doubles a hundred times, lists that hold themselves twice at every level. Here every evaluated node takes a
 * step from a budget, work on long values takes more, and no value may be larger than `LIMIT`. So a hostile template
 * ends within about a second, and no real one comes near.
 */
import { Environment, Interpreter, Template as Jinja } from "@huggingface/jinja";
import { grouped } from "../../errors.ts";
import { type Marks, markNodes, type Node, type Value } from "./jinja-nodes.ts";

/** Largest text or list, in characters and elements; of a list all that it holds counts. */
export const LIMIT = 1 << 20;
const MAX_TEMPLATE = 1 << 18;
/** The library's search for one kind of tag is quadratic in a run of white space. */
const BLANKS = /\s{1000}/;
const MAX_DEPTH = 400;
const MAX_STEPS = 1_000_000;
/** Work on a value: so many characters or elements count as one evaluated node. */
const UNITS_PER_STEP = 64;
/** Largest text that a filter may make before the result is measured. */
const MAX_INTERMEDIATE = 32 * LIMIT;
/** Filters and methods that may make a text far longer than what they are given. */
const GROWING = new Set(["replace", "indent", "join", "tojson"]);
/** Filters that look at all that a list holds, not only at its elements. */
const DEEP = new Set([...GROWING, "string", "sort", "unique"]);

export interface Template {
  readonly program: Node;
  readonly marks: Marks;
}

/** @throws {Error} If the template is malformed or too long. */
export function parseTemplate(source: string): Template {
  if (source.length > MAX_TEMPLATE) {
    throw new RangeError(
      `must have at most ${grouped(MAX_TEMPLATE)} characters, got ${grouped(source.length)}`,
    );
  }
  if (BLANKS.test(source)) throw new RangeError("must have less than 1,000 blanks in a row");
  const program = new Jinja(source).parsed as unknown as Node;
  return { program, marks: markNodes(program) };
}

/** @throws {Error} What the template raises, what it does wrong, or that it takes too much. */
export function renderTemplate({ program, marks }: Template, variables: Record<string, unknown>): string {
  const environment = new Environment();
  const globals = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception,
  };
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
  const text = new BoundedInterpreter(environment, marks).evaluate(program, environment);
  return String(text.value);
}

function raise_exception(message: unknown): never {
  throw new Error(String(message));
}

function range(...bounds: unknown[]): number[] {
  const [start, stop, step = 1] = (bounds.length === 1 ? [0, bounds[0]] : bounds) as number[];
  const length = Math.ceil((stop - start) / step);
  if (![start, stop, step].every(Number.isInteger) || step === 0 || length > LIMIT) {
    throw new RangeError(`range(${bounds.join(", ")}) must be of at most ${grouped(LIMIT)} integers`);
  }
  return Array.from({ length: Math.max(0, length) }, (_, index) => start + index * step);
}

interface Measure {
  /** Characters and elements, of all that a list holds. */
  readonly size: number;
  /** Lists within lists. */
  readonly depth: number;
}

class BoundedInterpreter extends Interpreter {
  readonly #marks: Marks;
  readonly #measures = new WeakMap<Value, Measure>();
  #steps = MAX_STEPS;
  #depth = 0;

  constructor(environment: Environment, marks: Marks) {
    super(environment);
    this.#marks = marks;
  }

  /** The library calls it for every node below the one it is at. */
  evaluate(node: Node | undefined, environment: Environment): Value {
    if (node === undefined) return super.evaluate(node, environment);
    if (node.type === EVALUATED) return node.value as Value;
    this.#take(1 + (this.#marks.searched.get(node) ?? 0));
    if (++this.#depth > MAX_DEPTH) throw new RangeError(`nesting must not pass ${MAX_DEPTH} levels`);
    try {
      const value = this.#evaluateGuarded(node, environment);
      this.#takeFor(node, value);
      return value;
    } finally {
      // Also when a loop's break or continue passes by.
      this.#depth--;
    }
  }

  #evaluateGuarded(node: Node, environment: Environment): Value {
    switch (node.type) {
      case "FilterExpression":
        return this.#filter(this.evaluate(node.operand as Node, environment), node, environment);
      case "FilterStatement": {
        const body = super.evaluate({ type: "Program", body: node.body }, environment);
        this.#measure(body);
        return this.#filter(body, node, environment);
      }
      case "MemberExpression":
        return this.#member(this.evaluate(node.object as Node, environment), node, environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  #filter(operand: Value, { filter }: Node, environment: Environment): Value {
    if (operand?.type === "NamespaceValue") throw new TypeError("a namespace cannot be filtered");
    const call = filter as Node;
    const name = String(call.type === "CallExpression" ? (call.callee as Node).value : call.value);
    const { size, depth } = this.#measure(operand);
    this.#take((DEEP.has(name) ? size : lengthOf(operand)) / UNITS_PER_STEP);
    let evaluated = call;
    if (GROWING.has(name) && call.type === "CallExpression") {
      const args = (call.args as Node[]).map((argument) => this.#evaluateArgument(argument, environment));
      this.#expectGrowth(operand, args.map(argumentValue), size, name === "tojson" ? depth : 1);
      evaluated = { ...call, args };
    }
    return super.evaluate(
      { type: "FilterExpression", operand: asNode(operand), filter: evaluated },
      environment,
    );
  }

  #member(object: Value, node: Node, environment: Environment): Value {
    const isSlice = (node.property as Node).type === "SliceExpression";
    if (isSlice || object?.type === "StringValue") this.#take(lengthOf(object) / UNITS_PER_STEP);
    const member = super.evaluate({ ...node, object: asNode(object) }, environment);
    if (object?.type !== "StringValue" || member.type !== "FunctionValue") return member;
    // A method of a text, whichever way it is named; of them only `replace` takes two texts.
    const method = member as Value & { value: (args: Value[], scope: Environment) => Value };
    const guarded = (args: Value[], scope: Environment): Value => {
      this.#expectGrowth(object, args, lengthOf(object), 1);
      return method.value(args, scope);
    };
    return new (member.constructor as new (value: unknown) => Value)(guarded);
  }

  /** Evaluates an argument once, before its filter does. */
  #evaluateArgument(argument: Node, environment: Environment): Node {
    if (argument.type === "KeywordArgumentExpression") {
      return { ...argument, value: asNode(this.evaluate(argument.value as Node, environment)) };
    }
    if (argument.type.endsWith("SpreadExpression")) throw new TypeError("arguments cannot be unpacked here");
    return asNode(this.evaluate(argument, environment));
  }

  /** Takes what the longest possible result costs, before there is one. */
  #expectGrowth(operand: Value, args: readonly Value[], size: number, depth: number): void {
    const [from, to] = args.map((argument) => argument?.value);
    let result: number;
    if (typeof operand?.value === "string" && typeof from === "string" && typeof to === "string") {
      const places = operand.value.length / Math.max(1, from.length) + 1;
      // The library makes a regular expression of the text it looks for.
      result = operand.value.length + places * to.length + 1_000 * from.length;
    } else {
      const longest = args.map((argument) => {
        const { value } = argument ?? {};
        return typeof value === "number" ? Math.abs(value) : this.#measure(argument).size;
      });
      result = size * (1 + depth * Math.max(0, ...longest));
    }
    if (!(result <= MAX_INTERMEDIATE)) throw new RangeError("a filter would make too long a text");
    this.#take(result / UNITS_PER_STEP);
  }

  #takeFor(node: Node, value: Value): void {
    const { size } = this.#measure(value);
    this.#take(lengthOf(value) / UNITS_PER_STEP);
    if (this.#marks.iterated.has(node)) this.#take(3 * lengthOf(value));
    if (this.#marks.printed.has(node)) {
      if (value?.type === "NamespaceValue") throw new TypeError("a namespace cannot be printed");
      // Making JSON of a list is slower than copying a text.
      if (value?.type !== "StringValue") this.#take((8 * size) / UNITS_PER_STEP);
    }
  }

  #take(steps: number): void {
    this.#steps -= steps;
    if (this.#steps < 0) throw new RangeError("template takes too many steps");
  }

  /** @throws {RangeError} If the value is larger than `LIMIT`. */
  #measure(value: Value): Measure {
    const known = this.#measures.get(value);
    if (known) return known;
    const parts = partsOf(value);
    this.#take(parts.length / 8);
    let size = lengthOf(value);
    let depth = 0;
    for (const part of parts) {
      // It can change later, and hold what holds it.
      if (part?.type === "NamespaceValue") throw new TypeError("a namespace cannot be part of a list");
      const measure = this.#measure(part);
      size += measure.size + 1;
      depth = Math.max(depth, measure.depth + 1);
      if (size > LIMIT || depth > MAX_DEPTH) break;
    }
    if (size > LIMIT)
      throw new RangeError(`a value must have at most ${grouped(LIMIT)} characters and elements`);
    if (depth > MAX_DEPTH) throw new RangeError(`nesting must not pass ${MAX_DEPTH} levels`);
    const measure = { size, depth };
    if (parts.length > 0) this.#measures.set(value, measure);
    return measure;
  }
}

/** A node that stands for a value which is there already. */
const EVALUATED = "Evaluated";

function asNode(value: Value): Node {
  return { type: EVALUATED, value };
}

/** The value of an argument that has been evaluated. */
function argumentValue(argument: Node): Value {
  return (argument.type === EVALUATED ? argument.value : (argument.value as Node).value) as Value;
}

/** What a list or an object holds; a namespace, which can change, holds nothing here. */
function partsOf(value: Value): readonly Value[] {
  if (Array.isArray(value?.value)) return value.value;
  if (value?.type !== "NamespaceValue" && value?.value instanceof Map) return [...value.value.values()];
  return [];
}

/** Characters of a text, elements of a list; of an object its keys' characters. */
function lengthOf(value: Value): number {
  if (typeof value?.value === "string" || Array.isArray(value?.value)) return value.value.length;
  if (value?.value instanceof Map) return [...value.value.keys()].reduce((sum, key) => sum + key.length, 0);
  return 1;
}
