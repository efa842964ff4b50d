/** forward: calls of fused sessions, several at once: what they have in common is computed once for all. */
import type { Rows, Source } from "../source.ts";
import type { FusedCall } from "./call.ts";
import { deviceNow, failedOf } from "./fusion.ts";
import type { MemberCall } from "./member.ts";
import type { BegunCall, FusedQuestion, FusedSession } from "./session.ts";

/** Calls of different sessions of one source, that were checked, computed together. */
export async function forwardFused(
  asked: readonly { readonly session: FusedSession; readonly question: FusedQuestion }[],
): Promise<Rows[]> {
  if (asked.length === 0) return [];
  const { fusion } = asked[0].session;
  for (;;) {
    const before = failedOf(fusion);
    const begun: BegunCall[] = [];
    try {
      for (const { session, question } of asked) begun.push(session.begin(question));
      if (deviceNow(fusion) !== null) await fusion.ready;
      await runCalls(begun.map(({ call }) => call));
      const draws = await Promise.all(
        asked.map(({ session, question }, i) => session.drawLeft(begun[i], question)),
      );
      return asked.map(({ session, question }, i) => session.end(begun[i], question, draws[i]));
    } catch (error) {
      for (const { call } of begun) call.close();
      for (const { session } of asked) session.undo();
      // A device that was lost takes its rows along: once more, where its models are now.
      if (failedOf(fusion) === before) throw error;
    }
  }
}

/**
 * Sources that several calls need compute for all at once.
 *
 * @throws Whatever a source's `forward` throws, and MemoryError of kernels; the calls are to be undone then.
 */
async function runCalls(calls: readonly FusedCall[]): Promise<void> {
  for (;;) {
    const needed = calls.flatMap((call) => call.advance());
    const awaited = new Set(calls.flatMap(({ awaited }) => awaited ?? []));
    if (needed.length === 0 && awaited.size === 0) return;
    await Promise.all([...awaited].map((kernels) => kernels.settle()));
    await answerAll(needed);
  }
}

/** Calls of one source in one pass, those of different ones at the same time. */
async function answerAll(calls: readonly MemberCall[]): Promise<void> {
  const sources = new Map<Source, MemberCall[]>();
  for (const call of calls) sources.set(call.source, [...(sources.get(call.source) ?? []), call]);
  const groups = [...sources].flatMap(([source, all]) =>
    all.length > 1 && source.forwardAll !== undefined ? [all] : all.map((call) => [call]),
  );
  const results = await Promise.allSettled(groups.map(forward));
  for (const [group, result] of results.entries()) {
    if (result.status === "rejected") continue;
    for (const [index, call] of groups[group].entries()) call.answer(result.value[index]);
  }
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

async function forward(calls: readonly MemberCall[]): Promise<Rows[]> {
  const [{ source, session, tokens, rows, parents }] = calls;
  return calls.length > 1 ? await source.forwardAll!(calls) : [await session.forward(tokens, rows, parents)];
}
