/**
 * srlm ask: one question to the model of a run, or to a model folder. A model server of its own answers, beside whatever
 * a worker is doing, and is stopped and removed afterwards, also after an error or a signal.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { engineLacks, runHasNoModel } from '../../contracts/errors.js';
import type { ModelRef } from '../../contracts/refs.js';
import { RunInput } from '../../contracts/run.js';
import { PromptTemplates, SpecTexts } from '../../contracts/spec.js';
import type { EngineClient } from '../../engines/client.js';
import { EngineHost } from '../../engines/index.js';
import type { Vote } from '../../method/vote.js';
import { openStore } from '../../storage/store.js';
import { printable } from '../../text/text.js';
import { argumentsOf, describe } from '../executions.js';
import { type AskSettings, answer, DEFAULT_TEMPERATURE, type Reply } from './answer.js';
import { action, type Context, decimal, EXIT, Interrupted, whole } from './context.js';

interface Asked {
  folder: string;
  sha256: string;
  templates: PromptTemplates;
  /** Its name in temporal.config.ts. */
  engine: string;
}

export function addAskCommand(program: Command): void {
  program
    .command('ask')
    .description('ask the improved model a question')
    .argument('<run-or-model>', 'id of a run, or a model folder below a model root')
    .argument('<question>')
    .addOption(
      new Option('--enrich <n>', 'enrich the rationale n times, then vote')
        .argParser(whole('--enrich', 1, 64))
        .conflicts('samples'),
    )
    .addOption(new Option('--samples <n>', 'sample n replies, then vote').argParser(whole('--samples', 1, 64)))
    .option('--max-tokens <n>', 'most tokens of a reply', whole('--max-tokens', 1, 32768), 512)
    .option('--temperature <t>', `of what is sampled (default: ${DEFAULT_TEMPERATURE})`, decimal('--temperature', 0, 2))
    .action(
      action(async (context, target: string, question: string, options: AskSettings) => {
        const asked = await modelOf(context, target);
        const { replies, votes } = await withModel(context, asked, (client, signal) =>
          answer(client, asked.templates, question, options, signal),
        );
        const winner = replies[votes[0]?.first ?? 0]!;
        if (winner.answer === null) context.say('No answer was found in the reply; this is all of it.');
        if (winner.cut) context.say(`The reply was cut at ${options.maxTokens} tokens; see --max-tokens.`);
        const result = {
          question,
          model: { folder: asked.folder, sha256: asked.sha256 },
          ...{ answer: winner.answer, rationale: winner.rationale },
          votes: votes.map(({ answer: given, count }) => ({ answer: given, count })),
          replies,
        };
        context.print(result, shown(winner, votes, replies.length));
        return EXIT.done;
      }),
    );
}

function shown({ answer: given, rationale }: Reply, votes: readonly Vote[], replies: number): string[] {
  const counted = votes.map(({ answer: text, count }) => `${count} x ${text}`);
  const silent = replies - votes.reduce((sum, { count }) => sum + count, 0);
  if (silent > 0) counted.push(`${silent} without an answer`);
  // What a model writes must not steer the terminal.
  const lines = rationale.split(/\r?\n/).map((line) => line.replace(/(?!\t)\p{Cc}/gu, '\uFFFD'));
  return [
    ...lines,
    '',
    ...(given === null ? [] : [`Answer: ${printable(given)}`]),
    ...(replies > 1 ? [`Votes:  ${printable(counted.join(', '))}`] : []),
  ];
}

// --- which model ------------------------------------------------------------------------------------------------------
/** A name with a slash, or the name of an existing folder, is a model; everything else is a run. */
async function modelOf(context: Context, target: string): Promise<Asked> {
  const deployment = await context.deployment();
  const places = [target, ...deployment.modelRoots.map((root) => join(root, target))];
  if (!target.includes('/') && !places.some((place) => existsSync(place))) return modelOfRun(context, target);
  const { models } = openStore(deployment);
  const { folder } = await models.inspect(target);
  const { sha256 } = await models.prepare(target);
  const engines = new EngineHost(deployment, null);
  const engine = engines.names.find((name) => engines.engine(name).capabilities.loadsWeights);
  if (!engine) throw engineLacks(engines.names[0] ?? '', 'load weights', 'ask');
  return { folder, sha256, templates: PromptTemplates.parse({}), engine };
}

/** The best model of a finished run; of a running one that of its newest round. */
async function modelOfRun(context: Context, runId: string): Promise<Asked> {
  const client = await context.connect();
  const described = await describe(client.temporal, runId);
  if (described.type !== 'srlmRun') throw runHasNoModel(runId, 'is a sample run, which trains none');
  const input = RunInput.safeParse((await argumentsOf(client.temporal, described))[0]).data;
  if (!input) throw runHasNoModel(runId, 'was started by another version of srlm');
  const { prompts: templates } = await client.store.objects.readJson(input.texts, SpecTexts);
  const model = await newestModel(context, runId);
  const folder = await client.store.models.local(model);
  return { folder, sha256: model.sha256, templates, engine: input.settings.engine };
}

async function newestModel(context: Context, runId: string): Promise<ModelRef> {
  const client = await context.connect();
  const { state, rounds, stale } = await client.status(runId);
  if (state === 'done') return (await client.result(runId)).model;
  const newest = rounds.at(-1);
  if (newest) return newest.model;
  throw runHasNoModel(runId, stale ? 'cannot be read, because no worker answers' : 'has finished no round yet');
}

// --- a server of its own ----------------------------------------------------------------------------------------------
async function withModel<T>(
  context: Context,
  { folder, sha256, engine: name }: Asked,
  work: (client: EngineClient, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const engine = new EngineHost(await context.deployment(), null).engine(name);
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) return;
    context.say('Stopping the model server ...');
    stop.abort(new Interrupted('Stopped; nothing is left running.'));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    context.say('Loading the model ...');
    return await engine.withPrivateClient({ folder, sha256 }, stop.signal, (client) => work(client, stop.signal));
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
