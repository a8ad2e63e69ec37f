/** The logger of `srlm up` and `srlm worker`: one line a message, on stderr. */
import { DefaultLogger } from '@temporalio/worker';
import { writeNote } from '../text/terminal.js';
import { printable } from '../text/text.js';

export const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
  // There is one worker for each queue, and each has only what its queue asks for.
  if (!/^No (activities|workflows) registered/.test(message)) writeNote(logLine(level, message, meta));
});

/** Without the stack trace, which is in the history. */
function logLine(level: string, message: string, meta?: Record<string, unknown>): string {
  const error = meta?.error as Error | undefined;
  const where = [meta?.activityType, meta?.workflowId, meta?.attempt && `attempt ${meta.attempt}`]
    .filter(Boolean)
    .join(' · ');
  return `${level.toLowerCase()}: ${message}${where ? ` (${where})` : ''}${error ? `: ${printable(error.message)}` : ''}`;
}
