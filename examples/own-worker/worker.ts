/** Your worker, with srlm's activities added by its plugin.  Usage: npm run worker */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import { SrlmPlugin } from 'srlm';
import * as activities from './activities.js';
import { deployment } from './deployment.js';

const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS ?? 'localhost:7233' });
const worker = await Worker.create({
  connection,
  taskQueue: deployment.taskQueue,
  // In a CommonJS project: require.resolve('./workflows').
  workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)),
  activities,
  plugins: [new SrlmPlugin(deployment)],
});
await worker.run();
