import type { Llama } from "../model/llama.ts";
import { LocalSession } from "./session.ts";
import type { Call, Rows } from "./source.ts";
import { compute } from "./work.ts";

/**
 * Calls of different sessions of one model, computed together.
 *
 * All calls are checked, and all memory is taken, before anything is computed.
 *
 * @throws {TypeError | RangeError} If a session is not of this model or named twice, or its `forward` must refuse the call.
 */
export async function forwardAll(model: Llama, calls: readonly Call[]): Promise<Rows[]> {
  const sessions = new Set<LocalSession>();
  const checked = calls.map(({ session, tokens, rows, parents, tasks, scan }, index) => {
    if (!(session instanceof LocalSession) || session.model !== model)
      throw new TypeError(`"calls[${index}].session" must be a session of this model`);
    if (sessions.has(session))
      throw new RangeError(`"calls[${index}].session" must be another one than that of an earlier call`);
    sessions.add(session);
    return {
      session,
      ask: tasks && { tasks, scan },
      call: session.check(tokens, tasks?.length ?? rows, parents),
    };
  });
  const works = checked.map(({ session, call, ask }) => session.prepare(call, false, ask));
  compute(model, works);
  return await Promise.all(works.map((work) => work.finish()));
}
