/**
 * srlm ask: one question to the model of a run, or to a model folder. A model server of its own answers, beside whatever
 * a worker is doing, and is stopped and removed afterwards, also after an error or a signal. Plain: one greedy reply.
 * --samples: that many sampled replies and a majority vote. --enrich: the depth, as in an evaluation: so many times over,
 * the model enriches the rationale of each reply and answers after it (`--samples 64 --enrich 1` is the paper's setting).
 * Throws run.no-model, question.too-long.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { MAX_SAMPLES } from '../../contracts/curve-settings.js';
import { engineLacks, questionTooLong, runHasNoModel } from '../../contracts/errors.js';
import type { ModelRef } from '../../contracts/refs.js';
import { RunInput } from '../../contracts/run.js';
import { PromptTemplates, SpecTexts } from '../../contracts/spec.js';
import { type EngineClient, type SampleRequest, TOO_LONG } from '../../engines/client.js';
import { EngineHost } from '../../engines/index.js';
import { deepened } from '../../method/deepen.js';
import { parseAnswer, parseRationale } from '../../method/parse.js';
import { answerMessages } from '../../method/prompts.js';
import { rowSeed } from '../../method/random.js';
import { type Vote, vote } from '../../method/vote.js';
import { probeModel } from '../../processes/probe-model.js';
import { pythonPath } from '../../processes/python.js';
import { readableStore } from '../../storage/store.js';
import { printable } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import { argumentsOf, describe } from '../executions.js';
import { action, type Context, EXIT, Interrupted, number, runName, STOP_SIGNALS, UsageError } from './context.js';

const DEFAULT_TEMPERATURE = 0.7;
const MAX_ENRICH = 8;

interface AskSettings {
  enrich?: number;
  samples?: number;
  maxTokens: number;
  temperature?: number;
}

interface Reply {
  rationale: string;
  answer: string | null;
  /** It, or the rationale that it begins with, was cut at `maxTokens`. */
  cut: boolean;
}

interface Answered {
  replies: Reply[];
  votes: Vote[];
}

export interface Asked {
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
    .argument('<run-or-model>', 'id of a run, or a model folder below a model root', runName)
    .argument('<question>', '', questionText)
    .option(
      '--enrich <n>',
      'enrich the rationale of each reply n times over, then answer',
      number('--enrich', 1, MAX_ENRICH),
    )
    .option('--samples <n>', 'sample n replies, then vote', number('--samples', 1, MAX_SAMPLES))
    .option('--max-tokens <n>', 'most tokens of a reply', number('--max-tokens', 1, 32768), 512)
    .option(
      '--temperature <t>',
      `of what is sampled (default: ${DEFAULT_TEMPERATURE}; one reply: greedy)`,
      number('--temperature', 0, 2, false),
    )
    .action(
      action(async (context, target: string, question: string, options: AskSettings) => {
        const asked = await modelOf(context, target);
        const { replies, votes } = await withModel(context, asked, (client, signal) =>
          answer(client, asked.templates, question, options, signal),
        );
        const winner = replies[votes[0]?.first ?? 0]!;
        if (winner.answer === null) context.say('No answer was found in the reply; this is all of it.');
        const cut = replies.filter((reply) => reply.cut).length;
        const which = replies.length === 1 ? 'The reply was' : `${cut} of ${replies.length} replies were`;
        if (cut > 0) context.say(`${which} cut at ${options.maxTokens} tokens; see --max-tokens.`);
        const result = {
          question,
          model: { folder: asked.folder, sha256: asked.sha256 },
          answer: winner.answer,
          rationale: winner.rationale,
          votes: votes.map(({ answer: given, count }) => ({ answer: given, count })),
          replies,
        };
        context.print(result, shown(winner, votes, replies.length));
        return EXIT.done;
      }),
    );
}

/** For commander. */
function questionText(text: string): string {
  if (text.trim() === '') throw new UsageError('QUESTION: expected a question, found nothing.');
  return text;
}

function shown({ answer: given, rationale }: Reply, votes: readonly Vote[], replies: number): string[] {
  const counted = votes.map(({ answer: text, count }) => `${count} x ${text}`);
  const silent = replies - votes.reduce((sum, { count }) => sum + count, 0);
  if (silent > 0) counted.push(`${silent} without an answer`);
  const lines = rationale.split(/\r?\n/);
  return [
    ...lines,
    '',
    ...(given === null ? [] : [`Answer: ${printable(given)}`]),
    ...(replies > 1 ? [`Votes:  ${printable(counted.join(', '))}`] : []),
  ];
}

// --- which model ------------------------------------------------------------------------------------------------------
/** A name with a slash, or the name of an existing folder, is a model; everything else is a run. */
export async function modelOf(context: Context, target: string, round?: number): Promise<Asked> {
  const deployment = await context.deployment();
  const places = [target, ...deployment.modelRoots.map((root) => join(root, target))];
  if (!target.includes('/') && !places.some((place) => existsSync(place))) return modelOfRun(context, target, round);
  if (round !== undefined) throw new UsageError(`--round: ${target} is a model, which has no rounds.`);
  const { models } = readableStore(deployment);
  const { folder } = await models.inspect(target);
  await probeModel(pythonPath(deployment), folder);
  const { sha256 } = await models.prepare(target);
  const engines = new EngineHost(deployment, null);
  const engine = engines.names.find((name) => engines.engine(name).capabilities.loadsWeights);
  if (!engine) throw engineLacks(engines.names[0] ?? '', 'load weights', 'ask');
  return { folder, sha256, templates: PromptTemplates.parse({}), engine };
}

async function modelOfRun(context: Context, runId: string, round?: number): Promise<Asked> {
  const client = await context.connect();
  const described = await describe(client.temporal, runId);
  if (described.type !== 'srlmRun')
    throw runHasNoModel(
      runId,
      described.type === 'srlmSample' ? 'is a sample run, which trains none' : 'builds catalysts, and trains none',
    );
  const input = RunInput.safeParse((await argumentsOf(client.temporal, described))[0]).data;
  if (!input) throw runHasNoModel(runId, 'was started by another version of srlm');
  const { prompts: templates } = await client.store.objects.readJson(input.texts, SpecTexts);
  const model = await bestModel(client, runId, round);
  const folder = await client.store.models.local(model);
  return { folder, sha256: model.sha256, templates, engine: input.settings.engine };
}

/**
 * That of `round`, else the best model of a run so far, or the last one, by its `final`; where nobody knows which, that of
 * its newest round.
 */
export async function bestModel(
  client: Pick<SrlmClient, 'status' | 'result'>,
  runId: string,
  round?: number,
): Promise<ModelRef> {
  const { state, rounds, final, stale } = await client.status(runId);
  if (round !== undefined) {
    const model = rounds.find((one) => one.round === round)?.model;
    if (!model) throw runHasNoModel(runId, noRound(round, rounds, stale));
    return model;
  }
  // A run that was stopped in its first round fails, without a result.
  const stopped = state === 'stopped' ? client.result(runId).catch(() => null) : null;
  const result = state === 'done' ? await client.result(runId) : await stopped;
  const model = result?.model ?? rounds.find(({ round }) => round === final)?.model ?? rounds.at(-1)?.model;
  if (model) return model;
  throw runHasNoModel(runId, stale ? 'cannot be read, because no worker answers' : 'has finished no round yet');
}

function noRound(round: number, rounds: readonly { round: number }[], stale: boolean): string {
  if (stale) return 'cannot be read, because no worker answers';
  const finished = rounds.map((one) => one.round).join(', ');
  return `has no finished round ${round}; it has finished ${finished ? `rounds ${finished}` : 'none'}`;
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
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  try {
    context.say('Loading the model ...');
    return await engine.withPrivateClient({ folder, sha256 }, stop.signal, (client) => work(client, stop.signal));
  } finally {
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
  }
}

// --- how it is asked --------------------------------------------------------------------------------------------------
export async function answer(
  client: Pick<EngineClient, 'sample'>,
  templates: PromptTemplates,
  question: string,
  { enrich = 0, samples = 1, maxTokens, temperature }: AskSettings,
  signal: AbortSignal,
): Promise<Answered> {
  const drawn = temperature ?? (samples > 1 ? DEFAULT_TEMPERATURE : 0);
  const ask = (request: Pick<SampleRequest, 'messages' | 'n' | 'seed' | 'temperature' | 'stop' | 'requestId'>) =>
    client.sample({ topP: 1, topK: 0, maxTokens, ...request }, signal);
  const asked = { instruction: question, turns: null };
  const messages = answerMessages(templates, asked);
  const seed = rowSeed(0, 0, 'ask', question);
  const texts = await ask({ messages, n: samples, seed, temperature: drawn, stop: [], requestId: 'ask' });
  if (texts[0]?.reason === TOO_LONG) throw questionTooLong();
  let replies = texts.map(({ text, finish }) => ({ text, cut: finish === 'length' }));
  for (let depth = 1; depth <= enrich; depth++)
    replies = await Promise.all(
      replies.map(async (reply, k) => {
        // Two equal rationales get different enrichments.
        const own = rowSeed(0, depth, `ask:${k}`, question);
        const deeper = await deepened(asked, reply.text, templates, async ({ what, ...wanted }) => {
          const requestId = `ask:${what}:${depth}:${k}`;
          const at = what === 'enrich' ? drawn : 0;
          const [text] = await ask({ ...wanted, n: 1, seed: own, temperature: at, requestId });
          return text;
        });
        return deeper ?? reply;
      }),
    );
  return voted(replies.map(({ text, cut }) => replyOf(text, cut, templates)));
}

const voted = (replies: Reply[]): Answered => ({ replies, votes: vote(replies.map(({ answer: given }) => given)) });

const replyOf = (text: string, cut: boolean, templates: PromptTemplates): Reply => ({
  rationale: parseRationale(text, templates),
  answer: parseAnswer(text, templates),
  cut,
});
