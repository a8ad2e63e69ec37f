/**
 * Loads the deployment: temporal.config.ts of the current folder, or the file that --config names, checked, its paths
 * made absolute. Without a file the defaults are used, below the current folder. Throws config.invalid.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { createJiti } from 'jiti';
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
    config = path.endsWith('.json')
      ? JSON.parse(await readFile(path, 'utf8'))
      : await createJiti(__filename).import(path, { default: true });
  } catch (error) {
    throw configInvalid(
      path,
      `it cannot be loaded (${String((error as Error | null)?.message ?? error).split('\n')[0]}).`,
    );
  }
  return resolveDeployment(config as DeploymentInput, dirname(path), path);
}

export function resolveDeployment(config: DeploymentInput, folder: string, file = 'temporal.config.ts'): Deployment {
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
