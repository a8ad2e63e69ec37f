/**
 * Histories from Temporal, page by page. Each function gives null where Temporal does not have the execution (any more);
 * other errors of the service are thrown as they come.
 */
import type { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { Event } from './events.js';

/**
 * A page must fit into one gRPC message of 4 MB, which a page of the service's own size may not. It is counted in
 * transactions of about two events, and no payload is above 4 KB (contracts/refs.ts).
 */
const PAGE_SIZE = 200;
/** Values of Temporal's HistoryEventFilterType. */
const CLOSE_EVENT = 2;
/** gRPC status code. */
const NOT_FOUND = 5;

/** Temporal's id of the newest execution of a workflow. */
export async function newestRunId({ workflowService, options }: Client, workflowId: string): Promise<string | null> {
  const described = await orNull(
    workflowService.describeWorkflowExecution({ namespace: options.namespace, execution: { workflowId } }),
  );
  return described?.workflowExecutionInfo?.execution?.runId ?? null;
}

export async function fetchEvents(client: Client, workflowId: string, runId: string): Promise<Event[] | null> {
  const events: Event[] = [];
  let maximumPageSize = PAGE_SIZE;
  let nextPageToken: Uint8Array | undefined;
  for (;;) {
    try {
      const page = await pageOf(client, workflowId, runId, { maximumPageSize, nextPageToken });
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

export async function fetchFirstEvent(client: Client, workflowId: string, runId: string): Promise<Event | null> {
  const page = await pageOf(client, workflowId, runId, { maximumPageSize: 1 });
  return page?.events[0] ?? null;
}

/** The newest event of a running execution. */
export async function fetchLastEvent(client: Client, workflowId: string, runId: string): Promise<Event | null> {
  const page = await pageOf(client, workflowId, runId, { historyEventFilterType: CLOSE_EVENT });
  return page?.events.at(-1) ?? null;
}

interface PageRequest {
  maximumPageSize?: number;
  nextPageToken?: Uint8Array | undefined;
  historyEventFilterType?: number;
}

async function pageOf(
  { workflowService, options }: Client,
  workflowId: string,
  runId: string,
  { nextPageToken, ...request }: PageRequest,
): Promise<{ events: Event[]; nextPageToken: Uint8Array | undefined } | null> {
  const page = await orNull(
    workflowService.getWorkflowExecutionHistory({
      ...{ namespace: options.namespace, execution: { workflowId, runId }, ...request },
      ...(nextPageToken ? { nextPageToken } : {}),
    }),
  );
  if (!page) return null;
  const { events } = JSON.parse(historyToJSON({ events: page.history?.events ?? [] } as never)) as { events?: Event[] };
  return { events: events ?? [], nextPageToken: page.nextPageToken ?? undefined };
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (codeOf(error) === NOT_FOUND) return null;
    throw error;
  }
}

/** Clients of Node and of Temporal's core put it differently. */
const isTooLarge = (error: unknown): boolean => /message larger than max|message length too large/.test(String(error));

function codeOf(error: unknown): number | undefined {
  const { code, cause } = error as { code?: number; cause?: { code?: number } };
  return code ?? cause?.code;
}
