/**
 * srlm ask: one question to the model of a run, or to a model folder. A model server of its own answers, beside
 * whatever a worker is doing, and is stopped and removed afterwards, also on an error or a signal.
 * Plain: one greedy reply. --samples N: N sampled replies and a majority vote. --enrich N: the greedy rationale
 * enriched N times by the model itself, an answer after each, and a majority vote.
 */
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultPayloadConverter } from '@temporalio/common';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { resolveModel } from '../../activities/prepare.js';
import type { BuiltinEngine, Deployment } from '../../contracts/deployment.js';
import { engineLacks, nameUnknown, Problem, show } from '../../contracts/errors.js';
import { type Message, Row } from '../../contracts/records.js';
import { Prompts } from '../../contracts/spec.js';
import { EngineClient, type Text } from '../../engine/client.js';
import { pythonPath } from '../../engine/python-environment.js';
import { ModelServer } from '../../engine/server.js';
import { parseAnswer, parseRationale } from '../../method/parse.js';
import { answerMark, answerPrompt, enrichPrompt, replyPrefix } from '../../method/prompts.js';
import { rowSeed } from '../../method/seeds.js';
import { type Vote, vote } from '../../method/vote.js';
import { isAlive } from '../../storage/files.js';
import { modelDigest } from '../../storage/model-folder.js';
import { ArtifactStore } from '../../storage/store.js';
import { action, type Context, decimal, EXIT, Interrupted, whole } from './context.js';
import { printable } from './text.js';

interface Asked {
  folder: string;
  sha256: string;
  prompts: Prompts;
  /** Name in the deployment's config. */
  engine: string;
}

interface Settings {
  enrich?: number;
  samples?: number;
  maxTokens: number;
  temperature?: number;
}

interface Reply {
  rationale: string;
  answer: string | null;
  cut: boolean;
}

const DEFAULT_TEMPERATURE = 0.7;

export function addAskCommand(program: Command): void {
  program
    .command('ask')
    .description('ask the improved model something')
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
      action(async (context, target: string, question: string, options: Settings) => {
        const asked = await modelOf(context, target);
        const deployment = await context.deployment();
        const { replies, votes } = await withModel(context, deployment, asked, (client, signal) =>
          answer(client, asked.prompts, question, options, signal),
        );
        const winner = replies[votes[0]?.first ?? 0]!;
        if (winner.answer === null) context.say('No answer was found in the reply; this is all of it.');
        if (winner.cut) context.say(`The reply was cut at ${options.maxTokens} tokens; see --max-tokens.`);
        const tally = votes.map(({ answer: given, count }) => ({ answer: given, count }));
        context.print(
          {
            question,
            model: { folder: asked.folder, sha256: asked.sha256 },
            answer: winner.answer,
            rationale: winner.rationale,
            votes: tally,
            replies,
          },
          shown(winner, votes, replies.length),
        );
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

/** A name with a slash, or of a folder that is there, is a model; everything else is a run. */
async function modelOf(context: Context, target: string): Promise<Asked> {
  const deployment = await context.deployment();
  const places = [target, ...deployment.modelRoots.map((root) => join(root, target))];
  if (!target.includes('/') && !places.some((place) => existsSync(place))) return modelOfRun(context, target);
  const folder = await resolveModel(target, deployment);
  const { sha256 } = await modelDigest(folder);
  const engine = Object.keys(deployment.engines).find((name) => deployment.engines[name]!.kind === 'builtin');
  if (!engine) throw engineLacks(Object.keys(deployment.engines)[0] ?? '', 'load weights', 'ask');
  return { folder, sha256, prompts: Prompts.parse({}), engine };
}

// Of the run's input only what is used here: a run of another version may be asked, too.
const Started = z.looseObject({ spec: z.looseObject({ engine: z.string(), prompts: Prompts }) });

/** The best model of a run that is done; of one under way that of its newest round. */
async function modelOfRun(context: Context, runId: string): Promise<Asked> {
  const client = await context.connect();
  const status = await client.status(runId);
  const { events } = await client.temporal.workflow.getHandle(runId).fetchHistory();
  const begun = events?.[0]?.workflowExecutionStartedEventAttributes;
  if (begun?.workflowType?.name !== 'srlmRun') throw noModel(runId, 'is a sample run, which trains none');
  const payload = begun.input?.payloads?.[0];
  const { spec } = Started.parse(payload ? defaultPayloadConverter.fromPayload(payload) : {});
  const model = status.state === 'done' ? (await client.result(runId)).model : status.summaries.at(-1)?.model;
  if (!model) {
    throw noModel(runId, status.stale ? 'cannot be looked into, as no worker answers' : 'has finished no round yet');
  }
  const store = ArtifactStore.open(client.deployment.artifactRoot);
  const { prompts, engine } = spec;
  return { folder: await store.verifiedModel(model), sha256: model.sha256, prompts, engine };
}

const noModel = (runId: string, why: string) =>
  new Problem({
    type: 'run.no-model',
    retry: false,
    says: `Run ${show(runId)} ${why}.`,
    next: `See \`srlm status ${runId}\`.`,
  });

// --- a server of its own ----------------------------------------------------------------------------------------------

async function withModel<T>(
  context: Context,
  deployment: Deployment,
  { folder, sha256, engine: name }: Asked,
  work: (client: EngineClient, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const engine = deployment.engines[name];
  if (!engine) throw nameUnknown('engine', name, Object.keys(deployment.engines));
  if (engine.kind !== 'builtin') throw engineLacks(name, 'load weights', 'ask');
  await sweep(deployment);
  const state = join(deployment.workRoot, `ask-${process.pid}`);
  const server = serverIn(state, name, engine, deployment);
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
    const { baseUrl, token } = await server.ensure();
    stop.signal.throwIfAborted();
    await server.load(folder, sha256);
    stop.signal.throwIfAborted();
    const { concurrency } = engine;
    const endpoint = { name, baseUrl: `${baseUrl}/v1`, apiKey: token, model: `srlm-${sha256}`, concurrency };
    return await work(new EngineClient({ ...endpoint, seed: true, topK: true, builtin: true }), stop.signal);
  } finally {
    await server.stop();
    await rm(state, { recursive: true, force: true });
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

function serverIn(state: string, name: string, engine: BuiltinEngine, deployment: Deployment): ModelServer {
  return new ModelServer({
    name,
    engine,
    deterministic: false,
    folder: state,
    python: pythonPath(deployment),
    modelRoots: [join(deployment.artifactRoot, 'models'), ...deployment.modelRoots],
  });
}

/** Ends what an `ask` that was killed has left. */
async function sweep(deployment: Deployment): Promise<void> {
  const names = await readdir(deployment.workRoot).catch(() => [] as string[]);
  for (const name of names) {
    const pid = /^ask-(\d+)$/.exec(name)?.[1];
    if (!pid || isAlive(Number(pid))) continue;
    const state = join(deployment.workRoot, name);
    const engine = { kind: 'builtin', device: 'auto', dtype: 'auto', concurrency: 1 } as const;
    await serverIn(state, 'ask', engine, deployment).stop();
    await rm(state, { recursive: true, force: true });
  }
}

// --- the replies ------------------------------------------------------------------------------------------------------

export async function answer(
  client: Pick<EngineClient, 'chat'>,
  prompts: Prompts,
  question: string,
  { enrich, samples = 1, maxTokens, temperature }: Settings,
  signal: AbortSignal,
): Promise<{ replies: Reply[]; votes: Vote[] }> {
  const messages: Message[] = [{ role: 'user', content: answerPrompt(prompts, question) }];
  const base = { topP: 1, topK: 0, maxTokens, stop: [] as string[], seed: rowSeed(0, 0, 'ask', question) };
  const warmth = temperature ?? DEFAULT_TEMPERATURE;
  const greedy = enrich !== undefined || (samples === 1 && temperature === undefined);
  const texts = await client.chat(
    { ...base, messages, n: greedy ? 1 : samples, temperature: greedy ? 0 : warmth, requestId: 'ask' },
    signal,
  );
  if (texts.length === 0) throw tooLong();
  const plain = texts.map((text) => replyOf(text, text.text, prompts));
  if (enrich === undefined) return counted(plain);

  const { rationale } = plain[0]!;
  const row = Row.parse({
    id: 'ask',
    instruction: question,
    original: rationale,
    rationale,
    answer: '-',
    origin: null,
  });
  const mark = answerMark(prompts);
  const rewritten = await client.chat(
    {
      ...base,
      messages: [{ role: 'user', content: enrichPrompt(prompts, row, 'current') }],
      n: enrich,
      temperature: warmth,
      stop: mark ? [mark] : [],
      requestId: 'ask:enrich',
    },
    signal,
  );
  const richer = rewritten.map(({ text }) => parseRationale(text, prompts)).filter((text) => text !== '');
  // What enriches to nothing leaves the reply that was there.
  if (richer.length === 0) return counted(plain);
  const replies = await Promise.all(
    richer.map(async (text, i) => {
      const prefix = replyPrefix(prompts, text);
      const turn: Message[] = [...messages, { role: 'assistant', content: prefix }];
      const request = {
        ...base,
        messages: turn,
        n: 1,
        temperature: 0,
        continueReply: true,
        requestId: `ask:answer:${i}`,
      };
      const [continued] = await client.chat(request, signal);
      return continued
        ? replyOf(continued, prefix + continued.text, prompts)
        : { rationale: text, answer: null, cut: true };
    }),
  );
  return counted(replies);
}

const counted = (replies: Reply[]) => ({ replies, votes: vote(replies.map(({ answer: given }) => given)) });

function replyOf({ finish }: Text, whole: string, prompts: Prompts): Reply {
  return { rationale: parseRationale(whole, prompts), answer: parseAnswer(whole, prompts), cut: finish === 'length' };
}

const tooLong = () =>
  new Problem({
    type: 'question.too-long',
    retry: false,
    says: "The question is longer than the model's context.",
    next: 'Shorten it.',
  });
