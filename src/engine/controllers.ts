/**
 * controllers: who decides how much is drafted is kept from one request to the next, so that what it learned of a model and
 * a drafter (what calls cost, how much is accepted) serves again. That is speed only: no token depends on it.
 */
import { type ControllerOptions, SpeculationController } from "../decoding/drafter/controller.ts";
import type { Model } from "./model.ts";

/** Requests that draft alike learn from each other. */
export interface DraftKind {
  /** Who drafts. */
  readonly name: string;
  /** The model that drafts, if one does. */
  readonly draft?: Model;
  readonly verifier: string;
}

/** A controller for one request. */
export interface LentController {
  readonly controller: SpeculationController;
  /** Gives it back; it must not be used any more. */
  close(): void;
}

/** Kinds that are remembered of one pair of models; then the one that was used longest ago is forgotten. */
const MAX_KINDS = 32;
/** Requests of one kind at the same time, of which the controllers are kept. */
const MAX_IDLE = 4;

type Idle = Map<string, SpeculationController[]>;

/** By target, and by draft model; where none drafts, by the target again. */
const idle = new WeakMap<Model, WeakMap<Model, Idle>>();

/** The controller that served such a request last, or a new one. No two requests have the same one at a time. */
export function lendController(target: Model, kind: DraftKind, options: ControllerOptions): LentController {
  const { name, draft = target, verifier } = kind;
  const key = JSON.stringify([name, verifier, options]);
  const kept = idleOf(target, draft).get(key)?.pop();
  const controller = kept ?? new SpeculationController(options);
  let lent = true;
  return {
    controller,
    close() {
      if (!lent) return;
      lent = false;
      controller.restart();
      keep(idleOf(target, draft), key, controller);
    },
  };
}

function idleOf(target: Model, draft: Model): Idle {
  const pairs = idle.get(target) ?? new WeakMap<Model, Idle>();
  idle.set(target, pairs);
  const kinds = pairs.get(draft) ?? new Map<string, SpeculationController[]>();
  pairs.set(draft, kinds);
  return kinds;
}

function keep(kinds: Idle, key: string, controller: SpeculationController): void {
  const controllers = kinds.get(key) ?? [];
  if (controllers.length < MAX_IDLE) controllers.push(controller);
  // The kind that was used last comes last.
  kinds.delete(key);
  kinds.set(key, controllers);
  for (const oldest of kinds.keys()) {
    if (kinds.size <= MAX_KINDS) break;
    kinds.delete(oldest);
  }
}
