/** The part of Temporal's client that the audit uses, answered from histories: descriptions, and histories in pages. */
import type { Client } from '@temporalio/client';
import { defaultDataConverter } from '@temporalio/common';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import type { Decoding } from '../../audit/decode.js';
import { type Execution, isClosed } from '../../audit/events.js';
import { WORKFLOW } from './histories.js';

export const PLAIN: Decoding = { namespace: 'default', loadedDataConverter: defaultDataConverter };

/** Where the histories of a run are; null: no Temporal answers. */
export const at = (temporal: Client | null) => ({ temporal, decoding: temporal?.options ?? PLAIN });

interface Options {
  /** Pages of more events are refused, as gRPC refuses what is above its limit. */
  maxPageSize?: number;
  /** The connection fails when more than a first event is asked for. */
  isLost?: boolean;
}

interface Request {
  execution: { workflowId: string; runId?: string };
  maximumPageSize?: number;
  nextPageToken?: Uint8Array;
  historyEventFilterType?: number;
}

export class FakeTemporal {
  /** Sizes of the pages that were asked for. */
  readonly asked: (number | undefined)[] = [];

  /** `executions`: oldest first; others have been deleted. */
  constructor(
    private readonly executions: readonly Execution[],
    private readonly options: Options = {},
  ) {}

  get client(): Client {
    const workflowService = {
      describeWorkflowExecution: async (request: Request) => {
        const { runId, history } = this.find(request.execution);
        const status = isClosed({ history: history! }) ? 2 : 1;
        return { workflowExecutionInfo: { execution: { workflowId: WORKFLOW, runId }, status } };
      },
      getWorkflowExecutionHistory: async (request: Request) => this.page(request),
    };
    const withAbortSignal = <T>(_: AbortSignal, work: () => T) => work();
    return { workflowService, withAbortSignal, options: PLAIN } as unknown as Client;
  }

  private find({ workflowId, runId }: Request['execution']): Execution {
    const fits = this.executions.filter((one) => one.workflowId === workflowId && (!runId || one.runId === runId));
    const found = fits.at(-1);
    if (!found) throw Object.assign(new Error('workflow not found'), { code: 5 });
    return found;
  }

  private page({ execution, maximumPageSize, nextPageToken, historyEventFilterType }: Request) {
    const { events } = this.find(execution).history!;
    if (historyEventFilterType === 2) {
      // The server would wait 20 s for the end of an execution that is running.
      if (!isClosed({ history: { events } })) throw new Error('asked for the last event of a running execution');
      return { history: historyFromJSON({ events: events.slice(-1) }) };
    }
    this.asked.push(maximumPageSize);
    const { maxPageSize = 200, isLost = false } = this.options;
    const size = maximumPageSize ?? 256;
    if (isLost && size > 1) throw Object.assign(new Error('connection lost'), { code: 14 });
    if (size > maxPageSize)
      throw Object.assign(new Error('Received message larger than max (5000000 vs 4194304)'), { code: 8 });
    const from = nextPageToken?.length ? Number(Buffer.from(nextPageToken).toString()) : 0;
    const to = from + size;
    const history = historyFromJSON({ events: events.slice(from, to) });
    return { history, nextPageToken: Buffer.from(to < events.length ? String(to) : '') };
  }
}
