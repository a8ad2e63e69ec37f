/**
 * Writes down what Temporal's retention would lose (bundle.ts says where). The same run exported again gives the same
 * files; run.json is taken away first and written last, so that a folder cut short is never taken for a whole one.
 */
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import pLimit from 'p-limit';
import type { z } from 'zod';
import type { Deployment } from '../contracts/deployment.js';
import { withSettings } from '../contracts/settings.js';
import { RunSpec, SampleSpec } from '../contracts/spec.js';
import { RunInput, type Settings } from '../contracts/steps.js';
import { sweep, writeWhole } from '../storage/files.js';
import type { ArtifactStore } from '../storage/store.js';
import type { Account } from './account.js';
import { historyFile, type RunFile } from './bundle.js';
import { childrenOf, isClosed, startOf } from './events.js';
import { executionOf, type Histories, loadRun } from './load.js';
import { Records } from './records.js';
import { roundOf, tell } from './tell.js';
import { renderAccount } from './text.js';

type Json = RunFile['spec'];

/** Columns of account.md, which no terminal wraps. */
const WIDTH = 100;

export interface ExportOf {
  temporal: Client | null;
  store: ArtifactStore;
  engines: Deployment['engines'];
  workflowId: string;
  execution?: string;
  /** Who asked for it; null: the run itself, as its last act. */
  by: string | null;
  /** Whatever export is in the folder goes. */
  replace?: boolean;
}

export async function exportRun(
  { temporal, store, engines, workflowId, execution, by, replace = false }: ExportOf,
  folder: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<RunFile> {
  const histories = await loadRun(temporal, store.root, workflowId, execution);
  const records = await Records.read(store, engines, histories, 'all');
  const account = tell(histories, records);

  await mkdir(folder, { recursive: true });
  sweep(folder);
  const path = (name: string) => join(folder, name);
  for (const name of replace ? ['run.json', 'histories', 'steps'] : ['run.json'])
    await rm(path(name), { recursive: true, force: true });
  const write = (name: string, text: string) => writeWhole(path(name), `${text}\n`, folder);
  let done = 0;
  const total = histories.length + records.all().length;
  for (const recorded of histories) {
    const { workflowId, history } = recorded;
    await write(historyFile(executionOf(recorded)), JSON.stringify({ workflowId, history }));
    onProgress(++done, total);
  }
  // Small files by the hundred, which the store has: copies need no care but that run.json comes after them.
  const limit = pLimit(16);
  const folders = new Set(records.all().map(({ step }) => path(`steps/${step}`)));
  for (const one of folders) await mkdir(one, { recursive: true });
  await Promise.all(
    records.all().map(({ step, key }) =>
      limit(async () => {
        await copyFile(store.recordPath(step, key), path(`steps/${step}/${key}.json`));
        onProgress(++done, total);
      }),
    ),
  );
  await write('account.json', JSON.stringify(account));
  await write('account.md', ['```', ...renderAccount(account, WIDTH), '```'].join('\n'));
  const run = runFile(histories, account, records.all().length, by);
  await write('run.json', JSON.stringify(run, null, 2));
  return run;
}

function runFile(histories: Histories, account: Account, records: number, by: string | null): RunFile {
  const [run] = histories;
  const { input } = startOf(run);
  const { spec = null } = (input ?? {}) as { spec?: RunFile['spec'] };
  const changes = account.entries.flatMap((entry) => {
    if (entry.kind !== 'intervention' || entry.set === null || entry.what === 'decision') return [];
    const { at, who, why, fromRound, set } = entry;
    return [{ at, who, why, fromRound, set }];
  });
  const complete = histories.every(isClosed) && histories.length > childrenOf(run).length;
  const files = new Map(histories.map((recorded) => [executionOf(recorded).runId, recorded]));
  const workflows = [executionOf(run), ...childrenOf(run)].map((execution) => {
    const recorded = files.get(execution.runId);
    return {
      workflowId: execution.workflowId,
      execution: execution.runId,
      round: recorded ? roundOf(recorded) : null,
      file: recorded ? historyFile(execution) : null,
      events: recorded?.history.events.length ?? 0,
    };
  });
  const { type, state, startedAt, endedAt, fork } = account;
  return {
    version: 1,
    ...{ run: run.workflowId, type, state, startedAt, endedAt, workflows, fork, spec },
    specSince: changed(spec, [...(RunInput.safeParse(input).data?.fork?.changes ?? []), ...changes], type),
    ...{ changes, records },
    exported: {
      at: new Date().toISOString(),
      by: by ?? 'the run itself',
      complete,
      note: complete ? '' : whyNot(histories, by),
    },
  };
}

function whyNot(histories: Histories, by: string | null): string {
  const [run] = histories;
  if (isClosed(run)) return 'Temporal had the histories of some rounds no more.';
  return by === null
    ? 'Written by the run as its last act: the events after that, its end among them, are not in its history here.'
    : 'The run had not ended.';
}

/** A setting that the spec did not take is left out: what was refused changed nothing. */
function changed(spec: Json, changes: readonly { set: Settings }[], type: RunFile['type']): Json {
  const schema = (type === 'run' ? RunSpec : SampleSpec) as unknown as z.ZodType<Json>;
  return changes.reduce((now, { set }) => {
    try {
      return withSettings(now, set, schema);
    } catch {
      return now;
    }
  }, spec);
}
