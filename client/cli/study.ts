/**
 * Commands of studies: start one, follow it, show its result, end it. All checks of all its runs come before the
 * connection to Temporal, so that nothing is started where one of them is refused.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { fileNotWritable, shellWord, studyEnded } from '../../contracts/errors.js';
import type { StudyRunStatus } from '../../contracts/study.js';
import { table } from '../../text/columns.js';
import { visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import type { StudyStatus } from '../study/look.js';
import {
  action,
  beforeStart,
  type Context,
  checkId,
  EXIT,
  type Exit,
  number,
  patiently,
  runName,
  untilInterrupted,
} from './context.js';
import { unpolledText } from './tree.js';

const CHECKING = 'Checking all runs and storing the data ...';
const NO_WORKER =
  'No worker has answered yet; one that runs workflows is needed (`srlm up` or `srlm worker`). Waiting ...';
const EVERY_MS = 2000;

export function addStudyCommand(program: Command): void {
  const study = program
    .command('study')
    .description('compare arms of a run over several seeds: start a study, or look at one')
    .argument('[study.yaml]', 'what to compare (docs/studies.md); paths in it are relative to it')
    .option('--id <id>', "the study's id (default: its name and the time)")
    .option('--watch', 'follow it until it ends')
    .option('--priority <1-5>', 'which is served first where several wait: 1 is first', number('--priority', 1, 5), 3)
    .action(
      action(async (context, file: string | undefined, options: StartOptions, command?: Command) => {
        if (file !== undefined) return start(context, file, options);
        (command ?? study).help({ error: true });
        return EXIT.wrongInput;
      }),
    );
  const one = (name: string, description: string) =>
    study.command(name).description(description).argument('<study>', 'id of the study', runName);

  one('status', 'show the runs of a study, and how far they are').action(
    action(async (context, id: string) => {
      const { status } = await look(await context.connect(), id);
      context.print(status, statusLines(status));
      return exitOf(status);
    }),
  );
  one('watch', 'follow a study until it ends, or waits for answers').action(
    action(async (context, id: string) => watch(context, await context.connect(), id)),
  );
  one('show', 'show the result of a study, also of one that has not ended')
    .option('--out <folder>', 'write results.md, results.json and results.svg there')
    .action(
      action(async (context, id: string, { out }: { out?: string }) => {
        const client = await context.connect();
        const { resultLines, markdown } = await import('../study/report.js');
        const { resultOf } = await import('../study/look.js');
        const looked = await look(client, id);
        const result = await resultOf(client.store, looked);
        if (out !== undefined) {
          const { plot } = await import('../study/plot.js');
          await writeAll(out, {
            'results.md': markdown(result),
            'results.json': `${visibleJson(result, 2)}\n`,
            'results.svg': plot(result),
          });
        }
        context.print(result, resultLines(result));
        const open = looked.status.runs.filter(({ state }) => !isOver(state)).length;
        if (open > 0)
          context.say(`${open} of ${looked.status.runs.length} runs have not ended; this is what there is.`);
        if (out !== undefined) context.say(`Written to ${out}: results.md, results.json, results.svg`);
        return EXIT.done;
      }),
    );
  one('stop', 'begin no more runs, and end those that run after their round')
    .option('--why <text>', 'kept in the history', '')
    .action(action((context, id: string, { why }: { why: string }) => end(context, id, 'stop', why)));
  one('abort', 'end a study and its runs where they are; everything they made is kept')
    .option('--why <text>', 'kept in the history', '')
    .action(action((context, id: string, { why }: { why: string }) => end(context, id, 'abort', why)));
  study
    .command('list')
    .description('list all studies, newest first')
    .action(
      action(async (context) => {
        const { temporal } = await context.connect();
        const { listStudies } = await import('../study/look.js');
        const studies = (await listStudies(temporal)).sort((a, b) => b.startedAt.localeCompare(a.startedAt));
        const rows = studies.map(({ studyId, state, total, ended, startedAt }) => [
          ...[studyId, state, `${ended} of ${total}`, startedAt.slice(0, 16).replace('T', ' ')],
        ]);
        context.print(studies, table(['study', 'state', 'runs ended', 'started (UTC)'], rows));
        if (studies.length === 0) context.say('There are no studies yet. Start one with: srlm study STUDY.yaml');
        return EXIT.done;
      }),
    );
}

interface StartOptions {
  id?: string;
  watch?: boolean;
  priority: number;
}

async function start(context: Context, file: string, { id, watch: follows, priority }: StartOptions): Promise<Exit> {
  const { checked, client } = await beforeStart(async () => {
    const own = checkId(id);
    const { loadStudy } = await import('../study/arms.js');
    const loaded = await loadStudy(file);
    const { checkStudy } = await import('../study/check.js');
    const checked = await patiently(context, CHECKING, checkStudy(loaded, await context.deployment(), own));
    for (const warning of checked.warnings) context.say(`warning: ${warning}`);
    const client = await context.connect();
    const warnings = await client.startStudy(checked, { priority });
    for (const warning of warnings) context.say(`warning: ${warning}`);
    return { checked, client };
  });
  const { studyId, plan, warnings } = checked;
  const runs = plan.runs.map(({ id: runId, arm, seed }) => ({ runId, arm, seed }));
  if (!(follows && context.json)) context.print({ studyId, runs, warnings }, [studyId]);
  context.say(`${runs.length} runs: ${plan.arms.length} arms, ${runs.length / plan.arms.length} seeds.`);
  if (follows) return watch(context, client, studyId);
  const { unpolledQueuesOf } = await import('../diagnosis.js');
  const unpolled = await unpolledQueuesOf(client.temporal, await context.deployment()).catch(() => []);
  if (unpolled.length > 0) context.say(`warning: The study waits: ${unpolledText(unpolled)}.`);
  context.say(`Started. Follow it with:  srlm study watch ${studyId}`);
  return EXIT.done;
}

async function look(client: SrlmClient, id: string) {
  const { lookAtStudy } = await import('../study/look.js');
  return lookAtStudy(client.temporal, client.store, id);
}

const isOver = (state: StudyRunStatus['state']): boolean =>
  state === 'done' || state === 'stopped' || state === 'aborted' || state === 'failed';

function exitOf({ state, runs }: StudyStatus): Exit {
  if (state === 'aborted' || state === 'failed' || state === 'stopped') return EXIT.failed;
  return runs.some(({ state: one }) => one === 'parked' || one === 'waiting') ? EXIT.parked : EXIT.done;
}

function statusLines({ studyId, state, runs }: StudyStatus): string[] {
  const rows = runs.map(({ id, arm, seed, state: phase, round, lastRound, step }) => [
    ...[arm, String(seed), phase ?? 'not begun', round === null ? '-' : `${round} of ${lastRound}`],
    ...[(phase !== null && !isOver(phase) && step) || '-', id],
  ]);
  const ended = runs.filter((one) => isOver(one.state)).length;
  const parked = runs.filter((one) => one.state === 'parked' || one.state === 'waiting');
  return [
    `${studyId}: ${state}, ${ended} of ${runs.length} runs have ended`,
    '',
    ...table(['arm', 'seed', 'state', 'round', 'step', 'run'], rows),
    ...parked.map(({ id, state: phase }) => `! ${id} is ${phase}: srlm status ${shellWord(id)}`),
  ];
}

/** A table at each change, on stderr; the last one on stdout. */
async function watch(context: Context, client: SrlmClient, id: string): Promise<Exit> {
  const message = `The study continues. Follow it again with: srlm study watch ${shellWord(id)}`;
  const status = await untilInterrupted(message, untilEnded(context, client, id));
  if (context.json) return exitOf(status);
  context.print(null, statusLines(status));
  context.say(`Its result:  srlm study show ${shellWord(id)}`);
  return exitOf(status);
}

/** Nothing happens until somebody answers: all runs that have not ended wait for that. */
function isHalted({ runs }: StudyStatus): boolean {
  const open = runs.filter(({ state }) => !isOver(state));
  return open.length > 0 && open.every(({ state }) => state === 'parked' || state === 'waiting');
}

async function untilEnded(context: Context, client: SrlmClient, id: string): Promise<StudyStatus> {
  const before = new Map<string, string>();
  for (;;) {
    const { status } = await look(client, id);
    for (const run of status.runs) {
      const { round, lastRound, step, state } = run;
      const where = round === null ? '' : ` · round ${round} of ${lastRound}`;
      const line = `${run.id}: ${state ?? 'not begun'}${isOver(state) || !step ? '' : `${where} · ${step}`}`;
      if (before.get(run.id) !== line && state !== null && !context.json) context.say(line);
      before.set(run.id, line);
    }
    if (context.json) context.print(status, []);
    if (status.endedAt || isHalted(status)) return status;
    await sleep(EVERY_MS);
  }
}

async function end(context: Context, id: string, how: 'stop' | 'abort', why: string): Promise<Exit> {
  const client = await context.connect();
  const { status } = await look(client, id);
  if (status.endedAt) throw studyEnded(id, status.state);
  const { endStudy } = await import('../study/operate.js');
  await patiently(context, NO_WORKER, endStudy(client.temporal, id, { how, why }));
  const running = (await look(client, id)).status.runs.filter(({ state }) => state !== null && !isOver(state));
  // An abort of the study ends them; a stop is theirs to take.
  if (how === 'stop')
    for (const run of running)
      await patiently(context, NO_WORKER, client.send(run.id, 'stop', { after: 'round', why })).catch((error: Error) =>
        context.say(`${run.id}: ${error.message}`),
      );
  const what = how === 'stop' ? 'begins no more runs; those that run end after their round' : 'and its runs end';
  context.print({ studyId: id, how, runs: running.map((run) => run.id) }, [`${id} ${what}.`]);
  return EXIT.done;
}

async function writeAll(folder: string, files: Record<string, string>): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  } catch (error) {
    throw fileNotWritable(folder, (error as Error).message, 'folder');
  }
}
