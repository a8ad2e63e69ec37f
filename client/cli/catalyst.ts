/**
 * srlm catalyst build: a teacher writes catalysts from the data, as a durable run. The estimate of what it costs comes
 * before anything is sent; --try asks for three, shows them and stops. The file is complete, or not written at all.
 * The other commands of the group are in catalyst-check.ts and catalyst-review.ts.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type CatalystResult, CatalystSpec } from '../../contracts/catalysts.js';
import { countsText } from '../../contracts/counts.js';
import { Problem } from '../../contracts/errors.js';
import { Catalyst, RejectedReply, SKILLS } from '../../contracts/rows.js';
import type { Store } from '../../storage/store.js';
import { printable, visibleJson } from '../../text/text.js';
import type { CheckedCatalysts, Price } from '../catalysts.js';
import { builtSpec } from '../spec-file.js';
import { addCatalystCheck } from './catalyst-check.js';
import { addCatalystReview } from './catalyst-review.js';
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
  UsageError,
} from './context.js';
import { follow } from './follow.js';
import { fileWriter } from './output-file.js';
import { textField } from './show.js';
import { started } from './start.js';

interface BuildOptions {
  teacher: string;
  count: number;
  out?: string;
  model?: string;
  seed: number;
  field?: string[];
  set?: string[];
  try?: boolean;
  id?: string;
  watch?: boolean;
}

const TRIED = 3;
const MAX_COUNT = 20_000;
const MAX_SEED = 2 ** 31 - 1;

export function addCatalystCommands(program: Command): void {
  const group = program.command('catalyst').description('build, check and review reasoning catalysts');
  group
    .command('build')
    .description('have a teacher enrich short rationales of the data, durably')
    .argument('<data>', 'instructions with short rationales and answers, as for a run')
    .requiredOption('--teacher <engine>', 'an engine of temporal.config.ts')
    .option('--count <n>', 'catalysts wanted', number('--count', 1, MAX_COUNT), 1000)
    .option('--out <file.jsonl>', 'wait, then write the catalysts, one line each')
    .option('--model <folder>', 'for a teacher that loads weights, such as the starting model itself')
    .option('--seed <n>', 'which rows are drawn, and how they are sampled', number('--seed', 0, MAX_SEED), 0)
    .option(
      '--field <name=field>',
      'name of a field in your file; source=FIELD balances sources; may be repeated',
      collect,
    )
    .option('--set <field=value>', 'a field of the catalyst spec, such as budget.money=5; may be repeated', collect)
    .option('--try', 'ask for three, show them beside the short rationales, and stop')
    .option('--id <id>', "the run's id (default: catalysts and the time)")
    .option('--watch', 'without --out: follow the run until it ends or parks')
    .action(
      action(async (context, data: string, options: BuildOptions) => {
        const { out, watch = false, try: isTrial = false } = options;
        if (isTrial && out !== undefined) throw new UsageError('--try writes no file: leave out --out.');
        const { client, runId, write, estimate } = await beforeStart(async () => {
          const write = out === undefined ? null : await fileWriter(out);
          return { ...(await start(context, data, options)), write };
        });
        if (!context.json) context.print({ runId }, [runId]);
        if (!out && !watch && !isTrial) {
          if (context.json) context.print({ runId, estimate }, []);
          return started(context, client, runId);
        }
        const hint =
          out === undefined
            ? ''
            : `${out} is not written. When the run is done, the same command writes it; nothing is asked twice.`;
        const status = await follow(context, client, runId, false).catch((error) => {
          if (hint) context.say(hint);
          throw error;
        });
        if (status.state !== 'done') {
          if (hint) context.say(hint);
          if (context.json) context.print({ runId, state: status.state, out: null }, []);
          return exitOf(status);
        }
        const result = await client.catalystResult(runId);
        const { counts } = result;
        const isEmpty = counts.kept === 0;
        if (write && !isEmpty)
          await write(catalystLines(client.store, result)).catch((error) => {
            throw error instanceof Problem ? error.adding(hint) : error;
          });
        const examples = isTrial ? await examplesOf(client.store, result) : [];
        context.print(
          { runId, state: status.state, out: isEmpty ? null : (out ?? null), estimate, ...result, examples },
          [
            ...examples.flatMap((one) => exampleLines(one, context.width)),
            ...(isTrial ? [''] : []),
            `${out && !isEmpty ? `${out}: ` : ''}${printable(countsText(counts))}`,
            ...(isEmpty || isTrial ? [] : [skillsLine(counts.skills)]),
          ],
        );
        if (!isTrial) sayEnd(context, result, options);
        return isEmpty ? EXIT.failed : EXIT.done;
      }),
    );
  addCatalystCheck(group);
  addCatalystReview(group);
}

/** Checks, says what it may cost, and starts. */
async function start(context: Context, data: string, options: BuildOptions) {
  const id = checkId(options.id);
  const spec = specOf(data, options);
  const { checkCatalysts } = await import('../catalysts.js');
  const { tryEngine } = await import('../preflight.js');
  const deployment = await context.deployment();
  const checking = checkCatalysts(spec, deployment, process.cwd(), id);
  const checked = await patiently(context, 'Checking and storing the data ...', checking, 10_000);
  for (const line of estimateLines(checked, spec)) context.say(line);
  checked.warnings.push(...(await tryEngine(spec.engine, deployment)));
  const client = await context.connect();
  const { runId, warnings } = await client.startChecked(checked);
  for (const warning of warnings) context.say(`warning: ${warning}`);
  return { client, runId, estimate: checked.estimate };
}

function specOf(data: string, { teacher, count, model, seed, field, set, try: isTrial }: BuildOptions): CatalystSpec {
  // The worker's current folder is another one.
  const path = model !== undefined && existsSync(model) ? resolve(model) : model;
  const trial = { count: TRIED, tries: 1, maxRequests: TRIED, maxSkillShare: 1 };
  const value = {
    ...{ engine: teacher, count, seed, data: { path: data, fields: pairs('--field', field) } },
    ...(path === undefined ? {} : { model: { path } }),
    ...(isTrial ? trial : {}),
  };
  return builtSpec(value, CatalystSpec, pairs('--set', set));
}

// --- what is shown ----------------------------------------------------------------------------------------------------
export function estimateLines(
  { estimate: { likely, most } }: Pick<CheckedCatalysts, 'estimate'>,
  { engine }: Pick<CatalystSpec, 'engine'>,
): string[] {
  const cost = ({ requests, promptTokens, completionTokens, money }: Price) =>
    `${many(requests)} requests, ${many(promptTokens)} tokens read and ${many(completionTokens)} written${money === null ? '' : `, ${money.toFixed(2)} in money`}`;
  const unpriced = likely.money === null ? ` No price is set for engine ${engine}.` : '';
  return [`Estimate: about ${cost(likely)}.${unpriced}`, `At most:  ${cost(most)}.`];
}

const many = (count: number) => count.toLocaleString('en-US');

const skillsLine = (skills: CatalystResult['counts']['skills']) =>
  `skills: ${SKILLS.map((skill) => `${skill} ${skills[skill] ?? 0}`).join(', ')}`;

/** Why there are fewer than wanted, and what comes next. */
function sayEnd(context: Context, { counts, ended }: CatalystResult, { out, count }: BuildOptions): void {
  const why = {
    count: '',
    rows: `Every row of the data was asked as often as "tries" allows: ${counts.kept} of ${count} catalysts. More data give more.`,
    requests: `The requests are used up: ${counts.kept} of ${count} catalysts. Raise them with --set maxRequests=N; what was asked is not asked again.`,
    'no-use':
      'No reply of the first waves was of use, so no more was asked. See the counts; --try shows whole replies.',
  }[ended];
  if (why) context.say(`warning: ${why}`);
  if (out && counts.kept > 0) context.say(`Look at them:  srlm catalyst check ${out}`);
}

async function* catalystLines({ datasets }: Store, { catalysts }: CatalystResult): AsyncGenerator<string> {
  for await (const { id, instruction, rationale, enriched, skills, answer } of datasets.rows(catalysts, Catalyst))
    yield visibleJson({ id, instruction, rationale, enriched, skills, ...(answer === null ? {} : { answer }) });
}

type Shown = Catalyst | RejectedReply;

async function examplesOf({ datasets }: Store, { catalysts, rejected }: CatalystResult): Promise<Shown[]> {
  const shown: Shown[] = [];
  for await (const row of datasets.rows(catalysts, Catalyst)) shown.push(row);
  for await (const row of datasets.rows(rejected, RejectedReply)) shown.push(row);
  return shown;
}

function exampleLines(one: Shown, width: number): string[] {
  const head = ['', `row ${printable(one.id)}`];
  if ('why' in one)
    return [
      ...head,
      `  no catalyst: ${one.why}${one.detail === null ? '' : ` (${printable(one.detail)})`}`,
      ...textField('  reply', one.text, width),
    ];
  return [
    ...head,
    ...textField('  question', one.instruction, width),
    ...textField('  short', one.rationale, width),
    ...textField('  enriched', one.enriched, width),
    `  skills     ${one.skills.join(', ')}`,
  ];
}
