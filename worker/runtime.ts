/** Temporal's runtime in this process, with a logger that writes one line a message to stderr. */
import { DefaultLogger, Runtime } from '@temporalio/worker';

let isInstalled = false;

export function installRuntime(): void {
  if (isInstalled) return;
  isInstalled = true;
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    // There is one worker for each queue, and each has only what its queue asks for.
    if (!/^No (activities|workflows) registered/.test(message)) process.stderr.write(logLine(level, message, meta));
  });
  Runtime.install({ logger });
}

/** What went wrong, and where. Stack traces are in the history. */
function logLine(level: string, message: string, meta?: Record<string, unknown>): string {
  const error = meta?.error as Error | undefined;
  const where = [meta?.activityType, meta?.workflowId, meta?.attempt && `attempt ${meta.attempt}`]
    .filter(Boolean)
    .join(' · ');
  return `${level.toLowerCase()}: ${message}${where ? ` (${where})` : ''}${error ? `: ${error.message}` : ''}\n`;
}
