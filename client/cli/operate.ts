/**
 * Commands that change a run's course: retry, skip, abort, approve, reject, pause, resume, stop, set, promote, fork.
 * Each takes --why; who and when is on record with it (`srlm history`). What does not fit is refused with the reason.
 */
import type { Command } from 'commander';
import { parse } from 'yaml';
import { describeSettings } from '../../contracts/settings.js';
import type { Settings } from '../../contracts/steps.js';
import type { SrlmClient } from '../client.js';
import {
  action,
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
  'No worker has answered yet; it takes one that runs workflows (`srlm up` or `srlm worker`). Waiting ...';

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

  command('retry', 'go on from the parked step of a run')
    .option('--set <field=value>', set, collect)
    .action(
      order(async (client, runId, { why, set }) => {
        const { step } = await client.retry(runId, why, set ? settings(set) : undefined);
        return {
          told: { step },
          line: `${runId}: ${step} is tried again${set ? ` with ${describeSettings(settings(set))}` : ''}.`,
        };
      }),
    );
  command('skip', 'go on without the parked step: an evaluation, or the enrichment of one round').action(
    order(async (client, runId, { why }) => {
      const { step } = await client.skip(runId, why);
      return { told: { step }, line: `${runId} goes on without ${step}.` };
    }),
  );
  command('approve', 'go on where the run waits for approval').action(
    order(async (client, runId, { why }) => {
      const { approval } = await client.approve(runId, why);
      return { told: { approval }, line: `${runId}: ${approval} approved.` };
    }),
  );
  command('reject', 'after a round: roll it back; before: end the run with what it has').action(
    order(async (client, runId, { why }) => {
      const { approval } = await client.reject(runId, why);
      return { told: { approval }, line: `${runId}: ${approval} rejected.` };
    }),
  );
  command('pause', 'let the chunks in hand be finished, and begin no more').action(
    order(async (client, runId, { why }) => {
      await client.pause(runId, why);
      return {
        told: {},
        line: `${runId} pauses as soon as what is in hand is finished. To go on:  srlm resume ${runId}`,
      };
    }),
  );
  command('resume', 'go on with a paused run').action(
    order(async (client, runId, { why }) => {
      await client.resume(runId, why);
      return { told: {}, line: `${runId} goes on.` };
    }),
  );
  command('stop', 'end a run before its last round, with what it has')
    .requiredOption('--after <what>', 'round, step or now')
    .action(
      order(async (client, runId, { why, after }, context) => {
        if (after !== 'round' && after !== 'step' && after !== 'now')
          throw new UsageError(`--after: expected round, step or now, found ${JSON.stringify(after)}.`);
        const ended = client.stop(runId, after, why);
        await untilInterrupted('The run has been told to end, and ends as soon as a worker is there.', ended);
        if (after === 'now') context.say('Everything it made is kept.');
        return { told: { after }, line: after === 'now' ? `${runId} is ended.` : `${runId} ends after this ${after}.` };
      }),
    );
  command('set', 'other settings for a run under way, at once or from a round on')
    .argument('<field=value...>', 'fields of the spec, such as sampling.k=8')
    .option('--from-round <n>', 'hold from this round on, which has not begun', whole('--from-round', 0, 20))
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
  command('promote', 'let the next round start from the model of this one, whatever the gate said')
    .requiredOption('--round <n>', 'a round that is done', whole('--round', 0, 20))
    .action(
      order(async (client, runId, { why, round }) => {
        await client.promote(runId, round!, why);
        return { told: { round }, line: `${runId}: the next round starts from round ${round}.` };
      }),
    );
  command('fork', 'a new run that shares all steps up to a round with this one, and goes on by other settings')
    .requiredOption('--from-round <n>', 'the first round that may differ', whole('--from-round', 0, 20))
    .option('--set <field=value>', set, collect)
    .option('--id <id>', "the new run's id")
    .action(
      order(async (client, of, { set = [], fromRound, id }, context) => {
        const checked = checkId(id);
        const { runId } = await client.fork(of, {
          fromRound: fromRound!,
          set: settings(set),
          ...(checked ? { id: checked } : {}),
        });
        context.say(`Started. Follow it with:  srlm watch ${runId}`);
        return { told: { runId, of, fromRound }, line: runId };
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
      const ended = patiently(context, NO_WORKER, client.abort(runId, why));
      await untilInterrupted('The run has been told to end, and ends as soon as a worker is there.', ended);
      const { state } = await client.status(runId);
      context.print({ runId, state }, [`${runId} is ended (${state}). Everything it made is kept.`]);
      return EXIT.done;
    }),
  );
}

type Told = { told: object; line: string };
function order(work: (client: SrlmClient, runId: string, options: Options, context: Context) => Promise<Told>) {
  return action(async (context, runId: string, options: Options) => {
    const client = await context.connect();
    const { told, line } = await patiently(context, NO_WORKER, work(client, runId, options, context));
    context.print({ runId, ...told }, [line]);
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
