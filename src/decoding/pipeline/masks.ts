/**
 * Masks: what is forbidden has probability 0, whatever the row says. These alone may leave nothing, which is an error.
 *
 *     allowed-ids    all but the ids given
 *     min-tokens     the end tokens, for as long as the output is shorter than the count
 *     bitmask        what a grammar does not allow here; the mask comes with each row
 *     logit-bias     not a mask but next to one: adds to the logits of single tokens     (OpenAI)
 */
import type { StepKind } from "./step.ts";

export interface AllowedIdsStep {
  step: "allowed-ids";
  ids: readonly number[];
}

export interface MinTokensStep {
  step: "min-tokens";
  /** Of the output. */
  count: number;
  endTokens: readonly number[];
}

export interface BitmaskStep {
  step: "bitmask";
}

export interface LogitBiasStep {
  step: "logit-bias";
  /** By token id, −1e6 … 1e6. */
  bias: Readonly<Record<string, number>>;
}

export const allowedIds: StepKind<AllowedIdsStep> = {
  read: (fields) => ({ step: "allowed-ids", ids: fields.ids("ids") }),
  apply(candidates, { ids }) {
    candidates.pick(ids.map((id) => candidates.find(id)).filter((index) => index >= 0));
  },
};

export const minTokens: StepKind<MinTokensStep> = {
  read: (fields) => ({
    step: "min-tokens",
    count: fields.integer("count", 0, 2 ** 31 - 1),
    endTokens: fields.ids("endTokens"),
  }),
  isNeutral: ({ count, endTokens }) => count === 0 || endTokens.length === 0,
  edit(tokens, { count, endTokens }, { history, promptLength }) {
    if (history.length - promptLength < count) tokens.forbid(endTokens);
  },
};

export const bitmask: StepKind<BitmaskStep> = {
  read: () => ({ step: "bitmask" }),
  apply(candidates, _values, { bitmask }) {
    if (bitmask === undefined) return;
    const { ids } = candidates;
    candidates.keep((index) => ((bitmask[ids[index] >>> 5] >>> (ids[index] & 31)) & 1) === 1);
  },
};

export const logitBias: StepKind<LogitBiasStep> = {
  read: (fields) => ({ step: "logit-bias", bias: fields.numbersById("bias", -1e6, 1e6) }),
  isNeutral: ({ bias }) => Object.values(bias).every((value) => value === 0),
  edit(tokens, { bias }) {
    for (const [id, value] of Object.entries(bias)) tokens.add(Number(id), value);
  },
};
