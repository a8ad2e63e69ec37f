/**
 * Commands that change a run's course: retry, skip, abort, approve, reject, pause, resume, stop, set, promote, fork.
 * Each takes --why, which is recorded with who gave the command and when (`srlm history`). Throws run.refused and
 * run.not-parked with the reason.
 */
import type { Command } from 'commander';
import { parse } from 'yaml';
import type { Settings } from '../../contracts/commands.js';
import { describeSettings } from '../../contracts/settings.js';
import type { SrlmClient } from '../client.js';
import {
  action,
  beforeStart,
  type Context,
  checkId,
  collect,
  EXIT,
  pairs,
  patiently,
  UsageError,
  untilInterrupted,
  whole,
} from './context.js';

const NO_WORKER =
  'No worker has answered yet; one that runs workflows is needed (`srlm up` or `srlm worker`). Waiting ...';

const ENDING = 'The command is sent; the run ends as soon as a worker takes it.';

/** The most that `rounds` of a spec may be. */
const MAX_ROUND = 100;

interface Options {
  why: string;
  set?: string[];
  fromRound?: number;
  round?: number;
  after?: string;
  id?: string;
}

export function addOperateCommands(program: Command): void {
  const command = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .argument('<run>', 'id of the run')
      .option('--why <text>', 'kept in the history', '');
  const set = 'set a field of the spec, such as sampling.k=8; may be repeated';

  command('retry', 'try the parked step of a run again')
    .option('--set <field=value>', set, collect)
    .action(
      send(async (client, runId, { why, set: fields }) => {
        const wanted = fields && settings(fields);
        const { step } = await client.retry(runId, why, wanted);
        const line = `${runId}: ${step} is tried again${wanted ? ` with ${describeSettings(wanted)}` : ''}.`;
        return { result: { step }, line };
      }),
    );
  command('skip', 'continue without the parked step: an evaluation, or the enrichment of one round').action(
    send(async (client, runId, { why }) => {
      const { step } = await client.skip(runId, why);
      return { result: { step }, line: `${runId} continues without ${step}.` };
    }),
  );
  command('approve', 'continue a run that is waiting for approval').action(
    send(async (client, runId, { why }) => {
      const { approval } = await client.approve(runId, why);
      return { result: { approval }, line: `${runId}: ${approval} approved.` };
    }),
  );
  command('reject', 'after a round: roll it back; before: end the run with what it has').action(
    send(async (client, runId, { why }) => {
      const { approval } = await client.reject(runId, why);
      return { result: { approval }, line: `${runId}: ${approval} rejected.` };
    }),
  );
  command('pause', 'finish the chunks that are being worked on, and begin nothing more').action(
    send(async (client, runId, { why }) => {
      await client.pause(runId, why);
      return { result: {}, line: `${runId} pauses after the current chunks. To continue:  srlm resume ${runId}` };
    }),
  );
  command('resume', 'continue a paused run').action(
    send(async (client, runId, { why }) => {
      await client.resume(runId, why);
      return { result: {}, line: `${runId} continues.` };
    }),
  );
  command('stop', 'end a run before its last round, with what it has')
    .requiredOption('--after <when>', 'round, step or now')
    .action(
      send(async (client, runId, { why, after }, context) => {
        if (after !== 'round' && after !== 'step' && after !== 'now')
          throw new UsageError(`--after: expected round, step or now, found ${JSON.stringify(after)}.`);
        await untilInterrupted(ENDING, client.stop(runId, after, why));
        if (after === 'now') context.say('Everything it made is kept.');
        return { result: { after }, line: after === 'now' ? `${runId} ended.` : `${runId} ends after this ${after}.` };
      }),
    );
  command('set', 'change settings of a running run, at once or from a round on')
    .argument('<field=value...>', 'fields of the spec, such as sampling.k=8')
    .option('--from-round <n>', 'apply from this round on, which has not begun', whole('--from-round', 0, MAX_ROUND))
    .action(
      action(async (context, runId: string, fields: string[], { why, fromRound }: Options) => {
        const client = await context.connect();
        const wanted = settings(fields);
        await patiently(context, NO_WORKER, client.set(runId, wanted, { fromRound: fromRound ?? null, why }));
        const from = fromRound === undefined ? 'from now on' : `from round ${fromRound} on`;
        context.print({ runId, set: wanted, fromRound: fromRound ?? null }, [
          `${runId}: ${describeSettings(wanted)} ${from}.`,
        ]);
        return EXIT.done;
      }),
    );
  command('promote', 'let the next round start from the model of this one, whatever the gate decided')
    .requiredOption('--round <n>', 'a round that is done', whole('--round', 0, MAX_ROUND))
    .action(
      send(async (client, runId, { why, round }) => {
        await client.promote(runId, round!, why);
        return { result: { round }, line: `${runId}: the next round starts from round ${round}.` };
      }),
    );
  command('fork', 'start a new run that reuses all steps before a round, then applies other settings')
    .requiredOption('--from-round <n>', 'the first round that may differ', whole('--from-round', 0, MAX_ROUND))
    .option('--set <field=value>', set, collect)
    .option('--id <id>', "the new run's id")
    .action(
      action(async (context, of: string, { set: fields = [], fromRound, id }: Options) => {
        const runId = await beforeStart(async () => {
          const own = checkId(id);
          const fork = { fromRound: fromRound!, set: settings(fields), ...(own === undefined ? {} : { id: own }) };
          const client = await context.connect();
          return (await patiently(context, NO_WORKER, client.fork(of, fork))).runId;
        });
        context.say(`Started. Follow it with:  srlm watch ${runId}`);
        context.print({ runId, of, fromRound }, [runId]);
        return EXIT.done;
      }),
    );
  command('abort', 'end a run where it is; everything it made is kept').action(
    action(async (context, runId: string, { why }: Options) => {
      const client = await context.connect();
      const before = await client.status(runId);
      if (before.endedAt) {
        context.print({ runId, state: before.state }, [`${runId} has ended already (${before.state}).`]);
        return EXIT.done;
      }
      await untilInterrupted(ENDING, patiently(context, NO_WORKER, client.abort(runId, why)));
      const { state } = await client.status(runId);
      context.print({ runId, state }, [`${runId} ended (${state}). Everything it made is kept.`]);
      return EXIT.done;
    }),
  );
}

interface Sent {
  /** For --json, beside the run's id. */
  result: object;
  line: string;
}

function send(work: (client: SrlmClient, runId: string, options: Options, context: Context) => Promise<Sent>) {
  return action(async (context, runId: string, options: Options) => {
    const client = await context.connect();
    const { result, line } = await patiently(context, NO_WORKER, work(client, runId, options, context));
    context.print({ runId, ...result }, [line]);
    return EXIT.done;
  });
}

/** Values are YAML, as in a spec. */
function settings(given: readonly string[]): Settings {
  const texts = Object.entries(pairs('--set', given));
  return Object.fromEntries(
    texts.map(([field, text]) => {
      try {
        return [field, parse(text) as Settings[string]];
      } catch {
        throw new UsageError(`--set ${field}: this is not a YAML value: ${JSON.stringify(text)}.`);
      }
    }),
  );
}
