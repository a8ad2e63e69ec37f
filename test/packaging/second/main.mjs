/** A program whose own copies of the SDK are in its folder, while srlm finds others beside itself. Prints a refusal each. */
import { createRequire } from 'node:module';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { SrlmClient, SrlmPlugin } from 'srlm';

const address = process.env.TEMPORAL_ADDRESS;
const taskQueue = 'second';
const workflowsPath = createRequire(import.meta.url).resolve('./workflows.js');
const plugins = [new SrlmPlugin()];
const connection = await NativeConnection.connect({ address });
const foreign = Object.create(Worker.prototype);

const refusals = {
  client: SrlmClient.connect({}, new Client({ connection: Connection.lazy({ address }) })),
  connection: Worker.create({ connection, taskQueue, plugins }),
  workflowsPath: Worker.create({ workflowsPath, taskQueue, plugins }),
  worker: (async () => plugins[0].runWorker(foreign, async () => {}))(),
};
for (const [name, refusal] of Object.entries(refusals)) {
  const message = await refusal.then(
    () => 'not refused',
    (error) => error.message,
  );
  console.log(JSON.stringify({ name, message }));
}
await connection.close();
