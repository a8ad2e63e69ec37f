/** The histories of a run's executions, oldest first, as its timeline. Pure, but for reading them where they are lazy. */
import { OperatorRecord, RunInput } from '../contracts/run.js';
import { HistoryReader } from './history-reader.js';
import type { RunHistories } from './load.js';
import { Timeline } from './timeline.js';

export async function buildTimeline(histories: Omit<RunHistories, 'count'>): Promise<Timeline> {
  const { workflowId, firstRunId, executions } = histories;
  const reader = new HistoryReader();
  for await (const execution of executions) reader.read(execution);
  return timelineOf(workflowId, firstRunId, reader);
}

/** Throws where no history is there at all. */
export function timelineOf(run: string, firstRunId: string, reader: HistoryReader): Timeline {
  const { start, phase } = reader;
  if (!start) throw new Error(`no history of ${run} is available`);
  const [input, record] = start.args;
  const entries = reader.entries();
  const end = entries.findLast((entry) => entry.kind === 'ended');
  return Timeline.parse({
    version: 2,
    ...{ run, firstRunId },
    type: start.type === 'srlmSample' ? 'sample' : 'run',
    state: end?.state ?? phase,
    startedAt: start.at,
    endedAt: end?.at ?? null,
    fork: forkOf(input, record),
    entries,
  });
}

/** What the fork changed is the last of its settings; the others are its parent's. */
function forkOf(input: unknown, record: unknown): Timeline['fork'] {
  const fork = RunInput.safeParse(input).data?.fork;
  if (!fork) return null;
  const changes = OperatorRecord.safeParse(record).data?.changes ?? [];
  const own = changes.findLast(({ fromRound }) => fromRound === fork.fromRound);
  const { of, fromRound, fields } = fork;
  // The change at that round may hold settings of the parent, too.
  const set = Object.entries(own?.set ?? {}).filter(([field]) => fields.includes(field));
  return { of, fromRound, set: Object.fromEntries(set) };
}
