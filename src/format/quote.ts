const LONGEST = 60;

/** A text from a file as it may stand in a message: quoted, escaped, and cut when long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
}
