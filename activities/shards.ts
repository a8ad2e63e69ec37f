/**
 * Sharded steps: sample and score. The durable unit is a chunk: its record is written when all its rows are there,
 * and a chunk with a record is never worked on again. A shard is some chunks in a row, one activity; `open` finds a
 * step that is whole already, `seal` lists the chunks of all shards as one dataset.
 */
import { setMaxListeners } from 'node:events';
import { Context } from '@temporalio/activity';
import type { z } from 'zod';
import { Dataset, type Manifest, type Spent } from '../contracts/artifacts.js';
import { artifactDamaged } from '../contracts/errors.js';
import {
  Candidate,
  Example,
  INCUMBENT,
  type Message,
  Prompt,
  Question,
  Row,
  type Score,
} from '../contracts/records.js';
import {
  type Allowance,
  type SampleStep,
  type ScoreStep,
  Shard,
  Sharded,
  type ShardOutput,
} from '../contracts/steps.js';
import type { Cost, EngineClient } from '../engine/client.js';
import { guard } from '../method/guards.js';
import { parseRationale } from '../method/parse.js';
import {
  answerMark,
  answerPrompt,
  answerSuffix,
  enrichPrompt,
  fill,
  questionPrompt,
  rationalizePrompt,
  replyPrefix,
} from '../method/prompts.js';
import { rowSeed } from '../method/seeds.js';
import { NOTHING, sum } from '../method/spending.js';
import { chunkInputs, shardedInputs } from '../storage/keys.js';
import { stepKey } from '../storage/store.js';
import { activity, type Deps, isOwn, Meter, metered, once, stopSignal } from './activity.js';

const PAUSE_ANSWER_MS = 5000;

/** The dataset of a step that is whole already, else null. */
export const srlmOpenStep = ({ store, deployment }: Deps) =>
  activity('open', Sharded, async (of): Promise<Dataset | null> => {
    const key = stepKey(of.step, shardedInputs(of, deployment.engines));
    const found = await metered('open', 'rows', 0, () => store.findStep(of.step, key));
    return found ? Dataset.parse(found.output) : null;
  });

/**
 * Works on the chunks of one shard, in order. Paused, or with its allowance used up, it ends after the chunk in hand
 * and says that there is more; a cancelled run ends it at once.
 */
export const srlmShard = ({ store, host, deployment }: Deps) =>
  activity('shard', Shard, async ({ of, from, to, allowance, countedUntil }): Promise<ShardOutput> => {
    const { input } = of;
    const { engines } = deployment;
    const chunks = (await store.chunksOf(input.data)).slice(from, to);
    const partners = of.step === 'score' ? (await store.chunksOf(of.input.candidates)).slice(from, to) : [];
    const out: ShardOutput = { rows: 0, chunksReused: 0, chunksDone: 0, complete: true, spent: NOTHING };
    const meter = new Meter(
      of.step,
      'rows',
      chunks.reduce((sum, chunk) => sum + chunk.rows, 0),
    );
    const stop = gentleStop();
    const { signal } = stop;
    try {
      const todo: number[] = [];
      for (const [i, chunk] of chunks.entries()) {
        const name = `${of.step}-chunk`;
        const found = await store.findStep(name, stepKey(name, chunkInputs(of, chunk, partners[i], engines)));
        if (!found) {
          todo.push(i);
          continue;
        }
        out.chunksReused++;
        out.rows += chunk.rows;
        // By an attempt that died, or failed with a later chunk, before it could tell what it had spent.
        if (isOwn(found, countedUntil)) out.spent = sum(out.spent, found.measured.spent ?? NOTHING);
        meter.add(chunk.rows, true);
      }
      // A shard that is whole needs no engine, and must not turn out the model that another run has loaded.
      if (todo.length === 0) return out;
      await host.withModel(input.engine, input.model, input.deterministic, signal, async (client) => {
        for (const i of todo) {
          // One chunk at least, so that a run with little left still gets on.
          if (stop.paused || (out.chunksDone > 0 && isUsedUp(allowance, out.spent))) {
            out.complete = false;
            return;
          }
          stop.inHand = true;
          const chunk = chunks[i]!;
          const inputs = chunkInputs(of, chunk, partners[i], engines);
          const record = await once(store, `${of.step}-chunk`, inputs, async () => {
            const cost: Cost = { promptTokens: 0, completionTokens: 0, gpuSeconds: 0 };
            const rows =
              of.step === 'sample'
                ? await sampleChunk(
                    client,
                    of.input,
                    await store.readRows(chunk, rowSchema(of.input)),
                    meter,
                    signal,
                    cost,
                  )
                : await scoreChunk(
                    client,
                    of.input,
                    await store.readRows(chunk, Row),
                    await store.readRows(partners[i]!, Candidate),
                    meter,
                    signal,
                    cost,
                  );
            const file = await store.putRows(rows);
            return { files: [file], output: {}, spent: spentOf(of, cost, engines) };
          });
          stop.inHand = false;
          out.chunksDone++;
          out.rows += chunk.rows;
          out.spent = sum(out.spent, record.measured.spent ?? NOTHING);
        }
      });
      return out;
    } finally {
      meter.end();
    }
  });

/** Stops at once, but for a pause that comes with a chunk in hand. Which of the two it is, the run is asked. */
function gentleStop() {
  const stop = stopSignal();
  const gentle = new AbortController();
  setMaxListeners(0, gentle.signal);
  const state = { signal: gentle.signal, paused: false, inHand: false };
  // The listener is called from outside of the activity's own context.
  const context = Context.current();
  const { client } = context;
  const { workflowExecution } = context.info;
  const onStop = async () => {
    if (context.cancellationDetails?.cancelRequested && workflowExecution) {
      const { workflowId, runId } = workflowExecution;
      const asked = client.withDeadline(Date.now() + PAUSE_ANSWER_MS, () =>
        client.workflow.getHandle(workflowId, runId).query<{ state: string }>('srlmState'),
      );
      state.paused = (await asked.catch(() => null))?.state === 'paused';
    }
    if (!state.paused || !state.inHand) gentle.abort(stop.reason);
  };
  if (stop.aborted) gentle.abort(stop.reason);
  else stop.addEventListener('abort', () => void onStop(), { once: true });
  return state;
}

function isUsedUp(allowance: Allowance | undefined, spent: Spent): boolean {
  if (!allowance) return false;
  const { tokens, gpuSeconds, money, until } = allowance;
  return (
    (tokens !== null && spent.tokens >= tokens) ||
    (gpuSeconds !== null && spent.gpuSeconds >= gpuSeconds) ||
    (money !== null && spent.money >= money) ||
    (until !== null && Date.now() >= Date.parse(until))
  );
}

/** Sampling is counted by what was written, scoring by what was read. */
function spentOf(of: Sharded, cost: Cost, engines: Deps['deployment']['engines']): Spent {
  const { promptTokens, completionTokens, gpuSeconds } = cost;
  const engine = engines[of.input.engine];
  const price = engine?.kind === 'openai' ? engine.price : undefined;
  const money = price
    ? (promptTokens * price.inputPerMillion + completionTokens * price.outputPerMillion) / 1_000_000
    : 0;
  return { tokens: of.step === 'sample' ? completionTokens : promptTokens, gpuSeconds, money };
}

/** All chunks of a finished step as one dataset, in the order of the input. */
export const srlmSealStep = ({ store, deployment }: Deps) =>
  activity('seal', Sharded, async (of): Promise<Dataset> => {
    const { engines } = deployment;
    const work = async (meter: Meter) => {
      const files: Manifest[] = [];
      const partners = of.step === 'score' ? await store.chunksOf(of.input.candidates) : [];
      for (const [i, chunk] of (await store.chunksOf(of.input.data)).entries()) {
        const name = `${of.step}-chunk`;
        const done = await store.findStep(name, stepKey(name, chunkInputs(of, chunk, partners[i], engines)));
        if (!done) throw artifactDamaged(chunk.uri, `chunk ${i} of step ${of.step} is gone.`);
        files.push(done.files[0]!);
        meter.add(chunk.rows);
      }
      const dataset = await store.putDataset(files);
      return { files: [dataset], output: dataset };
    };
    const record = await once(store, of.step, shardedInputs(of, engines), () =>
      metered('seal', 'rows', of.input.data.rows, work),
    );
    return Dataset.parse(record.output);
  });

type AnyRow = Row | Example | Question | Prompt;

const rowSchema = ({ purpose }: SampleStep): z.ZodType<AnyRow> =>
  ({ enrich: Row, rationalize: Example, answer: Question, prompt: Prompt })[purpose];

function userTurn(step: SampleStep, row: AnyRow): string {
  const { purpose, prompts } = step;
  if (purpose === 'enrich') return enrichPrompt(prompts, row as Row, step.enrichFrom);
  if (purpose === 'rationalize') return rationalizePrompt(prompts, row as Example);
  if (purpose === 'answer') return answerPrompt(prompts, questionPrompt(prompts, row as Question));
  return fill(step.prompt ?? '{instruction}', { instruction: (row as Prompt).instruction });
}

async function sampleChunk(
  client: EngineClient,
  step: SampleStep,
  rows: AnyRow[],
  meter: Meter,
  signal: AbortSignal,
  cost: Cost,
): Promise<Candidate[]> {
  const { sampling } = step;
  const mark = answerMark(step.prompts);
  // An enriched rationale ends where the answer would begin: what follows is neither kept nor paid for.
  const stop = step.purpose === 'enrich' && mark ? [mark] : sampling.stop;
  const candidates_E = await inStep(
    rows.map(async (row) => {
      if (step.purpose === 'rationalize' && (row as Example).rationale !== null) {
        meter.add(1);
        return [];
      }
      const seed = rowSeed(step.seed, step.round, step.purpose, row.id);
      const messages: Message[] = [
        ...(step.system === null ? [] : [{ role: 'system' as const, content: step.system }]),
        { role: 'user', content: userTurn(step, row) },
      ];
      const { k: n, temperature, topP, topK, maxTokens } = sampling;
      const request = {
        messages,
        n,
        seed,
        temperature,
        topP,
        topK,
        maxTokens,
        stop,
        requestId: `${step.purpose}:${step.round}:${row.id}`,
      };
      const texts_K = await client.chat(request, signal, cost);
      meter.add(1);
      return texts_K.map((text, k): Candidate => ({ id: row.id, k, ...text }));
    }),
  );
  return candidates_E.flat();
}

async function scoreChunk(
  client: EngineClient,
  step: ScoreStep,
  rows: Row[],
  candidates: Candidate[],
  meter: Meter,
  signal: AbortSignal,
  cost: Cost,
): Promise<Score[]> {
  const byRow = new Map<string, Candidate[]>(rows.map(({ id }) => [id, []]));
  for (const candidate of candidates) byRow.get(candidate.id)?.push(candidate);
  const scores_E = await inStep(
    rows.map(async (row) => {
      const { prompts, enrichFrom } = step;
      const sound = (byRow.get(row.id) ?? []).filter(
        (candidate) => guard(candidate, { prompts, row, enrichFrom }) === null,
      );
      const rationales = [
        { k: INCUMBENT, text: row.rationale },
        ...sound.map(({ k, text }) => ({ k, text: parseRationale(text, prompts) })),
      ];
      // Candidates that say the same are scored once.
      const distinct = [...new Set(rationales.map(({ text }) => text))];
      if (sound.length === 0) {
        meter.add(1);
        return []; // Nothing to compare: the incumbent stays whatever its score.
      }
      const messages: Message[] = [{ role: 'user', content: answerPrompt(prompts, row.instruction) }];
      const prefixes = distinct.map((rationale) => replyPrefix(prompts, rationale));
      const suffix = answerSuffix(prompts, row.answer);
      const scored = await client.scoreSuffix(messages, prefixes, suffix, `score:${row.id}`, signal, cost);
      meter.add(1);
      return rationales.flatMap(({ k, text }): Score[] => {
        const logprobNats = scored.logprobNats_K[distinct.indexOf(text)] ?? null;
        return logprobNats === null ? [] : [{ id: row.id, k, logprobNats, answerTokens: scored.tokens }];
      });
    }),
  );
  return scores_E.flat();
}

/** All, in order; on a failure the others are let end first, so that no request outlives its attempt. */
async function inStep<T>(work: Promise<T>[]): Promise<T[]> {
  const ended = await Promise.allSettled(work);
  const failed = ended.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
  return ended.map((one) => (one as PromiseFulfilledResult<T>).value);
}
