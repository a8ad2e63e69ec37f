/**
 * What a worker that declares a version bundles: all workflows; a round and a sampling end on the code they began with.
 * A run says nothing of itself: its worker's default decides (worker/workers.ts). A bundle of its own, because the server
 * refuses what a workflow says of versions when its worker has none, and the workflow would wait for ever.
 */
import { setWorkflowOptions } from '@temporalio/workflow';
import { srlmRound, srlmSample } from './index.js';

export * from './index.js';

setWorkflowOptions({ versioningBehavior: 'PINNED' }, srlmRound);
setWorkflowOptions({ versioningBehavior: 'PINNED' }, srlmSample);
