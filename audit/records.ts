/**
 * The step records behind a history: which key each activity worked under, and what the store has there. Reads only;
 * a record that is gone is no error (the store may have been tidied), it is just not told of.
 */
import { readFile } from 'node:fs/promises';
import pLimit from 'p-limit';
import type { z } from 'zod';
import { type Dataset, StepRecord } from '../contracts/artifacts.js';
import type { Deployment } from '../contracts/deployment.js';
import { Prompts } from '../contracts/spec.js';
import {
  FineTuneInput,
  GradeInput,
  IngestInput,
  MixInput,
  RationalizedInput,
  SelectInput,
  Shard,
  Sharded,
} from '../contracts/steps.js';
import {
  chunkInputs,
  fineTuneInputs,
  gradeInputs,
  ingestInputs,
  mixInputs,
  rowsInputs,
  selectInputs,
  shardedInputs,
} from '../storage/keys.js';
import { type ArtifactStore, stepKey } from '../storage/store.js';
import { type Payloads, type Recorded, value } from './events.js';

type Engines = Deployment['engines'];

export interface StepRef {
  step: string;
  key: string;
}

/** The record an activity looks for before it works; null for one that keeps none, or of another version. */
export function recordOf(activity: string, input: unknown, engines: Engines): StepRef | null {
  const as = <T>(step: string, schema: z.ZodType<T>, inputs: (input: T) => unknown): StepRef | null => {
    const parsed = schema.safeParse(input);
    return parsed.success ? { step, key: stepKey(step, inputs(parsed.data)) } : null;
  };
  switch (activity) {
    case 'srlmIngest':
      return as('ingest', IngestInput, ingestInputs);
    case 'srlmRows':
      return as('rows', RationalizedInput, rowsInputs);
    case 'srlmSelect':
      return as('select', SelectInput, selectInputs);
    case 'srlmMix':
      return as('mix', MixInput, mixInputs);
    case 'srlmFineTune':
      return as('fineTune', FineTuneInput, fineTuneInputs);
    case 'srlmGrade':
      return as('grade', GradeInput.extend({ prompts: Prompts }), gradeInputs);
    default: {
      const of = shardedOf(activity, input);
      return of && { step: of.step, key: stepKey(of.step, shardedInputs(of, engines)) };
    }
  }
}

/** The sharded step an activity works for. */
export function shardedOf(activity: string, input: unknown): Sharded | null {
  if (activity === 'srlmShard') return Shard.safeParse(input).data?.of ?? null;
  if (activity === 'srlmOpenStep' || activity === 'srlmSealStep') return Sharded.safeParse(input).data ?? null;
  return null;
}

/** Keys of a sharded step's chunks; none where the list of its chunks is gone. */
async function chunkRefs(store: ArtifactStore, of: Sharded, engines: Engines): Promise<StepRef[]> {
  const list = (data: Dataset) => store.chunksOf(data).catch(() => []);
  const chunks = await list(of.input.data);
  const partners = of.step === 'score' ? await list(of.input.candidates) : [];
  const step = `${of.step}-chunk`;
  return chunks.map((chunk, i) => ({ step, key: stepKey(step, chunkInputs(of, chunk, partners[i], engines)) }));
}

/** What the store has of the steps in some histories. */
export class Records {
  private readonly found = new Map<string, StepRecord>();
  private readonly chunks = new Map<string, StepRef[]>();

  constructor(private readonly engines: Engines) {}

  /** `chunks`: those of a sharded step too: of every one, or only where the history says that some were found. */
  static async read(
    store: ArtifactStore,
    engines: Engines,
    histories: readonly Recorded[],
    chunks: 'all' | 'where some were found',
  ): Promise<Records> {
    const records = new Records(engines);
    const refs = new Map<string, StepRef>();
    const sharded = new Map<string, Sharded>();
    for (const { history } of histories) {
      const shards = new Map<string, unknown>();
      for (const { eventId, activityTaskScheduledEventAttributes: made, ...event } of history.events) {
        if (made?.activityType.name === 'srlmShard') {
          // There may be hundreds; what they work for is told by the opening of their step.
          shards.set(eventId, made.input);
        } else if (made) {
          const input = value(made.input);
          const ref = recordOf(made.activityType.name, input, engines);
          if (!ref) continue;
          refs.set(idOf(ref), ref);
          const of = chunks === 'all' ? shardedOf(made.activityType.name, input) : null;
          if (of) sharded.set(idOf(ref), of);
        }
        const done = event.activityTaskCompletedEventAttributes;
        if (!done || !shards.has(done.scheduledEventId)) continue;
        if (((value(done.result) as { chunksReused?: number } | undefined)?.chunksReused ?? 0) === 0) continue;
        const of = shardedOf('srlmShard', value(shards.get(done.scheduledEventId) as Payloads));
        if (of) sharded.set(idOf({ step: of.step, key: stepKey(of.step, shardedInputs(of, engines)) }), of);
      }
    }
    const limit = pLimit(16);
    for (const [id, of] of sharded) {
      const list = await chunkRefs(store, of, engines);
      records.chunks.set(id, list);
      for (const ref of list) refs.set(idOf(ref), ref);
    }
    await Promise.all([...refs.values()].map((ref) => limit(() => records.load(store, ref))));
    return records;
  }

  private async load(store: ArtifactStore, ref: StepRef): Promise<void> {
    const text = await readFile(store.recordPath(ref.step, ref.key), 'utf8').catch(() => null);
    if (text === null) return;
    try {
      this.found.set(idOf(ref), StepRecord.parse(JSON.parse(text)));
    } catch {
      // A torn record is no record.
    }
  }

  all(): StepRecord[] {
    return [...this.found.values()];
  }

  of(activity: string, input: unknown): StepRecord | null {
    const ref = recordOf(activity, input, this.engines);
    return (ref && this.found.get(idOf(ref))) ?? null;
  }

  /** Of a sharded step's chunks, those that were read. */
  chunksOf(activity: string, input: unknown): StepRecord[] {
    const ref = recordOf(activity, input, this.engines);
    const refs = (ref && this.chunks.get(idOf(ref))) ?? [];
    return refs.flatMap((one) => this.found.get(idOf(one)) ?? []);
  }
}

const idOf = ({ step, key }: StepRef) => `${step}/${key}`;
