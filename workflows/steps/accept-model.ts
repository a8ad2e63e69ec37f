/**
 * `retry --accept-model`: the starting model, whose folder is no longer what the run began with, is taken as it is now.
 * What was made with the old one stays. Throws what srlmPrepareModel throws; the step then parks again.
 */
import type { RunInput } from '../../contracts/run.js';
import type { RunControl } from '../control/control.js';
import { gpu } from './proxies.js';

/** How much of a digest is shown. */
const SHOWN = 12;

export async function acceptModel(run: RunControl, texts: RunInput['texts'], step: string): Promise<void> {
  const { prepared, head } = run.state;
  if (!run.acceptsModel || !prepared) return;
  const actor = run.acceptsModel;
  run.acceptsModel = null;
  const before = prepared.model.sha256;
  const model = await gpu(run.config, 'prepare').srlmPrepareModel({ texts });
  if (head?.model.sha256 === before) head.model = model;
  prepared.model = model;
  const why = `the model ${before.slice(0, SHOWN)} is now ${model.sha256.slice(0, SHOWN)}`;
  run.intervened('decision', { who: actor.who, why }, step);
}
