/**
 * Folders of trainings, this host's own: jobs/<key>/, named by the key of the step that the training belongs to, so
 * that a later attempt finds the job again.
 */
import { join } from 'node:path';
import { Sha256 } from '../contracts/refs.js';

export class Jobs {
  readonly root: string;

  constructor(artifactRoot: string) {
    this.root = join(artifactRoot, 'jobs');
  }

  /** May not exist yet. */
  folder(key: string): string {
    return join(this.root, Sha256.parse(key));
  }
}
