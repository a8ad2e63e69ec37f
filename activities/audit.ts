/** At the end of every run, however it ended: its histories, spec and step records become files in the store. */
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import { exportsOf } from '../audit/bundle.js';
import { exportRun } from '../audit/export.js';
import { AuditInput } from '../contracts/steps.js';
import { activity, type Deps, metered } from './activity.js';

export const srlmAudit = ({ store, deployment }: Deps) =>
  activity('audit', AuditInput, ({ workflowId, runId: execution }) =>
    metered('audit', 'files', 0, async (meter) => {
      const { engines } = deployment;
      const of = { temporal: Context.current().client, store, engines, workflowId, execution, by: null };
      const folder = join(exportsOf(store.root, workflowId), execution);
      await exportRun(of, folder, (done, total) => meter.set(done, total));
    }),
  );
