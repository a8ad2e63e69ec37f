/**
 * Sharded steps. The durable unit is a chunk: its record is written when all its rows are there, and a chunk with a
 * record is never worked on again. A shard is a range of chunks, and one activity.
 *   srlmOpenStep   stores the step's input, and finds a step that is done already
 *   srlmShard      works on the chunks of its range that have no record
 *   srlmAssemble   lists the chunks of all shards as one dataset
 * What a step does with one chunk is in a file of its own (sample.ts, logprob.ts, judge.ts, deepen.ts); a new one is a line
 * in KINDS.
 */
import { addCounts } from '../contracts/counts.js';
import { artifactDamaged, inputInvalid } from '../contracts/errors.js';
import type { ObjectRef, StepRecord, Usage } from '../contracts/refs.js';
import {
  Assembled,
  AssembleInput,
  ChunkCounts,
  type OpenedStep,
  ShardedStep,
  ShardInput,
  type ShardOutput,
  type StepDone,
  type Suspects,
} from '../contracts/steps.js';
import { noCost, type RequestCost } from '../engines/client.js';
import { type Engine, requireCapability } from '../engines/engine.js';
import { addUsage, NO_USAGE, shareUsedUp } from '../method/budget.js';
import { sha256 } from '../storage/files.js';
import { canonical } from '../storage/objects.js';
import { activity, type Deps, temporalNow } from './activity.js';
import { deepen } from './deepen.js';
import { pausableSignal } from './interrupt.js';
import { judge } from './judge.js';
import { chunkInputs, shardedInputs } from './keys.js';
import { logprob } from './logprob.js';
import { currentRun, findDone, isOwn, memoize, recorded } from './memoize.js';
import { sample } from './sample.js';
import type { ShardedKind } from './sharded-kind.js';
import { findAs } from './suspects.js';
import { textsOf } from './texts.js';

const KINDS: { [Kind in ShardedStep['step']]: ShardedKind<Extract<ShardedStep, { step: Kind }>> } = {
  sample,
  logprob,
  judge,
  deepen,
};
const kindOf = (step: ShardedStep) => KINDS[step.step] as ShardedKind<ShardedStep>;

export const srlmOpenStep = (deps: Deps) =>
  activity('open', ShardedStep, async (step): Promise<OpenedStep> => {
    const { store } = deps;
    const { recipe } = await recipeOf(deps, step);
    const data = kindOf(step).data(step);
    const stored = await store.objects.putJson(step);
    const done = await findDone(store, step.step, shardedInputs(recipe, data), Assembled);
    return { step: stored, rows: data[0].rows, chunks: data[0].chunks, done };
  });

/**
 * Works on the chunks of one shard, in order. Paused, with its share of the budget used up, or on a worker that is stopped,
 * it stops after the current chunk and says that there is more; cancelled, it stops at once.
 */
export const srlmShard = (deps: Deps) =>
  activity(
    'shard',
    ShardInput,
    async ({ step: ref, from, to, share, countedUntil, suspects }, progress): Promise<ShardOutput> => {
      const { store } = deps;
      const step = await store.objects.readJson(ref, ShardedStep);
      const kind = kindOf(step);
      const [{ chunks: last }] = kind.data(step);
      if (to > last) throw inputInvalid('shard', `to: expected at most ${last}, found ${to}`);
      const { recipe, texts, engine } = await recipeOf(deps, step);
      const recipeSha256 = sha256(canonical(recipe));
      const columns = await Promise.all(kind.data(step).map((dataset) => store.datasets.chunks(dataset, from, to)));
      const rows = columns[0]!.map((_, i) => columns.map((column) => column[i]!));
      const out: ShardOutput = {
        rows: 0,
        chunksReused: 0,
        chunksDone: 0,
        complete: true,
        usage: NO_USAGE,
        countedUntil,
      };
      const count = ({ meta }: StepRecord) => {
        out.usage = addUsage(out.usage, meta.usage ?? NO_USAGE);
        out.countedUntil = Math.max(out.countedUntil, Date.parse(meta.endedAt) + 1);
      };
      const total = columns[0]!.reduce((sum, chunk) => sum + chunk.rows, 0);
      progress.expect(total, step.step);
      progress.quietMs = () => engine.quietMs;
      const run = currentRun();
      const find = store.records.find.bind(store.records);
      const todo: (readonly ObjectRef[])[] = [];
      for (const chunks of rows) {
        const inputs = chunkInputs(recipeSha256, chunks);
        const found = await findAs(find, chunkStep(step), inputs, run, mayHave(engine, suspects));
        if (!found) {
          todo.push(chunks);
          continue;
        }
        out.chunksReused++;
        out.rows += chunks[0]!.rows;
        // Made by an attempt that died, or failed at a later chunk, before it could report its cost.
        if (isOwn(found, countedUntil)) count(found);
        progress.add(chunks[0]!.rows, true);
      }
      // A shard that is whole needs no engine, and must not evict the model that another run has loaded.
      if (todo.length === 0) return out;
      const model = engine.capabilities.loadsWeights ? step.model : null;
      const { draining } = deps;
      const stop = pausableSignal(draining);
      const work = engine.withClient(model, step.deterministic, stop.signal, async (client) => {
        for (const chunks of todo) {
          // One chunk at least, so that a run with little left still makes progress.
          if (stop.ending || (out.chunksDone > 0 && share && shareUsedUp(share, out.usage, temporalNow()))) {
            out.complete = false;
            return;
          }
          stop.busy = true;
          const record = await recorded(store, chunkStep(step), chunkInputs(recipeSha256, chunks), async () => {
            const cost: RequestCost = noCost();
            const tools = { store, client, signal: stop.signal, cost, onRow: () => progress.add(1) };
            const { rows, counts } = await kind.work(step, texts, chunks, tools);
            if (cost.estimated) out.estimated = true;
            const made = await store.objects.putRows(rows);
            const alone = hasSuspects(counts) ? mayHave(engine, suspects) : null;
            return { holds: [{ kind: 'rows', ref: made }], output: counts, usage: usageOf(kind, cost, engine), alone };
          });
          stop.busy = false;
          out.chunksDone++;
          out.rows += chunks[0]!.rows;
          count(record);
        }
      });
      await work.finally(stop.end).catch((error) => {
        // It had not begun to work.
        if (error !== draining.reason) throw error;
        out.complete = false;
      });
      return out;
    },
  );

/** All chunks of a finished step as one dataset, in the order of its input, and what they count. */
export const srlmAssemble = (deps: Deps) =>
  activity('assemble', AssembleInput, async ({ step: ref, suspects }, progress): Promise<StepDone<Assembled>> => {
    const { store } = deps;
    const step = await store.objects.readJson(ref, ShardedStep);
    const kind = kindOf(step);
    const { recipe, engine } = await recipeOf(deps, step);
    const recipeSha256 = sha256(canonical(recipe));
    const data = kind.data(step);
    progress.expect(data[0].rows, step.step);
    const inputs = shardedInputs(recipe, data);
    const done = await findDone(store, step.step, inputs, Assembled);
    if (done) return done;
    const columns = await Promise.all(data.map((dataset) => store.datasets.chunks(dataset)));
    // What a record holds was there when its shard ended: to look at each file again would take as long.
    const read = store.records.read.bind(store.records);
    const made: ObjectRef[] = [];
    const counts: ChunkCounts[] = [];
    for (const [i, chunk] of columns[0]!.entries()) {
      const chunks = columns.map((column) => column[i]!);
      const inputs = chunkInputs(recipeSha256, chunks);
      const record = await findAs(read, chunkStep(step), inputs, currentRun(), mayHave(engine, suspects));
      const [held] = record?.holds ?? [];
      if (held?.kind !== 'rows') throw artifactDamaged(`${chunkStep(step)} ${i}`, `its record is missing.`);
      made.push(held.ref);
      counts.push(ChunkCounts.parse(record?.output));
      progress.add(chunk.rows);
    }
    const dataset = await store.datasets.put(made);
    const output: Assembled = { dataset, counts: addCounts(counts) };
    // With suspects it is one run's alone, and holds what that run has found up to now.
    const alone = counts.some(hasSuspects) ? { ...inputs, made: dataset.sha256 } : null;
    return memoize(store, step.step, alone ?? inputs, Assembled, async () => ({
      holds: [{ kind: 'dataset', ref: dataset }],
      output,
    }));
  });

/** An engine with weights that a run has loaded sends what its model says: nothing is gained by asking it again. */
const mayHave = ({ capabilities }: Engine, suspects: Suspects): Suspects | null =>
  capabilities.loadsWeights ? null : suspects;

const hasSuspects = (counts: ChunkCounts): boolean => 'suspect' in counts && counts.suspect > 0;

const chunkStep = ({ step }: ShardedStep) => `${step}-chunk`;

async function recipeOf({ store, engines }: Deps, step: ShardedStep) {
  const engine = engines.engine(step.engine);
  for (const capability of kindOf(step).needs(step)) requireCapability(engine, capability, `step ${step.step}`);
  const texts = await textsOf(store, step.texts);
  return { engine, texts, recipe: kindOf(step).recipe(step, texts, engine) };
}

function usageOf(kind: ShardedKind<ShardedStep>, cost: RequestCost, engine: Engine): Usage {
  const { promptTokens, completionTokens, gpuSeconds } = cost;
  const money = engine.money(promptTokens, completionTokens);
  return { ...NO_USAGE, tokens: kind.tokens(cost), gpuSeconds, money };
}
