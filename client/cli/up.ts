/** Commands that run the work: up (Temporal and a worker with all roles, on this machine) and worker. */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { connectionOptions } from '../../config/connection.js';
import { onlyOne } from '../../processes/only-one.js';
import { checkPython, pythonPath } from '../../processes/python.js';
import { writeWhole } from '../../storage/files.js';
import { openStore } from '../../storage/store.js';
import { type Embedded, startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { ROLES, type Role, startWorkers } from '../../worker/workers.js';
import { action, beforeStart, type Context, EXIT, type Exit, number, STOP_SIGNALS } from './context.js';

export function addWorkerCommands(program: Command): void {
  program
    .command('up')
    .description('start Temporal and a worker on this machine; Ctrl-C stops both')
    .option('--port <port>', "Temporal's port", number('--port', 1, 65535), 7233)
    .option('--ui-port <port>', "port of Temporal's UI", number('--ui-port', 1, 65535), 8233)
    .action(action(up));

  program
    .command('worker')
    .description('a worker for the Temporal of your environment (TEMPORAL_ADDRESS, profiles, TLS, API key)')
    .addOption(new Option('--role <role>', 'the work it takes').choices([...ROLES]).default('all'))
    .action(
      action(async (context, options: { role: Role }) => {
        const deployment = await context.deployment();
        const signals = listen(
          context,
          'Stopping, once the current chunks are done or after 25 seconds ... (again: at once)',
        );
        const workers = await startWorkers(deployment, options.role);
        const { address, namespace } = connectionOptions();
        const { versioning = null } = deployment;
        context.print({ address, namespace, role: options.role, pid: process.pid, version: versioning }, [
          `Worker     role ${options.role} at ${address}, namespace ${namespace}, artifacts in ${deployment.artifactRoot}`,
          ...(versioning ? [`Version    ${versioning.buildId} of ${versioning.deploymentName}`] : []),
        ]);
        if (versioning && (options.role === 'all' || options.role === 'workflow')) {
          const { deploymentName, buildId } = versioning;
          context.say(
            `New runs are sent to it once it is current:  temporal worker deployment set-current-version --deployment-name ${deploymentName} --build-id ${buildId}`,
          );
        }
        context.say('Ctrl-C stops it; its work continues with the next worker.');
        return untilStopped(context, signals, [workers]);
      }),
    );
}

/** Temporal's server is here: a heartbeat costs nothing, and whoever stops `up` waits for it. */
const ON_ONE_MACHINE = {
  shutdownGraceTime: '2 seconds',
  // The progress that `watch` shows is as old as this.
  maxHeartbeatThrottleInterval: '2 seconds',
  defaultHeartbeatThrottleInterval: '2 seconds',
} as const;

async function up(context: Context, options: { port: number; uiPort: number }): Promise<Exit> {
  const signals = listen(context, 'Stopping ... (again: at once)');
  const parts: Part[] = [];
  let release = async () => {};
  try {
    const deployment = await context.deployment();
    const folder = join(deployment.workRoot, 'temporal');
    const { embedded, version } = await beforeStart(async () => {
      openStore(deployment);
      const version = await checkPython(pythonPath(deployment));
      const temporal = temporalBinary(deployment);
      release = await onlyOne(folder, deployment.host);
      context.say('Starting Temporal ...');
      return { embedded: await startEmbedded({ folder, ...options, temporal }), version };
    });
    parts.push(embedded);
    await useEmbedded(embedded, folder);
    // There is one worker here, which takes every run: a run that is pinned to a version would wait for another.
    const workers = await startWorkers({ ...deployment, versioning: undefined }, 'all', ON_ONE_MACHINE);
    // Once a laptop is done, the memory of its model servers is freed.
    parts.push({ ended: workers.ended, stop: () => workers.stop().finally(() => workers.stopServers()) });
    const { address, uiUrl } = embedded;
    context.print({ address, uiUrl, pid: process.pid, python: version, folder }, [
      `Temporal   ${address}, database in ${folder}`,
      `UI         ${uiUrl}`,
      `Worker     all roles, Python ${version}, artifacts in ${deployment.artifactRoot}`,
    ]);
    const prefix = options.port === 7233 ? '' : `TEMPORAL_ADDRESS=${address} `;
    context.say(`Next, in another terminal:  ${prefix}srlm start SPEC --watch`);
    context.say('Ctrl-C stops it; runs continue where they were with the next `srlm up`.');
    return await untilStopped(context, signals, parts);
  } finally {
    await stopAll(parts);
    await release();
  }
}

interface Part {
  ended: Promise<void>;
  stop(): Promise<void>;
}

/** `first` resolves with the first signal, also with one during the start. The second ends the process. */
function listen(context: Context, stopping: string): { came: () => boolean; first: Promise<void> } {
  let count = 0;
  let resolveFirst: () => void = () => {};
  const first = new Promise<void>((resolve) => {
    resolveFirst = resolve;
  });
  const onSignal = () => {
    if (++count > 1) {
      context.say(
        'Ended at once. What was still running (Temporal, model servers, a trainer) is taken over by the next `srlm up`.',
      );
      process.exit(EXIT.interrupted);
    }
    context.say(stopping);
    resolveFirst();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return { came: () => count > 0, first };
}

/** Until a signal comes, or a part ends by itself, which stops the others. Throws the error of that part. */
async function untilStopped(context: Context, signals: ReturnType<typeof listen>, parts: Part[]): Promise<Exit> {
  try {
    await Promise.race([signals.first, ...parts.map(({ ended }) => ended)]);
  } finally {
    await stopAll(parts);
  }
  // Temporal's own handler of the signal may have stopped the worker before ours was called.
  await new Promise((resolve) => setImmediate(resolve));
  context.say('Stopped.');
  return signals.came() ? EXIT.done : EXIT.failed;
}

/** The worker before the server it talks to. */
async function stopAll(parts: Part[]): Promise<void> {
  for (let part = parts.pop(); part; part = parts.pop()) await part.stop().catch(() => {});
}

/**
 * Removes TEMPORAL_* from the environment of this process, which could name another address or ask for TLS or a key
 * that the embedded server does not have.
 */
async function useEmbedded({ address }: Embedded, folder: string): Promise<void> {
  const file = join(folder, 'temporal.toml');
  await writeWhole(file, `[profile.default]\naddress = "${address}"\nnamespace = "default"\n`, folder);
  for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name];
  process.env.TEMPORAL_ADDRESS = address;
  process.env.TEMPORAL_CONFIG_FILE = file;
}
