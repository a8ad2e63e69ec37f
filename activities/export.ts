/** The history of one execution becomes files in the store, before Temporal deletes it. */
import { Context } from '@temporalio/activity';
import { exportExecution } from '../audit/export.js';
import { ExportInput } from '../contracts/steps.js';
import { activity, type Deps } from './activity.js';
import { withProgress } from './progress.js';

export const srlmExport = ({ store }: Deps) =>
  activity('export', ExportInput, (input) =>
    withProgress('export', 'files', 0, async (progress) => {
      const { client: temporal } = Context.current();
      await exportExecution({ temporal, store, ...input }, (done, total) => progress.set(done, total));
    }),
  );
