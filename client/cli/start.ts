/**
 * Commands that start a run: start, sample. All checks come before the connection to Temporal, so that wrong input is
 * reported first and nothing is started.
 */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import type { z } from 'zod';
import { RunSpec, SampleSpec } from '../../contracts/spec.js';
import { loadSpec } from '../spec-file.js';
import { action, beforeStart, checkId, collect, EXIT, pairs, patiently } from './context.js';
import { exitOf, follow, printResult } from './follow.js';
import { fileWriter } from './samples-file.js';

const CHECKING = 'Checking and storing the data ...';
const CHECKING_MS = 10_000;

interface StartOptions {
  id?: string;
  watch?: boolean;
  data?: string;
  catalysts?: string;
  evaluation?: string;
  model?: string;
  set?: string[];
}

export function addStartCommands(program: Command): void {
  program
    .command('start')
    .description('check a run spec and its data, and start the run')
    .argument('<spec>', 'YAML or JSON file; paths in it are relative to it')
    .option('--id <id>', "the run's id (default: the spec's name and the time)")
    .option('--watch', 'follow the run until it ends or parks')
    .option('--data <file>', 'instead of data.path')
    .option('--catalysts <file>', 'instead of catalysts.path')
    .option('--evaluation <file>', 'instead of evaluation.path')
    .option('--model <folder>', 'instead of model.path')
    .option('--set <field=value>', 'set a field of the spec, such as sampling.k=8; may be repeated', collect)
    .action(
      action(async (context, specFile: string, options: StartOptions) => {
        const { runId, warnings, client } = await beforeStart(async () => {
          const id = checkId(options.id);
          const spec = await readSpec(specFile, RunSpec, options);
          const { checkRun } = await preflight();
          const checking = checkRun(spec, await context.deployment(), process.cwd(), id);
          const checked = await patiently(context, CHECKING, checking, CHECKING_MS);
          for (const warning of checked.warnings) context.say(`warning: ${warning}`);
          const client = await context.connect();
          return { runId: await client.startChecked(checked), warnings: checked.warnings, client };
        });
        context.print({ runId, warnings }, [runId]);
        if (!options.watch) {
          context.say(started(runId));
          return EXIT.done;
        }
        const status = await follow(context, client, runId);
        await printResult(context, client, status);
        return exitOf(status);
      }),
    );

  program
    .command('sample')
    .description('sample a data set from any engine, durably')
    .argument('<spec>', 'YAML or JSON file; paths in it are relative to it')
    .option('--id <id>', "the run's id (default: the spec's name and the time)")
    .option('--watch', 'follow the run until it ends or parks')
    .option('--data <file>', 'instead of data.path')
    .option('--model <folder>', 'instead of model.path')
    .option('--set <field=value>', 'set a field of the spec; may be repeated', collect)
    .option('--out <file.jsonl>', 'wait, then write one line a prompt: {id, instruction, texts}')
    .action(
      action(async (context, specFile: string, options: StartOptions & { out?: string }) => {
        const { out, watch } = options;
        const { runId, client, write } = await beforeStart(async () => {
          const id = checkId(options.id);
          const spec = await readSpec(specFile, SampleSpec, options);
          const write = out === undefined ? null : await fileWriter(out);
          const { checkSample } = await preflight();
          const checking = checkSample(spec, await context.deployment(), process.cwd(), id);
          const checked = await patiently(context, CHECKING, checking, CHECKING_MS);
          const client = await context.connect();
          return { runId: await client.startChecked(checked), client, write };
        });
        if (!out || !context.json) context.print({ runId }, [runId]);
        if (!out && !watch) {
          context.say(started(runId));
          return EXIT.done;
        }
        // With --out and --json the one document comes at the end, unless --watch asks for a line a status.
        const status = await follow(context, client, runId, context.json && watch === true);
        const rows =
          write && status.state === 'done' ? await write(client.store, await client.sampleResult(runId)) : null;
        if (rows !== null) context.say(`${out}: ${rows} rows`);
        else if (out) context.say(notWritten(out, options.id));
        if (out && context.json)
          context.document({ runId, state: status.state, out: rows === null ? null : out, rows });
        return exitOf(status);
      }),
    );
}

/** Loaded once the spec is read: a wrong spec is reported four times as fast without Temporal's packages. */
const preflight = () => import('../preflight.js');

const started = (runId: string) => `Started. Follow it with:  srlm watch ${runId}`;

function notWritten(out: string, id: string | undefined): string {
  const again = id === undefined ? 'the same command' : 'the same command with another --id';
  return `${out} is not written. When the run is done, ${again} writes it; nothing is sampled twice.`;
}

/** The spec, its paths relative to the current folder, so that a message names a file as a shell would. */
async function readSpec<T extends RunSpec | SampleSpec>(
  file: string,
  schema: z.ZodType<T>,
  options: StartOptions,
): Promise<T> {
  const here = process.cwd();
  const base = dirname(resolve(file));
  const inSpec = (path: string) => (isAbsolute(path) ? path : relative(base, resolve(here, path)) || '.');
  const overrides = pairs('--set', options.set);
  for (const name of ['data', 'catalysts', 'evaluation', 'model'] as const) {
    const given = options[name];
    if (given === undefined) continue;
    // A model may also be named by its path below a model root.
    const path = name === 'model' && !existsSync(given) ? given : inSpec(given);
    overrides[`${name}.path`] = JSON.stringify(path);
  }
  const spec = await loadSpec(file, schema, overrides);
  const fromHere = (path: string) => (isAbsolute(path) ? path : relative(here, resolve(base, path)));
  spec.data.path = fromHere(spec.data.path);
  if ('catalysts' in spec && spec.catalysts !== 'none') spec.catalysts.path = fromHere(spec.catalysts.path);
  if ('evaluation' in spec && spec.evaluation !== 'none') spec.evaluation.path = fromHere(spec.evaluation.path);
  // The worker's current folder is another one.
  if (spec.model && existsSync(resolve(base, spec.model.path))) spec.model.path = resolve(base, spec.model.path);
  return spec;
}
