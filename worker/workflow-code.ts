/**
 * The workflow code of a worker that has none of its own. The build bundles it, because bundling takes two seconds and
 * 200 MB at each start; but a bundle holds the SDK's workflow code, too, so it fits only the version of the SDK that it
 * was built with, and nothing of the worker's own can be a part of it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkerOptions } from '@temporalio/worker';
import { versionOf } from '../config/sdk.js';
import { packageRoot } from '../processes/python.js';

type Code = Pick<WorkerOptions, 'workflowsPath' | 'workflowBundle'>;
type Given = Pick<WorkerOptions, keyof Code | 'dataConverter' | 'interceptors' | 'plugins'>;

const dist = join(packageRoot, 'dist');

/** Nothing where the worker has its own. `areOurs`: the plugins add nothing to a bundle. */
export function workflowCode({ workflowsPath, workflowBundle, ...given }: Given, areOurs: boolean): Code {
  if (workflowsPath || workflowBundle) return {};
  if (!areOurs || isPart(given) || builtWith() !== versionOf('@temporalio/workflow'))
    return { workflowsPath: join(dist, 'workflows', 'index.js') };
  return { workflowBundle: { codePath: join(dist, 'workflow-bundle.js') } };
}

const isPart = ({ dataConverter, interceptors }: Omit<Given, keyof Code>): boolean =>
  dataConverter?.payloadConverterPath !== undefined ||
  dataConverter?.failureConverterPath !== undefined ||
  (interceptors?.workflowModules?.length ?? 0) > 0;

const builtWith = (): string => {
  const { sdk } = JSON.parse(readFileSync(join(dist, 'workflow-bundle.json'), 'utf8')) as { sdk: string };
  return sdk;
};
