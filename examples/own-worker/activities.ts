/** Your activities. */
import { openStore } from 'srlm';
import { Candidate, type DatasetRef } from 'srlm/contracts';
import { deployment } from './deployment.js';

const store = openStore({ artifactRoot: deployment.artifactRoot, modelRoots: [] });

/** Rows stay in the store; a workflow passes on a reference to them. */
export async function shareFinished(candidates: DatasetRef): Promise<number> {
  let finished = 0;
  for await (const { finish } of store.datasets.rows(candidates, Candidate)) if (finish === 'stop') finished++;
  return finished / candidates.rows;
}
