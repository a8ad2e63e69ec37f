/**
 * srlm doctor: is everything there that a run needs, and what to do where it is not. Starts nothing and changes
 * nothing, unless --fix: then it makes the Python environment. Exit code 1 when there is a problem.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Connection } from '@temporalio/client';
import type { Command } from 'commander';
import type { Deployment } from '../../contracts/deployment.js';
import { Problem } from '../../contracts/errors.js';
import { checkPython, packageRoot, pythonPath, setUpPython } from '../../engine/python-environment.js';
import { ArtifactStore } from '../../storage/store.js';
import { temporalBinary } from '../../worker/embedded.js';
import { connect, connectionOptions, DEFAULT_ADDRESS } from '../connection.js';
import { action, EXIT } from './context.js';
import { pad, printable } from './text.js';

interface Check {
  what: string;
  ok: boolean;
  says: string;
  /** What to do; null where all is well. */
  next: string | null;
}

/** Below this a run of the smallest useful model would soon stop. */
const FREE_BYTES = 5e9;
const ATTRIBUTES = ['SrlmState', 'SrlmStep', 'SrlmRound', 'SrlmScore'];

const ok = (what: string, says: string): Check => ({ what, ok: true, says, next: null });
const problem = (what: string, says: string, next: string): Check => ({ what, ok: false, says, next });

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check Node, Python, the engine, the GPU, Temporal and the disk')
    .option('--fix', 'make the Python environment .srlm/python in the current folder')
    .action(
      action(async (context, options: { fix?: boolean }) => {
        const deployment = await context.deployment();
        const named = deployment.python ?? process.env.SRLM_PYTHON;
        if (options.fix && named) context.say(`--fix leaves ${named} alone, as it is named by you.`);
        else if (options.fix) await setUpPython(resolve('.srlm/python'), (line) => context.say(line));
        const checks: Check[] = [];
        const told = (check: Check) => {
          checks.push(check);
          if (context.json) return;
          const line = `${check.ok ? 'ok      ' : 'problem '} ${pad(check.what, 18)} ${check.says}`;
          context.print(null, check.next ? [line, `         ${pad('', 18)} ${check.next}`] : [line]);
        };
        told(checkNode());
        for (const check of await checkEngine(deployment)) told(check);
        for (const check of await checkHosted(deployment)) told(check);
        for (const check of await checkTemporal(deployment)) told(check);
        told(await checkDisk(deployment));
        const healthy = checks.every((check) => check.ok);
        if (context.json) context.document({ ok: healthy, checks });
        return healthy ? EXIT.done : EXIT.failed;
      }),
    );
}

function checkNode(): Check {
  const { node } = process.versions;
  if (Number(node.split('.')[0]) >= 20) return ok('Node', node);
  return problem('Node', `${node} is too old`, 'Install Node 20 or newer.');
}

/** Python, its packages, the two programs, and what hardware torch sees. */
async function checkEngine(deployment: Deployment): Promise<Check[]> {
  const python = pythonPath(deployment);
  const checks: Check[] = [];
  try {
    checks.push(ok('Python', `${await checkPython(python)} (${python})`));
  } catch (error) {
    return [ofError('Python', error)];
  }
  const folder = join(packageRoot, 'engine', 'python');
  const probe = `
import json, sys
sys.path.insert(0, ${JSON.stringify(folder)})
import torch, transformers, server, trainer
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "gpus": gpus, "threads": torch.get_num_threads()}))`;
  try {
    const { stdout } = await promisify(execFile)(python, ['-c', probe], { maxBuffer: 1 << 24 });
    const seen = JSON.parse(stdout.trim().split('\n').at(-1)!) as {
      torch: string;
      transformers: string;
      gpus: string[];
      threads: number;
    };
    checks.push(ok('engine', `torch ${seen.torch}, transformers ${seen.transformers}`));
    const wantsGpu = [...Object.values(deployment.engines), ...Object.values(deployment.trainers)].some(
      (one) => 'device' in one && one.device === 'cuda',
    );
    if (seen.gpus.length > 0) checks.push(ok('GPU', seen.gpus.join(', ')));
    else if (!wantsGpu)
      checks.push(ok('GPU', `none seen by torch; the engine runs on the CPU (${seen.threads} threads)`));
    else
      checks.push(
        problem(
          'GPU',
          'none seen by torch',
          'Install a torch build for your GPU driver, or set device: auto in temporal.config.ts.',
        ),
      );
  } catch (error) {
    const lines = String((error as { stderr?: string }).stderr ?? error)
      .trim()
      .split('\n');
    checks.push(
      problem(
        'engine',
        `it cannot be imported: ${printable(lines.at(-1) ?? '')}`,
        'Make the environment again: `srlm doctor --fix`.',
      ),
    );
  }
  return checks;
}

/** Endpoints of the config: the key is there, and somebody answers. Costs no tokens. */
async function checkHosted(deployment: Deployment): Promise<Check[]> {
  return Promise.all(
    Object.entries(deployment.engines).flatMap(([name, engine]): (Check | Promise<Check>)[] => {
      if (engine.kind !== 'openai') return [];
      const what = `engine ${name}`;
      const key = engine.apiKeyEnv ? process.env[engine.apiKeyEnv] : 'none';
      if (!key) return [problem(what, `${engine.apiKeyEnv} is not set`, 'Set it where the GPU worker runs.')];
      return [
        fetch(`${engine.baseUrl.replace(/\/$/, '')}/models`, {
          headers: { authorization: `Bearer ${key}` },
          signal: AbortSignal.timeout(10_000),
        }).then(
          ({ status }) =>
            status === 401 || status === 403
              ? problem(
                  what,
                  `${engine.baseUrl} refuses the key (${status})`,
                  `Set ${engine.apiKeyEnv ?? 'apiKeyEnv'} to a valid key.`,
                )
              : ok(what, `${engine.baseUrl} answers`),
          (error) =>
            problem(
              what,
              `${engine.baseUrl} does not answer (${reasonOf(error)})`,
              'Start it, or mend baseUrl in temporal.config.ts.',
            ),
        ),
      ];
    }),
  );
}

async function checkTemporal(deployment: Deployment): Promise<Check[]> {
  const checks: Check[] = [];
  try {
    checks.push(ok('temporal program', temporalBinary(deployment)));
  } catch (error) {
    if (!process.env.TEMPORAL_ADDRESS) checks.push(ofError('temporal program', error));
  }
  try {
    const client = await connect();
    try {
      const { address, namespace } = connectionOptions();
      const { workflowService, operatorService } = client.connection as Connection;
      const { serverVersion } = await workflowService.getSystemInfo({});
      await workflowService.describeNamespace({ namespace });
      checks.push(ok('Temporal', `${serverVersion || 'version not told'} at ${address}, namespace ${namespace}`));
      checks.push(await checkAttributes(operatorService, namespace));
    } finally {
      await client.connection.close();
    }
  } catch (error) {
    const { address } = connectionOptions();
    // Where nobody named another, `srlm up` brings it, as the next thing one does.
    const isNext = address === DEFAULT_ADDRESS && (error as Problem).type === 'temporal.unreachable';
    checks.push(isNext ? ok('Temporal', `none at ${address} yet; \`srlm up\` starts it`) : ofError('Temporal', error));
  }
  return checks;
}

async function checkAttributes(operator: Connection['operatorService'], namespace: string): Promise<Check> {
  const what = 'search attributes';
  try {
    const { customAttributes } = await operator.listSearchAttributes({ namespace });
    const missing = ATTRIBUTES.filter((name) => !(name in (customAttributes ?? {})));
    if (missing.length === 0) return ok(what, ATTRIBUTES.join(', '));
    return ok(what, `${missing.join(', ')} not there yet; the next start adds them where it may`);
  } catch (error) {
    return ok(what, `cannot be listed here (${reasonOf(error)}); runs go without them`);
  }
}

async function checkDisk(deployment: Deployment): Promise<Check> {
  const { artifactRoot } = deployment;
  // Opened only where it is: doctor makes no folders.
  let place = artifactRoot;
  while (!existsSync(place)) place = dirname(place);
  try {
    if (place === artifactRoot) ArtifactStore.open(artifactRoot);
    const { bavail, bsize } = await statfs(place);
    const free = `${((bavail * bsize) / 1e9).toFixed(1)} GB free at ${artifactRoot}`;
    if (bavail * bsize >= FREE_BYTES) return ok('disk', free);
    return problem('disk', free, 'Free some space, or set artifactRoot in temporal.config.ts to a larger disk.');
  } catch (error) {
    return ofError('disk', error);
  }
}

function ofError(what: string, error: unknown): Check {
  if (error instanceof Problem) return problem(what, printable(error.says), error.next);
  return problem(what, reasonOf(error), 'See the message.');
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string; message?: string }; message?: string };
  return printable(cause?.code ?? cause?.message ?? message ?? String(error)).slice(0, 200);
}
