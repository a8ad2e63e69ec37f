/** At the end of every run, however it ended: its histories, spec and manifests become files in the store. */
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import { exportRun } from '../audit/export.js';
import { AuditInput } from '../contracts/steps.js';
import { activity, type Deps, metered } from './activity.js';

export const srlmAudit = ({ store }: Deps) =>
  activity('audit', AuditInput, ({ workflowId, runId }) =>
    metered('audit', 'files', 0, () =>
      exportRun(Context.current().client, workflowId, runId, join(store.root, 'audit', workflowId, runId)),
    ),
  );
