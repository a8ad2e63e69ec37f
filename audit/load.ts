/**
 * The executions of a run, oldest first: from Temporal, or from the run's own export where Temporal no longer has them.
 * The list is made first, the histories are read one at a time as they are asked for. An execution that is in neither
 * place is listed without a history.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { runUnknown } from '../contracts/errors.js';
import { exportOf, exportsOf, historyFiles, readHistory } from './bundle.js';
import { type Event, type Execution, instant, isClosed, type WorkflowHistory } from './events.js';
import { fetchEvents, fetchFirstEvent, fetchLastEvent, newestRunId } from './fetch-history.js';

/** What the first event of an execution says. */
interface Head {
  runId: string;
  firstRunId: string;
  /** The execution before it. */
  continued: string | null;
  order: string;
}

export interface RunHistories {
  workflowId: string;
  /** Temporal's id of the first execution. */
  firstRunId: string;
  /** How many executions there are. */
  count: number;
  executions: Iterable<Execution> | AsyncIterable<Execution>;
}

/**
 * `temporal` null: it is not reachable. `firstRunId`: the execution that began the run; default: that of the newest run
 * with this id. Throws run.unknown.
 */
export async function loadRun(
  temporal: Client | null,
  root: string,
  workflowId: string,
  firstRunId?: string,
): Promise<RunHistories> {
  const newest = temporal && (await newestRunId(temporal, workflowId));
  const event = newest && (await fetchFirstEvent(temporal, workflowId, newest));
  const tip = event ? headOf(newest, event) : null;
  const first = firstRunId ?? tip?.firstRunId ?? (await newestExport(root, workflowId));
  if (!first) throw runUnknown(workflowId);
  const source = await Source.open(temporal, exportOf(root, workflowId, first), workflowId);
  const heads = await source.heads(first, tip?.firstRunId === first ? tip : null);
  if (heads.length === 0) throw runUnknown(workflowId);
  return historiesOf(source, first, heads);
}

/** What an export holds by now. */
export async function loadExport(folder: string, workflowId: string, firstRunId: string): Promise<RunHistories> {
  const source = await Source.open(null, folder, workflowId);
  return historiesOf(source, firstRunId, await source.heads(firstRunId, null));
}

function historiesOf(source: Source, firstRunId: string, heads: readonly Head[]): RunHistories {
  const runIds = withLost(heads);
  const executions = {
    async *[Symbol.asyncIterator]() {
      for (const runId of runIds) yield source.execution(runId);
    },
  };
  return { workflowId: source.workflowId, firstRunId, count: runIds.length, executions };
}

/** An execution that another one continues, but that is in neither place, is lost. */
function withLost(heads: readonly Head[]): string[] {
  return heads.flatMap(({ runId, continued }, i) =>
    continued && continued !== heads[i - 1]?.runId ? [continued, runId] : [runId],
  );
}

class Source {
  private constructor(
    private readonly temporal: Client | null,
    private readonly folder: string,
    readonly workflowId: string,
    private readonly files: Awaited<ReturnType<typeof historyFiles>>,
  ) {}

  static async open(temporal: Client | null, folder: string, workflowId: string): Promise<Source> {
    return new Source(temporal, folder, workflowId, await historyFiles(folder));
  }

  async execution(runId: string): Promise<Execution> {
    const { workflowId } = this;
    const file = await this.file(runId);
    // A closed execution does not change any more.
    if (file && isClosed(file)) return { workflowId, runId, history: file.history };
    const events = this.temporal && (await fetchEvents(this.temporal, workflowId, runId));
    return { workflowId, runId, history: events ? { events } : (file?.history ?? null) };
  }

  /** By time. `tip`: the newest execution, where it is one of this run. */
  async heads(firstRunId: string, tip: Head | null): Promise<Head[]> {
    const known = new Map<string, Head>();
    for (let head = tip; head; head = head.continued ? await this.head(head.continued) : null)
      known.set(head.runId, head);
    for (const runId of this.files.keys()) {
      const head = known.has(runId) ? null : await this.head(runId);
      if (head) known.set(runId, head);
    }
    if (!tip) {
      // Another run has the id now: this one is followed from its first execution.
      const newest = byTime(known).at(-1)?.runId;
      for (let runId = newest ?? firstRunId; runId; runId = await this.next(runId)) {
        const head = known.get(runId) ?? (await this.head(runId));
        if (!head) break;
        known.set(runId, head);
      }
    }
    return byTime(known).filter((head) => head.firstRunId === firstRunId);
  }

  private async head(runId: string): Promise<Head | null> {
    const event =
      (this.temporal && (await fetchFirstEvent(this.temporal, this.workflowId, runId))) ??
      (await this.file(runId))?.history.events[0];
    return event ? headOf(runId, event) : null;
  }

  private async next(runId: string): Promise<string> {
    const last =
      (this.temporal && (await fetchLastEvent(this.temporal, this.workflowId, runId))) ??
      (await this.file(runId))?.history.events.at(-1);
    return last?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId ?? '';
  }

  private async file(runId: string): Promise<WorkflowHistory | null> {
    const file = this.files.get(runId);
    return file ? readHistory(this.folder, file.name) : null;
  }
}

export function headOf(runId: string, event: Event): Head {
  const started = event.workflowExecutionStartedEventAttributes;
  return {
    runId,
    firstRunId: started?.firstExecutionRunId ?? runId,
    continued: started?.continuedExecutionRunId || null,
    order: instant(event),
  };
}

const byTime = (heads: ReadonlyMap<string, Head>): Head[] =>
  [...heads.values()].sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));

/** The first execution of the newest run that was exported under this id. */
async function newestExport(root: string, workflowId: string): Promise<string | null> {
  const found = new Map<string, Head>();
  for (const name of await readdir(exportsOf(root, workflowId)).catch(() => [])) {
    const folder = join(exportsOf(root, workflowId), name);
    for (const [runId, file] of await historyFiles(folder)) {
      const event = (await readHistory(folder, file.name))?.history.events[0];
      if (!event) continue;
      found.set(runId, headOf(runId, event));
      break;
    }
  }
  return byTime(found).at(-1)?.firstRunId ?? null;
}
