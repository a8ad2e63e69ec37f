/**
 * The artifact store of a deployment, safe with many processes at once:
 *   objects/ab/<sha256>.<ending>   immutable objects (objects.ts, datasets.ts)
 *   steps/<step>/ab/<key>.json     records of finished steps (records.ts)
 *   models/<sha256>/               trained models (models.ts)
 *   jobs/<key>/                    folders of trainings
 *   damaged/                       what was found damaged
 *   tmp/                           what is being written
 * Objects and records are in a bucket, which may one day be an object service: another Bucket, chosen in `openStore`.
 * Models and jobs are folders of this host.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Deployment } from '../contracts/deployment.js';
import { rootNotWritable, storageFull } from '../contracts/errors.js';
import { Sha256 } from '../contracts/refs.js';
import type { Bucket } from './bucket.js';
import { Datasets } from './datasets.js';
import { isFull, OWNER_ONLY, refusalCode, sweep, temporaryName } from './files.js';
import { FolderBucket } from './folder-bucket.js';
import { Models } from './models.js';
import { Objects } from './objects.js';
import { Records } from './records.js';

export interface Store {
  /** Absolute. */
  readonly root: string;
  /** The name of this host, for records. */
  readonly host: string;
  readonly objects: Objects;
  readonly datasets: Datasets;
  readonly records: Records;
  readonly models: Models;
  /** Named by the key of the training's step, so that a later attempt finds its folder, which may not exist yet. */
  readonly jobs: { root: string; folder(key: string): string };
  /** On the file system of `root`. */
  freeBytes(): Promise<number>;
}

type Place = Pick<Deployment, 'artifactRoot' | 'modelRoots'> & Partial<Pick<Deployment, 'host'>>;

/** To write to: creates the folder where needed. Throws storage.not-writable, storage.full. */
export function openStore(place: Place): Store {
  const root = resolve(place.artifactRoot);
  const tmp = tmpOf(root);
  makeWritable(root, tmp);
  sweep(tmp);
  return readableStore(place);
}

/** To read from: makes and removes nothing, so it may be on a full disk, or one that this user or host may only read. */
export function readableStore({ artifactRoot, modelRoots, host = hostname() }: Place): Store {
  const root = resolve(artifactRoot);
  const bucket: Bucket = new FolderBucket(root, tmpOf(root));
  const objects = new Objects(bucket);
  const datasets = new Datasets(objects);
  const models = new Models(root, modelRoots);
  const jobs = join(root, 'jobs');
  return {
    root,
    host,
    objects,
    datasets,
    records: new Records(bucket, objects, datasets, models),
    models,
    jobs: { root: jobs, folder: (key) => join(jobs, Sha256.parse(key)) },
    async freeBytes() {
      const { bavail, bsize } = await statfs(root);
      return bavail * bsize;
    },
  };
}

const tmpOf = (root: string) => join(root, 'tmp');

function makeWritable(root: string, tmp: string): void {
  const probe = join(tmp, temporaryName());
  try {
    mkdirSync(tmp, { recursive: true, mode: OWNER_ONLY });
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (error) {
    const code = refusalCode(error);
    throw isFull(code) ? storageFull(root) : rootNotWritable(root, code ?? String(error));
  }
}
