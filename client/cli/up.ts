/** Commands that do the work: up (Temporal and a worker with all roles, on this machine) and worker. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { Problem } from '../../contracts/errors.js';
import { isRunning } from '../../engine/processes.js';
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
        context.say('Starting Temporal ...');
        const embedded = await startEmbedded({ folder, ...options, temporal });
        const release = await onlyOne(folder);
        await useEmbedded(embedded.address, folder);
        const workers = await startWorkers(deployment, 'all').catch(async (error) => {
          await embedded.stop();
          throw error;
        });
        const { address, uiUrl } = embedded;
        const prefix = options.port === 7233 ? '' : `TEMPORAL_ADDRESS=${address} `;
        context.print({ address, uiUrl, pid: process.pid, python: version, folder }, [
          `Temporal   ${address}, database in ${folder}`,
          `UI         ${uiUrl}`,
          `Worker     all roles, Python ${version}, artifacts in ${deployment.artifactRoot}`,
        ]);
        context.say(`Next, in another terminal:  ${prefix}srlm start SPEC --watch`);
        context.say('Ctrl-C stops it; runs go on from where they were with the next `srlm up`.');
        const exit = await untilStopped(context, [workers.ended, embedded.ended], async () => {
          await workers.stop();
          await embedded.stop();
        });
        await release();
        return exit;
      }),
    );

  program
    .command('worker')
    .description('a worker for the Temporal of your environment (TEMPORAL_ADDRESS, profiles, TLS, API key)')
    .addOption(new Option('--role <role>', 'which work it takes').choices([...ROLES]).default('all'))
    .action(
      action(async (context, options: { role: Role }) => {
        const deployment = await context.deployment();
        const workers = await startWorkers(deployment, options.role);
        const { address, namespace } = connectionOptions();
        context.print({ address, namespace, role: options.role, pid: process.pid }, [
          `Worker     role ${options.role} at ${address}, namespace ${namespace}, artifacts in ${deployment.artifactRoot}`,
        ]);
        context.say('Ctrl-C stops it; its work goes on with the next worker.');
        return untilStopped(context, [workers.ended], () => workers.stop());
      }),
    );
}

/** The first signal stops cleanly, the second ends at once. A part that ends by itself stops the others, and is told. */
async function untilStopped(context: Context, parts: Promise<void>[], stop: () => Promise<void>): Promise<Exit> {
  let signalled: () => void = () => {};
  const signal = new Promise<'signal'>((resolve) => {
    signalled = () => resolve('signal');
  });
  let signals = 0;
  const onSignal = () => {
    if (++signals > 1) process.exit(EXIT.interrupted);
    context.say('Stopping ... (once more: at once)');
    signalled();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    const ends = parts.map((part) => part.then(() => 'ended' as const));
    const first = await Promise.race([signal, ...ends]).catch(async (error) => {
      await stop().catch(() => {});
      throw error;
    });
    // Temporal's own handler of the signal may have stopped the worker before ours was called.
    await stop();
    if (first === 'ended' && signals === 0) await new Promise((resolve) => setImmediate(resolve));
    context.say('Stopped.');
    return first === 'signal' || signals > 0 ? EXIT.done : EXIT.failed;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
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
  const file = join(folder, 'up.json');
  const mark = process.argv[1] ?? 'srlm';
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
  await writeFile(file, JSON.stringify({ pid: process.pid, mark }));
  return () => rm(file, { force: true });
}
