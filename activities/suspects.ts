/**
 * Suspect texts: empty because an endpoint misbehaved, which it may not do again. They are the outcome of the run that
 * got them, which can end with them and shows them; no other run must find them, and this one asks again when it parked
 * because of them. So a record with suspects has a key of its own: the step's inputs and the id of the run.
 */
import type { RecordMeta, StepRecord, StoredRef } from '../contracts/refs.js';
import type { Suspects } from '../contracts/steps.js';
import { keyOf } from '../storage/records.js';
import type { Store } from '../storage/store.js';

const inputsOf = (inputs: unknown, run: string) => ({ of: inputs, suspectsOf: run });

/**
 * The record that a step, or a chunk of it, is done, as `run` sees it: anybody's, or one with suspects that is its own or
 * that of the run it was forked from. `find` looks up a key; `suspects` null: the engine has none.
 */
export async function findAs(
  find: (step: string, key: string) => Promise<StepRecord | null>,
  step: string,
  inputs: unknown,
  run: string,
  suspects: Suspects | null,
): Promise<StepRecord | null> {
  const found = await find(step, keyOf(step, inputs));
  if (found || !suspects) return found;
  const runs = suspects.forkOf === null ? [run] : [run, suspects.forkOf];
  for (const one of runs) {
    const own = await find(step, keyOf(step, inputsOf(inputs, one)));
    if (own && isNew(own, suspects)) return own;
  }
  return null;
}

/** Records a result with suspects. The first record since `suspects.since` wins. */
export async function recordAlone(
  store: Store,
  step: string,
  inputs: unknown,
  result: { holds: StoredRef[]; output: unknown; meta: RecordMeta },
  suspects: Suspects,
): Promise<StepRecord> {
  const own = inputsOf(inputs, result.meta.run);
  const known = await store.records.find(step, keyOf(step, own));
  if (known && isNew(known, suspects)) return known;
  return store.records.add(step, own, { ...result, voided: known?.sha256 });
}

const isNew = ({ meta }: StepRecord, { since }: Suspects) => Date.parse(meta.endedAt) >= since;
