/**
 * fuse: several sources are one.
 *
 *     plan + a source for each of its names  →  a Source whose rows are what the plan makes of theirs
 *
 * It keeps the contract of every Source, so it can be drafted for, verified, sampled, served, and fused again. All sources
 * read the same tokens, behind a prefix of their own if they have one. A source that a route did not choose, or whose
 * weight is 0, does not run: it catches up, in one pass, when it is needed.
 *
 * Where all sources compute on one WebGPU device, their rows are fused there, and tokens are drawn from the fused row there:
 * it is read back for who looks at it; so is, of what has no kernel there, a source's (backend/webgpu/fuse.ts tells what). The
 * rows of a source that had to leave the device are written to it. Else each row is read, and fused here.
 */
import type { Backend } from "../backend/backend.ts";
import { createReferenceBackend } from "../backend/reference/index.ts";
import type { WebGpuBackend } from "../backend/webgpu/index.ts";
import { kernelNamesOf } from "../decoding/fuse/kernel-names.ts";
import {
  compilePlan,
  type FuseContext,
  type Plan,
  type Program,
  type RowKernels,
  Step,
  type Table,
} from "../decoding/fuse.ts";
import { expectInteger } from "../errors.ts";
import { BridgedSource } from "./fuse/bridge.ts";
import { ConstantSource } from "./fuse/constant.ts";
import { forwardFused } from "./fuse/forward.ts";
import type { Fusion } from "./fuse/fusion.ts";
import { type FusedInput, type GivenSource, readInputs } from "./fuse/inputs.ts";
import { expectSeed, type FusedOptions, FusedSession } from "./fuse/session.ts";
import { resultVocab } from "./fuse/vocabulary.ts";
import { backendOf, setBackend } from "./model-backend.ts";
import { deviceOf } from "./placed-rows.ts";
import type { Call, Rows, SessionOptions, Source } from "./source.ts";

export type PlanInputs = NonNullable<FuseContext["inputs"]>;

export interface FuseOptions {
  /**
   * Numbers by the names in `plan.inputs`: the same for all rows, or what the tokens before a row make of them, and how
   * many of these are output. They must depend on nothing else, or speculation changes the text.
   */
  inputs?: PlanInputs | ((tokens: readonly number[], step: number) => PlanInputs);
  /** For tables of the plan that are `given`. */
  tables?: Readonly<Record<string, Table>>;
  /** What rows are combined with. Default: those of `backend`. */
  kernels?: RowKernels<unknown>;
  /** Where rows are combined and held. Default: where the first source computes, else plain TypeScript in f64. */
  backend?: Backend;
  /** Called as kernels for WebGPU are compiled that the plan needs. The first call of a session waits for them. */
  onCompile?: (ready: number, total: number) => void;
}

/**
 * A Source of fused rows.
 *
 * @param sources By the names in the plan. The same one may stand under several, with another prefix each: what
 *   classifier-free guidance and context-aware decoding need. A row in place of one is the same after any tokens.
 * @throws {TypeError | RangeError} If the plan is none, a source is missing or none of the plan's, or rows that meet differ
 *   in their number of tokens; the message names the path.
 *
 * @example
 * ```ts
 * const fused = fuse(fusePreset("cfg", { gamma: 1.5 }), {
 *   prompted: { source: model, prefix: model.tokenizer.encode("Answer in rhymes.") },
 *   plain: model,
 * });
 * const session = fused.open({ promptLength: prompt.length });
 * const rows = await session.forward(prompt);
 * ```
 */
export function fuse(
  plan: Plan,
  sources: Readonly<Record<string, GivenSource>>,
  options: FuseOptions = {},
): FusedSource {
  const program = compilePlan(plan);
  const inputs = readInputs(program, sources);
  const { inputs: numbers, tables = {} } = options;
  const given: Fusion["given"] =
    typeof numbers === "function"
      ? (tokens, step) => ({ inputs: numbers(tokens(), step), tables })
      : () => ({ inputs: numbers, tables });
  const backend = options.backend ?? localBackend(inputs.map(({ source }) => source));
  const kernels: RowKernels<unknown> = options.kernels ?? backend.fuseKernels();
  const isChosen = options.kernels !== undefined || options.backend !== undefined;
  const devices = isChosen ? [] : sharedDevices(program, inputs);
  // All that the plan declares must be there; a function is asked when there are tokens.
  const first =
    typeof numbers === "function" ? { inputs: zeros(program), tables } : { inputs: numbers, tables };
  new Step(program, kernels, first).close();
  expectBridged(program, inputs);
  return new FusedSource({
    program,
    inputs: inputs.map((input) => ({ ...input, staysOnDevice: devices.length > 0 })),
    kernels,
    devices,
    ready: prepare(devices, program, options.onCompile),
    backend,
    given,
    vocab: resultVocab(
      program,
      inputs.map(({ source }) => source),
      tables,
    ),
    contextLength: Math.min(...inputs.map(({ source, prefix }) => source.contextLength - prefix.length)),
  });
}

export class FusedSource implements Source {
  readonly vocab: number;
  /** The smallest of the sources' beside their prefixes. */
  readonly contextLength: number;
  /** The fewest of the sources'. */
  readonly known?: number;
  readonly #fusion: Fusion;

  constructor(fusion: Fusion) {
    this.vocab = fusion.vocab;
    this.contextLength = fusion.contextLength;
    const known = fusion.inputs.flatMap(({ source }) => source.known ?? []);
    if (known.length > 0) this.known = Math.min(...known);
    this.#fusion = fusion;
    setBackend(this, fusion.backend);
  }

  /** @throws {RangeError} If an option is out of range, or a source has no memory for its session (MemoryError). */
  open({
    capacity = this.contextLength,
    seed = 0,
    promptLength = 1,
    audit = false,
    signal,
    lease,
  }: SessionOptions = {}): FusedSession {
    const options: FusedOptions = {
      capacity: expectInteger("capacity", capacity, 1, this.contextLength),
      seed: expectSeed(seed),
      promptLength: expectInteger("promptLength", promptLength, 1, this.contextLength),
      audit,
      signal,
      lease,
    };
    return FusedSession.open(this.#fusion, options);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    const sessions = new Set<FusedSession>();
    const asked = calls.map(({ session, ...call }, index) => {
      if (!(session instanceof FusedSession) || session.fusion !== this.#fusion)
        throw new TypeError(`"calls[${index}].session" must be a session of this source`);
      if (sessions.has(session))
        throw new RangeError(`"calls[${index}].session" must be another one than that of an earlier call`);
      sessions.add(session);
      return { session, question: session.check({ session, ...call }) };
    });
    return await forwardFused(asked);
  }
}

/** Where the first source computes that does so in this process. */
function localBackend(sources: readonly Source[]): Backend {
  const backends = sources.map(backendOf);
  return backends.find((one) => one !== undefined && one.name !== "webgpu") ?? createReferenceBackend();
}

/** Backends of all sources, if they are on one device; else none. */
function sharedDevices(program: Program, inputs: readonly FusedInput[]): readonly WebGpuBackend[] {
  const sources = inputs.map(({ source }) => source).filter((source) => !(source instanceof ConstantSource));
  const devices = sources.flatMap((source) => deviceOf(source) ?? []);
  const isShared =
    devices.length === sources.length && devices.every((device) => devices[0].sharesDevice(device));
  // Columns behind the vocabulary are read off rows here.
  const hasExtra = program.sources.some(({ extra }) => extra > 0);
  return isShared && !hasExtra ? [...new Set(devices)] : [];
}

/** Has kernels compiled that the plan needs. What is wrong with one is told by the first call, which waits for this. */
function prepare(
  [device]: readonly WebGpuBackend[],
  program: Program,
  onCompile: FuseOptions["onCompile"],
): Promise<void> {
  const ready = device?.lateFuseKernels().prepare(kernelNamesOf(program), onCompile) ?? Promise.resolve();
  ready.catch(() => {});
  return ready;
}

/** What is decoded is of the result's vocabulary, and every source reads it. */
function expectBridged(program: Program, inputs: readonly FusedInput[]): void {
  const result = program.vocabularies.get(program.result);
  for (const [index, { name, vocabulary }] of program.sources.entries()) {
    const { source } = inputs[index];
    // A row that is always the same reads nothing.
    const reads = !(source instanceof BridgedSource || source instanceof ConstantSource);
    if (vocabulary === result || !reads) continue;
    throw new RangeError(
      `"sources.${name}" must read the tokens of the result, as \`bridgeText\` makes it, as its own are of vocabulary "${vocabulary}"`,
    );
  }
}

function zeros(program: Program): PlanInputs {
  return Object.fromEntries(
    Object.entries(program.inputs).map(([name, count]) => [name, new Array<number>(count).fill(0)]),
  );
}
