/**
 * The executions of a run, oldest first: from Temporal, or from the run's own export where Temporal no longer has them.
 * The list is made first, the histories are read one at a time as they are asked for. An execution that is in neither
 * place is listed without a history. Each is decoded here, once.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { artifactDamaged, runUnknown } from '../contracts/errors.js';
import { nullIfMissing } from '../storage/files.js';
import { exportOf, exportsOf, HISTORIES, historyFiles, readHistory } from './bundle.js';
import { type Decoding, decodeExecution } from './decode.js';
import { continuedOf, type Event, type Execution, firstRunIdOf, isClosed, type WorkflowHistory } from './events.js';
import { eventsToJson } from './proto-json.js';

export interface RunHistories {
  workflowId: string;
  /** Temporal's id of the first execution. */
  firstRunId: string;
  /** How many executions there are. */
  count: number;
  executions: Iterable<Execution> | AsyncIterable<Execution>;
}

/** Where the histories of runs are. */
export interface Origin {
  /** null: it is not reachable. */
  temporal: Client | null;
  decoding: Decoding;
  /** The artifact root, below which runs export themselves. */
  root: string;
}

/**
 * `firstRunId`: the execution that began the run; default: that of the newest run with this id. Throws run.unknown,
 * artifact.damaged.
 */
export async function loadRun(
  { temporal, decoding, root }: Origin,
  workflowId: string,
  firstRunId?: string,
): Promise<RunHistories> {
  const newest = temporal && (await newestExecution(temporal, workflowId));
  const event = newest && (await fetchEvent(temporal, workflowId, newest.runId, FIRST_EVENT));
  const current = event ? firstRunIdOf(newest.runId, event) : null;
  const first = firstRunId ?? current ?? (await newestExport(root, workflowId));
  if (!first) throw runUnknown(workflowId);
  const folder = exportOf(root, workflowId, first);
  const source = new Source(temporal, folder, workflowId, await historyFiles(folder));
  const runIds = await source.chain(first, current === first ? newest : null);
  const executions = {
    async *[Symbol.asyncIterator]() {
      for (const runId of runIds) yield decodeExecution(await source.execution(runId), decoding);
    },
  };
  return { workflowId, firstRunId: first, count: runIds.length, executions };
}

class Source {
  constructor(
    private readonly temporal: Client | null,
    private readonly folder: string,
    private readonly workflowId: string,
    private readonly files: ReadonlyMap<string, string>,
  ) {}

  async execution(runId: string): Promise<Execution> {
    const { workflowId, temporal } = this;
    const file = await this.file(runId);
    // A closed execution does not change any more.
    const events = file && isClosed(file) ? null : temporal && (await fetchEvents(temporal, workflowId, runId));
    if (events) return { workflowId, runId, history: { events } };
    return { workflowId, runId, history: file?.history ?? null, ...this.pathIn(runId) };
  }

  /**
   * From the first execution to the last: each names the next one. Where one is lost, the next one that has a file
   * follows, or else `newest`.
   */
  async chain(first: string, newest: Newest | null): Promise<string[]> {
    const found = new Set<string>();
    const others = [...this.files.keys(), ...(newest ? [newest.runId] : [])];
    for (let runId: string | undefined = first; runId; ) {
      found.add(runId);
      const isRunning: boolean = newest?.runId === runId && newest.isRunning;
      const next: string | undefined = isRunning ? undefined : await this.next(runId);
      if (next && !found.has(next)) runId = next;
      else {
        runId = others.find((one) => !found.has(one));
        // It names those between, as far back as they are known.
        const before: string[] = [];
        for (let one = await this.previous(runId); one && !found.has(one); one = await this.previous(one))
          before.unshift(one);
        for (const one of before) found.add(one);
      }
    }
    return [...found];
  }

  private async next(runId: string): Promise<string | undefined> {
    const last = await this.event(runId, LAST_EVENT);
    return last?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
  }

  private async previous(runId: string | undefined): Promise<string | null> {
    const first = runId && (await this.event(runId, FIRST_EVENT));
    return first ? continuedOf(first) : null;
  }

  private async event(runId: string, which: PageRequest): Promise<Event | null> {
    const found = this.temporal && (await fetchEvent(this.temporal, this.workflowId, runId, which));
    return found ?? (await this.file(runId))?.history.events.at(which === FIRST_EVENT ? 0 : -1) ?? null;
  }

  private async file(runId: string): Promise<WorkflowHistory | null> {
    return this.files.has(runId) ? readHistory(this.pathOf(runId)) : null;
  }

  private pathIn(runId: string): { file?: string } {
    return this.files.has(runId) ? { file: this.pathOf(runId) } : {};
  }

  private pathOf(runId: string): string {
    return join(this.folder, HISTORIES, this.files.get(runId)!);
  }
}

/** The first execution of the newest run that was exported under this id. Throws artifact.damaged where none can be read. */
async function newestExport(root: string, workflowId: string): Promise<string | null> {
  const folder = exportsOf(root, workflowId);
  let newest = { name: '', firstRunId: null as string | null };
  let damaged = '';
  for (const run of (await readdir(folder).catch(nullIfMissing)) ?? [])
    for (const [runId, name] of await historyFiles(join(folder, run))) {
      const path = join(folder, run, HISTORIES, name);
      const file = await readHistory(path);
      const event = file?.history.events[0];
      damaged = event ? damaged : path;
      // Where case does not count in names, runs Run and run have one folder.
      if (!event || file.workflowId !== workflowId) continue;
      if (name > newest.name) newest = { name, firstRunId: firstRunIdOf(runId, event) };
      break;
    }
  if (newest.firstRunId === null && damaged) throw artifactDamaged(damaged, 'the exported history was cut or altered.');
  return newest.firstRunId;
}

// --- Temporal: null where it does not have the execution (any more); other errors are thrown as they come --------------
/**
 * A page must fit into one gRPC message of 4 MB, which a page of the service's own size may not. It is counted in
 * transactions of about two events, and no payload is above 4 KB (contracts/refs.ts).
 */
const PAGE_SIZE = 200;
/** gRPC status code. */
const NOT_FOUND = 5;

interface PageRequest {
  maximumPageSize?: number;
  nextPageToken?: Uint8Array | undefined;
  historyEventFilterType?: number;
}
const FIRST_EVENT: PageRequest = { maximumPageSize: 1 };
/** HistoryEventFilterType CLOSE_EVENT. Not for a running execution: the server would wait 20 s for its end. */
const LAST_EVENT: PageRequest = { historyEventFilterType: 2 };

/** WorkflowExecutionStatus RUNNING. */
const RUNNING = 1;

interface Newest {
  runId: string;
  isRunning: boolean;
}

async function newestExecution({ workflowService, options }: Client, workflowId: string): Promise<Newest | null> {
  const described = await orNull(
    workflowService.describeWorkflowExecution({ namespace: options.namespace, execution: { workflowId } }),
  );
  const { execution, status } = described?.workflowExecutionInfo ?? {};
  return execution?.runId ? { runId: execution.runId, isRunning: status === RUNNING } : null;
}

export async function fetchEvents(client: Client, workflowId: string, runId: string): Promise<Event[] | null> {
  const events: Event[] = [];
  let maximumPageSize = PAGE_SIZE;
  let nextPageToken: Uint8Array | undefined;
  for (;;) {
    try {
      const page = await fetchPage(client, workflowId, runId, { maximumPageSize, nextPageToken });
      if (page === null) return null;
      events.push(...page.events);
      nextPageToken = page.nextPageToken;
      if (!nextPageToken?.length) return events;
    } catch (error) {
      if (!isTooLarge(error) || maximumPageSize === 1) throw error;
      maximumPageSize = Math.ceil(maximumPageSize / 8);
    }
  }
}

async function fetchEvent(client: Client, workflowId: string, runId: string, which: PageRequest) {
  const page = await fetchPage(client, workflowId, runId, which);
  return page?.events.at(which === FIRST_EVENT ? 0 : -1) ?? null;
}

async function fetchPage(
  { workflowService, options }: Client,
  workflowId: string,
  runId: string,
  { nextPageToken, ...request }: PageRequest,
): Promise<{ events: Event[]; nextPageToken: Uint8Array | undefined } | null> {
  const page = await orNull(
    workflowService.getWorkflowExecutionHistory({
      namespace: options.namespace,
      execution: { workflowId, runId },
      ...request,
      ...(nextPageToken ? { nextPageToken } : {}),
    }),
  );
  if (!page) return null;
  return { events: eventsToJson(page.history), nextPageToken: page.nextPageToken ?? undefined };
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    const { code, cause } = error as { code?: number; cause?: { code?: number } };
    if ((code ?? cause?.code) === NOT_FOUND) return null;
    throw error;
  }
}

/** Clients of Node and of Temporal's core put it differently. */
const isTooLarge = (error: unknown): boolean => /message larger than max|message length too large/.test(String(error));
