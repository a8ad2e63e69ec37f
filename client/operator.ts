/** Who gives a command, as the record of the run names him. */
import { hostname, userInfo } from 'node:os';

const MAX_CHARS = 120;

export const operator = (): string => `${userName()}@${hostname()}`.slice(0, MAX_CHARS);

/** A container may run as a user id that has no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}
