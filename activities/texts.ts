/**
 * The texts of a run's spec. Only a client can bring them back: where they are damaged, the run parks until somebody
 * starts the same spec again, which stores them again. Throws data.damaged.
 */
import { Problem, uploadDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { SpecTexts } from '../contracts/spec.js';
import type { Store } from '../storage/store.js';

export async function textsOf({ objects }: Store, ref: ObjectRef): Promise<SpecTexts> {
  try {
    return await objects.readJson(ref, SpecTexts);
  } catch (error) {
    if (error instanceof Problem && error.type === 'artifact.damaged') throw uploadDamaged('spec', ref.sha256);
    throw error;
  }
}
