/** Files that a command writes. */

/** What the system says about them, in words. */
const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such folder",
  ENOTDIR: "there is no such folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
  EROFS: "the disk is read-only",
  ENOSPC: "the disk is full",
};

/** @throws {Error} That names the file, if the system refuses what `write` asks of it. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!Object.hasOwn(SYSTEM_ERRORS, code)) throw error;
    throw new Error(`Cannot write "${path}": ${SYSTEM_ERRORS[code]}`, { cause: error });
  }
}
