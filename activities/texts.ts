/**
 * The texts of a run's spec, and what its client has found of the evaluation sets. Only a client can bring them back:
 * where they are damaged, the run parks until somebody starts the same spec again, which stores them again. Throws
 * data.damaged.
 */
import type { z } from 'zod';
import { Problem, uploadDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { EvaluationSets, type LeftOut } from '../contracts/set-steps.js';
import { SpecTexts } from '../contracts/spec.js';
import type { Store } from '../storage/store.js';

export const textsOf = (store: Store, ref: ObjectRef): Promise<SpecTexts> => fromClient(store, ref, SpecTexts);

export const setsOf = (store: Store, ref: ObjectRef): Promise<EvaluationSets> => fromClient(store, ref, EvaluationSets);

/** Ids of the questions that do not count. */
export async function leftOutOf(store: Store, where: LeftOut | undefined): Promise<ReadonlySet<string>> {
  if (!where) return new Set();
  const { leftOut } = await setsOf(store, where.sets);
  return new Set(leftOut[where.set ?? '']);
}

async function fromClient<T>({ objects }: Store, ref: ObjectRef, schema: z.ZodType<T>): Promise<T> {
  try {
    return await objects.readJson(ref, schema);
  } catch (error) {
    if (error instanceof Problem && error.type === 'artifact.damaged') throw uploadDamaged('spec', ref.sha256);
    throw error;
  }
}
