/** Commands that do the work: up (Temporal and a worker with all roles, on this machine) and worker. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { Problem } from '../../contracts/errors.js';
import { commandLine, isRunning } from '../../engine/processes.js';
import { checkPython, pythonPath } from '../../engine/python-environment.js';
import { ArtifactStore } from '../../storage/store.js';
import { startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { ROLES, type Role, startWorkers } from '../../worker/workers.js';
import { connectionOptions } from '../connection.js';
import { action, type Context, EXIT, type Exit, whole } from './context.js';

export function addWorkerCommands(program: Command): void {
  program
    .command('up')
    .description('all that a laptop needs: Temporal on a file, and a worker with all roles; Ctrl-C stops both')
    .option('--port <port>', "Temporal's port", whole('--port', 1, 65535), 7233)
    .option('--ui-port <port>', "port of Temporal's UI", whole('--ui-port', 1, 65535), 8233)
    .action(
      action(async (context, options: { port: number; uiPort: number }) => {
        const deployment = await context.deployment();
        ArtifactStore.open(deployment.artifactRoot);
        const version = await checkPython(pythonPath(deployment));
        const temporal = temporalBinary(deployment);
        const folder = join(deployment.workRoot, 'temporal');
        const release = await onlyOne(folder);
        const signals = listen(context);
        const parts: Part[] = [];
        try {
          context.say('Starting Temporal ...');
          const embedded = await startEmbedded({ folder, ...options, temporal });
          parts.push(embedded);
          await useEmbedded(embedded.address, folder);
          // The one worker there is here takes every run: one that stays with its version would wait for a worker of it.
          const workers = await startWorkers({ ...deployment, versioning: undefined }, 'all');
          // A laptop that is done with it gets the model server's memory back.
          parts.push({ ended: workers.ended, stop: () => workers.stop().finally(() => workers.stopServers()) });
          const { address, uiUrl } = embedded;
          const prefix = options.port === 7233 ? '' : `TEMPORAL_ADDRESS=${address} `;
          context.print({ address, uiUrl, pid: process.pid, python: version, folder }, [
            `Temporal   ${address}, database in ${folder}`,
            `UI         ${uiUrl}`,
            `Worker     all roles, Python ${version}, artifacts in ${deployment.artifactRoot}`,
          ]);
          context.say(`Next, in another terminal:  ${prefix}srlm start SPEC --watch`);
          context.say('Ctrl-C stops it; runs go on from where they were with the next `srlm up`.');
          return await untilStopped(context, signals, parts);
        } finally {
          await stopAll(parts);
          await release();
        }
      }),
    );

  program
    .command('worker')
    .description('a worker for the Temporal of your environment (TEMPORAL_ADDRESS, profiles, TLS, API key)')
    .addOption(new Option('--role <role>', 'which work it takes').choices([...ROLES]).default('all'))
    .action(
      action(async (context, options: { role: Role }) => {
        const deployment = await context.deployment();
        const signals = listen(context);
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
            `New runs come to it once it is current:  temporal worker deployment set-current-version --deployment-name ${deploymentName} --build-id ${buildId}`,
          );
        }
        context.say('Ctrl-C stops it; its work goes on with the next worker.');
        return untilStopped(context, signals, [workers]);
      }),
    );
}

interface Part {
  ended: Promise<void>;
  stop(): Promise<void>;
}

/** Resolves with the first SIGINT or SIGTERM, also one that comes before all has started; the second ends at once. */
function listen(context: Context): { came: () => boolean; first: Promise<void> } {
  let count = 0;
  let resolveFirst: () => void = () => {};
  const first = new Promise<void>((resolve) => {
    resolveFirst = resolve;
  });
  const onSignal = () => {
    if (++count > 1) process.exit(EXIT.interrupted);
    context.say('Stopping ... (once more: at once)');
    resolveFirst();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return { came: () => count > 0, first };
}

/** Until a signal comes, or a part ends by itself, which ends the others. Throws what ended it. */
async function untilStopped(context: Context, signals: ReturnType<typeof listen>, parts: Part[]): Promise<Exit> {
  try {
    await Promise.race([signals.first, ...parts.map(({ ended }) => ended)]);
  } finally {
    await stopAll(parts);
  }
  // Temporal's own handler of the signal may have ended the worker before ours was called.
  await new Promise((resolve) => setImmediate(resolve));
  context.say('Stopped.');
  return signals.came() ? EXIT.done : EXIT.failed;
}

/** The worker before the server it talks to. */
async function stopAll(parts: Part[]): Promise<void> {
  for (let part = parts.pop(); part; part = parts.pop()) await part.stop().catch(() => {});
}

/** Nothing of the user's environment may lead elsewhere, or ask for TLS or a key that the embedded server has not. */
async function useEmbedded(address: string, folder: string): Promise<void> {
  const file = join(folder, 'temporal.toml');
  await writeFile(file, `[profile.default]\naddress = "${address}"\nnamespace = "default"\n`);
  for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name];
  process.env.TEMPORAL_ADDRESS = address;
  process.env.TEMPORAL_CONFIG_FILE = file;
}

/** Two of them would share a GPU and stop each other's server. */
async function onlyOne(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'up.json');
  const held = await readFile(file, 'utf8')
    .then(JSON.parse)
    .catch(() => null);
  if (held && held.pid !== process.pid && (await isRunning(held.pid, held.mark))) {
    throw new Problem({
      type: 'up.running',
      retry: false,
      says: `\`srlm up\` already runs here (process ${held.pid}).`,
      next: 'Stop that one first, or give this one a config with a workRoot of its own.',
    });
  }
  await writeFile(file, JSON.stringify({ pid: process.pid, mark: await commandLine(process.pid) }));
  return () => rm(file, { force: true });
}
