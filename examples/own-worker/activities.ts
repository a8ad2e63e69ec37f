/** Your activities. */
import { ArtifactStore } from 'srlm';
import { Candidate, type Dataset } from 'srlm/contracts';
import { deployment } from './deployment.js';

/** Rows stay in the store; a workflow passes on only where they are. */
export async function shareFinished(candidates: Dataset): Promise<number> {
  let finished = 0;
  for await (const { finish } of ArtifactStore.open(deployment.artifactRoot).rowsOf(candidates, Candidate)) {
    if (finish === 'stop') finished++;
  }
  return finished / candidates.rows;
}
