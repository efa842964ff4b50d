/**
 * A draft to verify in a session and its answer, ids only: about two bytes per token on the wire.
 *
 *     request   position, ids                        all LEB128, to the end of the body
 *     answer    4 · accepted + finish, ids
 *
 * `position` is how many tokens the client knows of; the draft is a chain that was chosen, not drawn. `finish` is 0 while the
 * text goes on, 1 at its end, 2 where the session is full. The first `accepted` ids of the draft stand, and the ids of the
 * answer follow them: the client's own are not sent back.
 */
import { BitReader, BitWriter } from "../format/wire/bits.ts";
import { checkedPaths } from "./path-errors.ts";
import { MAX_DRAFT } from "./schemas/verify.ts";
import type { SessionAnswer } from "./sessions/rounds.ts";

export const DRAFT_MEDIA_TYPE = "application/vnd.edgewise.draft";

const FINISH = { stop: 1, length: 2 } as const;

export interface DraftMessage {
  readonly position: number;
  readonly draft: readonly number[];
}

/** @throws {HTTPException} 400, if it is no such message. */
export function readDraftMessage(bytes: Uint8Array): DraftMessage {
  return checkedPaths(
    (path) => path,
    () => {
      const reader = new BitReader(bytes, '"draft"');
      const position = reader.varint("a position", 1, 2 ** 31 - 1);
      const draft: number[] = [];
      while (reader.left > 0) {
        reader.expect("a draft", draft.length + 1, 1, MAX_DRAFT);
        draft.push(reader.varint(`id ${draft.length}`, 0, 2 ** 31 - 1));
      }
      return { position, draft };
    },
  );
}

export function writeDraftAnswer({ finish, accepted, tokens }: SessionAnswer): Uint8Array {
  const writer = new BitWriter();
  writer.varint(4 * accepted + (finish === null ? 0 : FINISH[finish]));
  for (const follower of tokens.slice(accepted)) writer.varint(follower);
  return writer.bytes;
}

export function isDraftMessage(contentType = ""): boolean {
  return contentType.split(";")[0].trim().toLowerCase() === DRAFT_MEDIA_TYPE;
}
