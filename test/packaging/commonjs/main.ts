/** A CommonJS program, which loads every export in both ways and runs a worker and a client with srlm's plugin. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { type DeploymentInput, loadDeployment, Problem, SrlmClient, SrlmPlugin } from 'srlm';
import type { RunResult } from 'srlm/contracts';
import type { srlmRun } from 'srlm/workflows';
import * as activities from './activities';
import { deployment as common } from './deployment';
import type { askTeacher } from './workflows';

const deployment: DeploymentInput = { ...common, taskQueue: 'commonjs' };

export const best = async (srlm: SrlmClient, id: string): Promise<number> => (await srlm.result(id)).best;
export type Result = Awaited<ReturnType<typeof srlmRun>> extends RunResult ? true : never;
// @ts-expect-error: a name, not a number
export const wrong: DeploymentInput = { taskQueue: 1 };

async function main(): Promise<void> {
  const { exports: entries } = require('srlm/package.json') as { exports: Record<string, unknown> };
  const names: Record<string, unknown> = {};
  for (const entry of Object.keys(entries).filter((name) => !name.endsWith('.json'))) {
    const required = Object.keys(require(`srlm${entry.slice(1)}`));
    const imported = Object.keys(await import(`srlm${entry.slice(1)}`));
    names[entry] = { required: required.length, notImported: required.filter((name) => !imported.includes(name)) };
  }
  const configs = ['config', '../esm/config'].map((folder) => loadDeployment(`${folder}/temporal.config.ts`));
  const queues = (await Promise.all(configs)).map(({ taskQueue }) => taskQueue);
  const address = process.env.TEMPORAL_ADDRESS;
  const connection = await NativeConnection.connect({ address });
  const worker = await Worker.create({
    connection,
    taskQueue: 'commonjs',
    workflowsPath: require.resolve('./workflows'),
    activities,
    plugins: [new SrlmPlugin(deployment)],
  });
  const client = new Client({ connection: await Connection.connect({ address }) });
  const srlm = await SrlmClient.connect(deployment, client);
  const { input } = await srlm.sampleInput({
    engine: 'teacher',
    data: { path: 'prompts.jsonl' },
    sampling: { k: 2, maxTokens: 256 },
  });
  const options = { workflowId: `commonjs-${Date.now()}`, taskQueue: 'commonjs', args: [input] as [typeof input] };
  const result = await worker.runUntil(client.workflow.execute<typeof askTeacher>('askTeacher', options));
  const refusal = await srlm.start({}, { id: 'wrong' }).catch((error) => error);
  const refused = refusal instanceof Problem && refusal.type;
  console.log(JSON.stringify({ names, queues, result, refused }));
  await srlm.close();
  await connection.close();
}

void main();
