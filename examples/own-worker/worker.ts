/** Your worker, with srlm's activities added by its plugin.  Usage: npm run worker */
import { fileURLToPath } from 'node:url';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Worker } from '@temporalio/worker';
import { SrlmPlugin } from 'srlm';
import * as activities from './activities.js';
import { deployment } from './deployment.js';

// TEMPORAL_ADDRESS, profiles, TLS, API keys: the client of client.ts reads the same.
const { connectionOptions, namespace = 'default' } = loadClientConnectConfig();
const connection = await NativeConnection.connect(connectionOptions);
const worker = await Worker.create({
  connection,
  namespace,
  taskQueue: deployment.taskQueue,
  workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)),
  activities,
  plugins: [new SrlmPlugin(deployment)],
});
await worker.run();
