/**
 * Commands that start a run: start, sample. All checks come before the connection to Temporal, so that wrong input is
 * reported first and nothing is started.
 */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import type { z } from 'zod';
import { countsText } from '../../contracts/counts.js';
import { Problem } from '../../contracts/errors.js';
import { Candidate, PromptRow } from '../../contracts/rows.js';
import type { RunInput, RunStatus, SampleInput, SampleResult } from '../../contracts/run.js';
import { RunSpec, SampleSpec } from '../../contracts/spec.js';
import { groupById } from '../../method/rows.js';
import type { Store } from '../../storage/store.js';
import { printable, visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import type { Checked } from '../preflight.js';
import { loadSpec } from '../spec-file.js';
import {
  action,
  beforeStart,
  type Context,
  checkId,
  collect,
  EXIT,
  exitOf,
  number,
  pairs,
  patiently,
} from './context.js';
import { follow, printResult } from './follow.js';
import { fileWriter } from './output-file.js';
import { unpolledText } from './tree.js';

const CHECKING = 'Checking and storing the data ...';
const CHECKING_MS = 10_000;

interface StartOptions {
  id?: string;
  watch?: boolean;
  priority?: number;
  data?: string;
  catalysts?: string;
  evaluation?: string;
  model?: string;
  set?: string[];
  out?: string;
  plain?: boolean;
}

const starting = (command: Command): Command =>
  command
    .argument('<spec>', 'YAML or JSON file; paths in it are relative to it')
    .option('--id <id>', "the run's id (default: the spec's name and the time)")
    .option('--watch', 'follow the run until it ends or parks')
    .option(
      '--priority <1-5>',
      'which run is served first where several wait: 1 is first',
      number('--priority', 1, 5),
      3,
    )
    .option('--data <file>', 'instead of data.path')
    .option('--model <folder>', 'instead of model.path')
    .option('--set <field=value>', 'set a field of the spec, such as sampling.k=8; may be repeated', collect);

export function addStartCommands(program: Command): void {
  starting(program.command('start').description('check a run spec and its data, and start the run'))
    .option('--catalysts <file>', 'instead of catalysts.path')
    .option('--evaluation <file>', 'instead of evaluation.path')
    .action(
      action(async (context, file: string, options: StartOptions) => {
        const { runId, warnings, client } = await beforeStart(async () => {
          const id = checkId(options.id);
          const spec = await readSpec(file, RunSpec, options);
          const { checkRun } = await preflight();
          return checkedStart(context, checkRun(spec, await context.deployment(), process.cwd(), id), options, [
            spec.rationalizeEngine,
            spec.selection.judge?.engine,
          ]);
        });
        context.print({ runId, warnings }, [runId]);
        if (!options.watch) return started(context, client, runId);
        const status = await follow(context, client, runId);
        await printResult(context, client, status);
        return exitOf(status);
      }),
    );

  starting(program.command('sample').description('sample a data set from any engine, durably'))
    .option('--out <file.jsonl>', 'wait, then write one line a text: {id, k, text, finish, tokens, seed, reason}')
    .option('--plain', 'with --out: one line a prompt, {id, instruction, texts}, where texts are strings')
    .action(
      action(async (context, file: string, options: StartOptions) => {
        const { out, watch, plain = false } = options;
        const { runId, client, write } = await beforeStart(async () => {
          const id = checkId(options.id);
          const spec = await readSpec(file, SampleSpec, options);
          const write = out === undefined ? null : await fileWriter(out);
          const { checkSample } = await preflight();
          const checking = checkSample(spec, await context.deployment(), process.cwd(), id);
          return { ...(await checkedStart(context, checking, options, [spec.engine])), write };
        });
        if (!out || !context.json) context.print({ runId }, [runId]);
        if (!out && !watch) return started(context, client, runId);
        // With --out and --json the one document comes at the end, unless --watch asks for a line a status.
        const hint = out === undefined ? '' : notWritten(out, options.id);
        const following = follow(context, client, runId, context.json && watch === true);
        const status = await following.catch((error) => {
          if (hint) context.say(hint);
          throw error;
        });
        const rows =
          write && status.state === 'done'
            ? await write(sampleLines(client.store, await client.sampleResult(runId), plain)).catch((error) => {
                throw error instanceof Problem ? error.adding(hint) : error;
              })
            : null;
        if (rows !== null) context.say(`${out}: ${rows} ${plain ? 'prompts' : 'lines'}${countedText(status)}`);
        else if (out) context.say(hint);
        if (out && context.json)
          context.print({ runId, state: status.state, out: rows === null ? null : out, rows }, []);
        return exitOf(status);
      }),
    );
}

/** Loaded once the spec is read: a wrong spec is reported four times as fast without Temporal's packages. */
const preflight = () => import('../preflight.js');

async function checkedStart(
  context: Context,
  checking: Promise<Checked<RunInput> | Checked<SampleInput>>,
  { priority }: StartOptions,
  engines: (string | undefined)[],
): Promise<{ runId: string; warnings: string[]; client: SrlmClient }> {
  const checked = await patiently(context, CHECKING, checking, CHECKING_MS);
  const { tryEngine } = await preflight();
  for (const engine of new Set(engines))
    checked.warnings.push(...(await tryEngine(engine, await context.deployment())));
  for (const warning of checked.warnings) context.say(`warning: ${warning}`);
  const client = await context.connect();
  const started = await client.startChecked(checked, { priority });
  for (const warning of started.warnings.slice(checked.warnings.length)) context.say(`warning: ${warning}`);
  return { ...started, client };
}

/** Whoever looks no more must know now that nothing will happen until a worker is there. */
export async function started(context: Context, client: SrlmClient, runId: string) {
  const { unpolledQueuesOf } = await import('../diagnosis.js');
  const unpolled = await unpolledQueuesOf(client.temporal, await context.deployment()).catch(() => []);
  if (unpolled.length > 0) context.say(`warning: The run waits: ${unpolledText(unpolled)}.`);
  context.say(`Started. Follow it with:  srlm watch ${runId}`);
  return EXIT.done;
}

/** `; 1,988 of 2,000 rows have texts; ...`, of the step that sampled. */
function countedText({ steps }: RunStatus): string {
  const { counts } = steps.findLast(({ step }) => step === 'sample') ?? { counts: null };
  return counts ? `; ${printable(countsText(counts))}` : '';
}

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
  const fromHere = (path: string) => (isAbsolute(path) ? path : relative(here, resolve(base, path)) || '.');
  spec.data.path = fromHere(spec.data.path);
  if ('catalysts' in spec && spec.catalysts !== 'none') spec.catalysts.path = fromHere(spec.catalysts.path);
  if ('evaluation' in spec && spec.evaluation !== 'none')
    for (const set of [spec.evaluation, ...Object.values(spec.evaluation.others)]) set.path = fromHere(set.path);
  // The worker's current folder is another one.
  if (spec.model && existsSync(resolve(base, spec.model.path))) spec.model.path = resolve(base, spec.model.path);
  return spec;
}

// --- the lines of --out -----------------------------------------------------------------------------------------------
/** A line a text, or with `plain` a line a prompt. */
export const sampleLines = (store: Store, result: SampleResult, plain = false): AsyncIterable<string> =>
  plain ? promptLines(store, result) : textLines(store, result);

/** One line a text, in the order of the prompts; of one that did not come, too, with the reason. */
async function* textLines({ datasets }: Store, { candidates }: SampleResult): AsyncGenerator<string> {
  for await (const { reason, ...text } of datasets.rows(candidates, Candidate))
    yield visibleJson({ ...text, ...(reason === null ? {} : { reason }) });
}

/** One line a prompt. Chunk n of the candidates holds those of chunk n of the prompts. */
async function* promptLines(
  { datasets, objects }: Store,
  { prompts, candidates }: SampleResult,
): AsyncGenerator<string> {
  const candidateChunks = await datasets.chunks(candidates);
  for (const [i, chunk] of (await datasets.chunks(prompts)).entries()) {
    const texts = groupById(await objects.readRows(candidateChunks[i]!, Candidate));
    for (const { id, instruction } of await objects.readRows(chunk, PromptRow)) {
      yield visibleJson({ id, instruction, texts: (texts.get(id) ?? []).map(({ text }) => text) });
    }
  }
}
