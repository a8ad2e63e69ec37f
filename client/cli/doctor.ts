/**
 * srlm doctor: checks everything that a run needs, and says what to do about what is missing. Starts nothing and changes
 * nothing, except with --fix, which makes the Python environment and adds search attributes to the namespace. Exit code 1
 * when there is a problem.
 */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Client, Connection } from '@temporalio/client';
import type { Command } from 'commander';
import { connect, connectionOptions, DEFAULT_ADDRESS } from '../../config/connection.js';
import { addSearchAttributes, missingSearchAttributes } from '../../config/search-attributes.js';
import { type Deployment, SEARCH_ATTRIBUTES } from '../../contracts/deployment.js';
import { Problem } from '../../contracts/errors.js';
import { codeFailureText } from '../../contracts/run.js';
import { EngineHost } from '../../engines/index.js';
import { checkPython, packageRoot, pythonPath, runPython, setUpPython } from '../../processes/python.js';
import { openStore, readableStore } from '../../storage/store.js';
import { pad } from '../../text/columns.js';
import { printable } from '../../text/text.js';
import { temporalBinary } from '../../worker/embedded.js';
import { queuesOf, unpolledQueuesOf } from '../diagnosis.js';
import { otherConfigs } from '../other-config.js';
import { RunReader } from '../status.js';
import { action, EXIT } from './context.js';
import { unpolledText } from './tree.js';

interface Check {
  what: string;
  ok: boolean;
  found: string;
  /** What to do about a problem; else null. */
  hint: string | null;
}

/** Below this a run of the smallest useful model would soon stop. */
const FREE_BYTES = 5e9;

const ok = (what: string, found: string): Check => ({ what, ok: true, found, hint: null });
const problem = (what: string, found: string, hint: string): Check => ({ what, ok: false, found, hint });

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check Node, Python, the engine, the GPU, Temporal and the disk')
    .option('--fix', 'make the Python environment .srlm/python in the current folder; add search attributes')
    .action(
      action(async (context, options: { fix?: boolean }) => {
        const deployment = await context.deployment();
        const named = deployment.python ?? process.env.SRLM_PYTHON;
        if (options.fix && named) context.say(`--fix leaves ${named} alone: you named it yourself.`);
        else if (options.fix) await setUpPython(resolve('.srlm/python'), (line) => context.say(line));
        const checks: Check[] = [];
        const add = (check: Check) => {
          checks.push(check);
          if (context.json) return;
          const line = `${check.ok ? 'ok      ' : 'problem '} ${pad(check.what, 18)} ${check.found}`;
          context.print(null, check.hint ? [line, `         ${pad('', 18)} ${check.hint}`] : [line]);
        };
        add(ok('Node', process.versions.node));
        for (const check of await checkPrograms(deployment)) add(check);
        for (const check of await checkEngines(deployment)) add(check);
        for (const check of await checkTemporal(deployment, options.fix)) add(check);
        add(await checkDisk(deployment));
        const healthy = checks.every((check) => check.ok);
        if (context.json) context.print({ ok: healthy, checks }, []);
        return healthy ? EXIT.done : EXIT.failed;
      }),
    );
}

/** Python, its packages, the two programs, and what hardware torch sees. */
async function checkPrograms(deployment: Deployment): Promise<Check[]> {
  if (!Object.values(deployment.engines).some(({ kind }) => kind === 'builtin'))
    return [ok('Python', 'is not needed: no engine of temporal.config.ts loads weights')];
  const python = pythonPath(deployment);
  const checks: Check[] = [];
  try {
    checks.push(ok('Python', `${await checkPython(python)} (${python})`));
  } catch (error) {
    return [ofError('Python', error)];
  }
  const folder = join(packageRoot, 'python');
  const probe = `
import json, os, sys
os.environ['SRLM_ENGINE_TOKEN'] = 'x' * 48  # without one the server's program ends
sys.path.insert(0, ${JSON.stringify(folder)})
import torch, transformers, server, trainer
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "gpus": gpus, "threads": torch.get_num_threads()}))`;
  try {
    const stdout = await runPython(python, probe);
    const seen = JSON.parse(stdout.trim().split('\n').at(-1)!) as {
      torch: string;
      transformers: string;
      gpus: string[];
      threads: number;
    };
    checks.push(ok('engine', `torch ${seen.torch}, transformers ${seen.transformers}`));
    const machines = [...Object.values(deployment.engines), ...Object.values(deployment.trainers)];
    const wantsGpu = machines.some((one) => 'device' in one && one.device === 'cuda');
    const hint = 'Install a torch build for your GPU driver, or set device: auto in temporal.config.ts.';
    if (seen.gpus.length > 0) checks.push(ok('GPU', seen.gpus.join(', ')));
    else if (wantsGpu) checks.push(problem('GPU', 'none seen by torch', hint));
    else checks.push(ok('GPU', `none seen by torch; the engine runs on the CPU (${seen.threads} threads)`));
  } catch (error) {
    const stderr = String((error as { stderr?: string }).stderr ?? error);
    const found = `it cannot be imported: ${printable(stderr.trim().split('\n').at(-1) ?? '')}`;
    checks.push(problem('engine', found, 'Make the environment again: `srlm doctor --fix`.'));
  }
  return checks;
}

/** What engines of temporal.config.ts say of themselves, and what endpoints take of a request: a few tokens each. */
async function checkEngines(deployment: Deployment): Promise<Check[]> {
  const engines = new EngineHost(deployment, null);
  const checks = await Promise.all(
    engines.names.map(async (name): Promise<Check[]> => {
      const engine = engines.engine(name);
      const found = await engine.check();
      if (!found) return [];
      const checks = [{ what: `engine ${name}`, ok: found.ok, found: found.text, hint: found.hint || null }];
      const trial = found.ok ? await engine.tryOut() : null;
      if (trial?.ok) checks.push(ok(`engine ${name}`, trial.text));
      else if (trial) checks.push(problem(`engine ${name}`, printable(trial.text), trial.hint));
      return checks;
    }),
  );
  return checks.flat();
}

async function checkTemporal(deployment: Deployment, fix = false): Promise<Check[]> {
  const checks: Check[] = [];
  try {
    const client = await connect(deployment);
    try {
      const { address, namespace } = connectionOptions();
      const { workflowService } = client.connection as Connection;
      const { serverVersion } = await workflowService.getSystemInfo({});
      await workflowService.describeNamespace({ namespace });
      checks.push(ok('Temporal', `${serverVersion || 'unknown version'} at ${address}, namespace ${namespace}`));
      checks.push(await checkAttributes(client, deployment.searchAttributes, fix));
      checks.push(...(await checkRuns(client, deployment)));
    } finally {
      await client.connection.close();
    }
  } catch (error) {
    const { address } = connectionOptions();
    // Without an address of the user's own, `srlm up` starts one, which is the next command.
    const isNext = address === DEFAULT_ADDRESS && (error as Problem).type === 'temporal.unreachable';
    if (!isNext) return [...checks, ofError('Temporal', error)];
    checks.push(checkTemporalProgram(deployment), ok('Temporal', `none at ${address} yet; \`srlm up\` starts it`));
  }
  return checks;
}

/** What `srlm up` starts. */
function checkTemporalProgram(deployment: Deployment): Check {
  try {
    return ok('temporal program', temporalBinary(deployment));
  } catch (error) {
    return ofError('temporal program', error);
  }
}

/** Runs whose workflow code fails, and queues that nobody polls. */
async function checkRuns(client: Client, deployment: Deployment): Promise<Check[]> {
  try {
    const runs = await new RunReader(client, deployment, () => readableStore(deployment)).list();
    const checks = runs.flatMap(({ runId, codeFailure }) => {
      if (!codeFailure) return [];
      const hint = 'Deploy the fixed code, and the run continues; docs/operating.md says how.';
      return [problem(`run ${runId}`, codeFailureText(codeFailure), hint)];
    });
    for (const found of await otherConfigs(client, deployment))
      checks.push(problem('config', found, 'A worker reads its temporal.config when it starts.'));
    const what = 'workers';
    const unpolled = await unpolledQueuesOf(client, deployment);
    const text = unpolledText(unpolled);
    const running = runs.filter(({ endedAt }) => endedAt === null).length;
    const names = (queues: string[]) => [...new Set(queues)].join(', ');
    if (unpolled.length === 0) checks.push(ok(what, `poll ${names(queuesOf(deployment).map(({ name }) => name))}`));
    else if (running === 0) checks.push(ok(what, `nobody polls ${names(unpolled.map(({ queue }) => queue))} yet`));
    else checks.push(problem(what, text, `${running} run${running === 1 ? ' needs' : 's need'} them.`));
    return checks;
  } catch (error) {
    return [ofError('runs', error)];
  }
}

export async function checkAttributes(
  client: Client,
  wanted: Deployment['searchAttributes'],
  fix: boolean,
): Promise<Check> {
  const what = 'search attributes';
  if (wanted === 'off') return ok(what, 'runs set none (searchAttributes in temporal.config.ts is off)');
  try {
    const missing = await missingSearchAttributes(client);
    if (missing.length === 0) return ok(what, Object.keys(SEARCH_ATTRIBUTES).join(', '));
    if (fix) return await addAttributes(client, missing);
    const found = `the namespace has no ${missing.join(', ')}`;
    const hint = 'Add them: `srlm doctor --fix`.';
    return wanted === 'on' ? problem(what, found, hint) : ok(what, `${found}; runs do without. ${hint}`);
  } catch (error) {
    const without = wanted === 'on' ? 'runs set them all the same' : 'runs do without';
    return ok(what, `cannot be listed here (${reasonOf(error)}); ${without}`);
  }
}

async function addAttributes(client: Client, names: readonly string[]): Promise<Check> {
  const what = 'search attributes';
  try {
    await addSearchAttributes(client, names);
    return ok(what, `added ${names.join(', ')}; runs that start from now on set them`);
  } catch (error) {
    const hint = 'Ask who administers the namespace, or set searchAttributes to off in temporal.config.ts.';
    return problem(what, `${names.join(', ')} cannot be added (${reasonOf(error)})`, hint);
  }
}

async function checkDisk(deployment: Deployment): Promise<Check> {
  const { artifactRoot } = deployment;
  // doctor makes no folders, so a store that does not exist yet is not opened.
  let place = artifactRoot;
  while (!existsSync(place)) place = dirname(place);
  try {
    if (place === artifactRoot) openStore(deployment);
    const { bavail, bsize } = await statfs(place);
    const free = `${((bavail * bsize) / 1e9).toFixed(1)} GB free at ${artifactRoot}`;
    if (bavail * bsize >= FREE_BYTES) return ok('disk', free);
    return problem('disk', free, 'Free some space, or set artifactRoot in temporal.config.ts to a larger disk.');
  } catch (error) {
    return ofError('disk', error);
  }
}

function ofError(what: string, error: unknown): Check {
  if (error instanceof Problem) return problem(what, printable(error.reason), error.hint);
  return problem(what, reasonOf(error), 'See the message.');
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string; message?: string }; message?: string };
  return printable(cause?.code ?? cause?.message ?? message ?? String(error)).slice(0, 200);
}
