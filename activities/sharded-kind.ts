/** The seam between sharded.ts, which runs chunks, and the files that say what one kind of step does with a chunk. */
import type { DatasetRef, ObjectRef } from '../contracts/refs.js';
import type { SpecTexts } from '../contracts/spec.js';
import type { ChunkCounts, ShardedStep } from '../contracts/steps.js';
import type { EngineClient, RequestCost } from '../engines/client.js';
import type { Capabilities, Engine } from '../engines/engine.js';
import type { Store } from '../storage/store.js';

export interface ShardedKind<Step extends ShardedStep> {
  /** What the engine must be capable of. */
  needs(step: Step): readonly (keyof Capabilities)[];
  /** Everything that decides a chunk's result, its rows aside. */
  recipe(step: Step, texts: SpecTexts, engine: Engine): object;
  /** The datasets it reads, chunk by chunk. The first decides how many chunks there are. */
  data(step: Step): [DatasetRef, ...DatasetRef[]];
  /** The rows for one chunk, counted. `chunks`: one of each dataset. Reports each input row when it is done. */
  work(step: Step, texts: SpecTexts, chunks: readonly ObjectRef[], tools: ChunkTools): Promise<ChunkWork>;
  /** Tokens that count towards a budget. */
  tokens(cost: RequestCost): number;
}

export interface ChunkWork {
  rows: unknown[];
  counts: ChunkCounts;
}

export interface ChunkTools {
  store: Store;
  client: EngineClient;
  signal: AbortSignal;
  /** The client adds to it. */
  cost: RequestCost;
  onRow: () => void;
}

/** All, in order. When one fails the others end first, so that no request outlives its attempt; then the first throws. */
export async function settleAll<T>(work: Promise<T>[]): Promise<T[]> {
  const ended = await Promise.allSettled(work);
  const failed = ended.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
  return ended.map((one) => (one as PromiseFulfilledResult<T>).value);
}

/** What the engine answers with. One that has a model of its own ignores the run's. */
export const weightsOf = ({ model }: ShardedStep, engine: Engine): string =>
  engine.identity(engine.capabilities.loadsWeights ? model : null);
