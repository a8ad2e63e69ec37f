/**
 * Loads the deployment: temporal.config.ts of the current folder, or the file that --config names, checked, its paths
 * made absolute. Without a file the defaults are used, below the current folder. Throws config.invalid.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Deployment, type DeploymentInput } from '../contracts/deployment.js';
import { isPassed } from '../contracts/environment.js';
import { configInvalid } from '../contracts/errors.js';
import { explain } from '../contracts/issues.js';
import type { WorkflowConfig } from '../contracts/workflow-config.js';

const NAMES = [
  'temporal.config.ts',
  'temporal.config.mts',
  'temporal.config.js',
  'temporal.config.mjs',
  'temporal.config.json',
];

/** For types in an editor: `export default defineConfig({ ... })`. */
export const defineConfig = (config: DeploymentInput): DeploymentInput => config;

export async function loadDeployment(file?: string): Promise<Deployment> {
  const path = file ? resolve(file) : NAMES.map((name) => resolve(name)).find((name) => existsSync(name));
  if (!path) return resolveDeployment({}, process.cwd());
  if (!existsSync(path)) throw configInvalid(path, 'there is no such file.');
  let config: unknown;
  try {
    config = path.endsWith('.json') ? JSON.parse(await readFile(path, 'utf8')) : await exportedBy(path);
  } catch (error) {
    throw configInvalid(path, `it cannot be loaded (${causeOf(error)}).`);
  }
  if (config === undefined)
    throw configInvalid(path, 'it has no default export: `export default defineConfig({ ... })`.');
  return resolveDeployment(config as DeploymentInput, dirname(path), path);
}

/** undefined: it has no default export. */
async function exportedBy(path: string): Promise<unknown> {
  const { createJiti } = await import('jiti');
  const module = await createJiti(__filename).import<object>(path);
  // jiti itself makes up a default export of all others.
  return Object.keys(module).includes('default') ? (module as { default: unknown }).default : undefined;
}

/** The first line of a message, and the place that jiti puts on the second one. */
function causeOf(error: unknown): string {
  const [first = '', ...more] = String((error as Error | null)?.message ?? error).split('\n');
  const line = /:(\d+):\d+$/.exec(more[0] ?? '')?.[1];
  return `${first.trim()}${line ? `, line ${line}` : ''}`;
}

/** `file`: what messages call the config. */
export function resolveDeployment(config: DeploymentInput, folder: string, file = 'the deployment config'): Deployment {
  const parsed = Deployment.safeParse(config, { reportInput: true });
  if (!parsed.success) {
    const { field, reason } = explain(parsed.error.issues[0]!);
    throw configInvalid(file, `${field || 'the configuration'}: ${reason}.`);
  }
  for (const [name, engine] of Object.entries(parsed.data.engines)) {
    const variable = 'apiKeyEnv' in engine ? engine.apiKeyEnv : undefined;
    if (variable !== undefined && isPassed(variable))
      throw configInvalid(
        file,
        `engines.${name}.apiKeyEnv: trainers and model servers get the variable ${variable}; use one with KEY or TOKEN in its name.`,
      );
  }
  const at = (path: string) => resolve(folder, path);
  const { artifactRoot, workRoot, modelRoots, trainers } = parsed.data;
  return {
    ...parsed.data,
    artifactRoot: at(artifactRoot),
    workRoot: at(workRoot),
    modelRoots: modelRoots.map(at),
    trainers: Object.fromEntries(
      Object.entries(trainers).map(([name, trainer]) => [
        name,
        trainer.accelerateConfig ? { ...trainer, accelerateConfig: at(trainer.accelerateConfig) } : trainer,
      ]),
    ),
  };
}

/** What workflow code must know of the deployment: it travels in a run's input. */
export function workflowConfigOf(deployment: Deployment, searchAttributes: boolean): WorkflowConfig {
  const { taskQueue, singleTaskQueue, heartbeatSeconds, shardsInFlight, maxAttempts, versioning } = deployment;
  return {
    cpuQueue: singleTaskQueue ? taskQueue : `${taskQueue}-cpu`,
    gpuQueue: singleTaskQueue ? taskQueue : `${taskQueue}-gpu`,
    hostQueues: true,
    heartbeatSeconds,
    shardsInFlight,
    maxAttempts,
    searchAttributes,
    upgrades: versioning?.runs === 'auto-upgrade',
  };
}
