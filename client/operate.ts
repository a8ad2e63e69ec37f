/**
 * Sends commands to a run. A command is an Update to the run's workflow id, whichever of its executions takes it.
 * Throws run.unknown, run.not-parked, run.refused, run.broken, payload.unreadable.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  type WorkflowExecutionDescription,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { encode } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { z } from 'zod';
import { answeredBy, COMMANDS, type CommandName, commandProblem, updateName } from '../contracts/commands.js';
import { commandRefused, runBroken, runEnded, runNotParked } from '../contracts/errors.js';
import { codeFailureText, type Halt, type RunState } from '../contracts/run.js';
import { isAway } from './away.js';
import { codeFailureOf } from './diagnosis.js';
import { describe, hasEnded, memoOf, phaseBy } from './executions.js';
import { operator } from './operator.js';
import { COMMAND_QUERY_MS, type RunReader } from './status.js';

/** The fields of a command, except those that `send` fills in. */
export type CommandFields<Name extends CommandName> = Omit<z.input<(typeof COMMANDS)[Name]>, 'who' | 'answers'>;

const FAILED_PRECONDITION = 9;
const RETRY_MS = 250;
const RETRY_FOR_MS = 30_000;
/** A try that took longer was waiting for a worker. */
const WAITING_MS = 5000;
const LOOK_MS = 5000;

const WORDS: Record<Halt['kind'], string> = { parked: 'parked', waiting: 'waiting for approval' };

/** Returns what the command was about: a step, an approval or a round. */
export async function send<Name extends CommandName>(
  temporal: Client,
  reader: Pick<RunReader, 'look'>,
  runId: string,
  name: Name,
  fields: CommandFields<Name>,
): Promise<string> {
  const { state, halt, described, codeFailure } = await reader.look(runId, COMMAND_QUERY_MS);
  if (codeFailure) throw runBroken(runId, codeFailureText(codeFailure));
  // The command would be sent as this client encodes it: in plain text, if it lacks the codec.
  if (described.undecoded) throw described.undecoded;
  const kind = answeredBy(name);
  const answered = halt && (kind === 'any' || kind === halt.kind) ? halt : null;
  const ended = hasEnded(described.status.name);
  const earlier = lastAnswer(state);
  // Where no worker answered, the run itself will say whether there is something to answer.
  const isKnown = ended ? earlier !== undefined : state !== null;
  if (kind !== null && kind !== 'any' && !answered && isKnown) throw runNotParked(runId, WORDS[kind], earlier);
  if (ended) throw refusedByEnd(name, described);
  const command = {
    who: operator(),
    ...(answered ? { answers: answered.since } : {}),
    ...fields,
  };
  const problem = commandProblem(name, command);
  if (problem) throw commandRefused(runId, name, problem);
  return unlessBroken(temporal, runId, update(temporal, runId, name, COMMANDS[name].parse(command)));
}

/** For work that waits for a worker: the code of one that comes may fail, and would be waited for without end. */
export async function unlessBroken<T>(temporal: Client, runId: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const broken = new Promise<never>((_, reject) => {
    const look = async () => {
      const failure = await codeFailureOf(temporal, await describe(temporal, runId));
      if (failure) reject(runBroken(runId, codeFailureText(failure)).adding('What was sent may be done then.'));
    };
    // Whatever keeps Temporal from answering is met by `work`, too.
    timer = setInterval(() => void look().catch(() => {}), LOOK_MS);
  });
  try {
    return await Promise.race([work, broken]);
  } finally {
    clearInterval(timer);
  }
}

/**
 * One id for all tries: an execution applies a command once, however often it arrives. Waits for a worker as long as it
 * takes; errors that pass are retried for a while.
 */
async function update(temporal: Client, runId: string, name: CommandName, command: object): Promise<string> {
  const options = { args: [command] as [object], updateId: randomUUID() };
  const handle = temporal.workflow.getHandle(runId);
  for (let failingSince: number | null = null; ; await sleep(RETRY_MS)) {
    const startedAt = performance.now();
    try {
      return await handle.executeUpdate<string, [object]>(updateName(name), options);
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError)
        throw commandRefused(runId, name, (error.cause?.message ?? error.message).replace(/\.$/, ''));
      if (!(await mayPass(temporal, runId, name, error))) throw error;
      if (failingSince === null || performance.now() - startedAt > WAITING_MS) failingSince = startedAt;
      if (performance.now() - failingSince > RETRY_FOR_MS) throw error;
    }
  }
}

/**
 * Ends the newest execution without the help of its workflow code. Temporal shows the reason of a termination to whoever
 * reads the namespace; under a codec `text` is a detail of it, which is encoded as everything else is.
 */
export async function terminate(temporal: Client, runId: string, text: string): Promise<void> {
  const { loadedDataConverter, namespace, identity } = temporal.options;
  if (loadedDataConverter.payloadCodecs.length === 0) {
    await temporal.workflow.getHandle(runId).terminate(text);
    return;
  }
  const context = { type: 'workflow', namespace, workflowId: runId } as const;
  const payloads = await encode(loadedDataConverter.payloadCodecs, [defaultPayloadConverter.toPayload(text)], context);
  await temporal.workflowService.terminateWorkflowExecution({
    namespace,
    identity,
    workflowExecution: { workflowId: runId },
    reason: 'srlm abort --terminate',
    details: { payloads },
  });
}

/** The execution ended before it took the command, and another follows; or Temporal could not take it just now. */
async function mayPass(temporal: Client, runId: string, name: CommandName, error: unknown): Promise<boolean> {
  if (error instanceof WorkflowNotFoundError) {
    const described = await describe(temporal, runId);
    if (hasEnded(described.status.name)) throw refusedByEnd(name, described);
    return true;
  }
  const { code, details } = ((error as Error).cause ?? error) as { code?: number; details?: string };
  // A task that was to end in continue-as-new failed: nothing of it was applied.
  if (code === FAILED_PRECONDITION) return details?.includes('unexpected workflow task failure') === true;
  return isAway(error);
}

function refusedByEnd(name: CommandName, { workflowId, type, status, memo }: WorkflowExecutionDescription) {
  const phase = phaseBy(status.name, memoOf(memo)?.phase ?? null);
  return runEnded(workflowId, name, phase, type === 'srlmRun');
}

function lastAnswer(state: RunState | null): string | undefined {
  const last = state?.interventions.findLast(({ answers }) => answers !== null);
  if (!last) return undefined;
  const { kind, at, step, who, why } = last;
  return `${kind} at ${at}, ${step}, by ${who}${why && `: ${why}`}`;
}
