/**
 * The workflow code of srlm's own workers. The build bundles it, because bundling takes two seconds and 200 MB at each
 * start; but a bundle holds the SDK's workflow code, too, so it fits only the version of the SDK that it was built with.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkerOptions } from '@temporalio/worker';
import { versionOf } from '../config/sdk.js';
import { packageRoot } from '../processes/python.js';

const dist = join(packageRoot, 'dist');

export function workflowCode(): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  const built = JSON.parse(readFileSync(join(dist, 'workflow-bundle.json'), 'utf8')) as { sdk: string };
  if (built.sdk !== versionOf('@temporalio/workflow')) return { workflowsPath: join(dist, 'workflows/index.js') };
  return { workflowBundle: { codePath: join(dist, 'workflow-bundle.js') } };
}
