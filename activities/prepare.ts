/** The starting model: found below the model roots, checked, told by its digest from here on. */
import { realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { Model } from '../contracts/artifacts.js';
import type { Deployment } from '../contracts/deployment.js';
import { modelOutsideRoots, modelUnusable } from '../contracts/errors.js';
import { PrepareModelInput } from '../contracts/steps.js';
import { checkModelFolder, modelDigest } from '../storage/model-folder.js';
import { activity, type Deps, metered } from './activity.js';

export const srlmPrepareModel = ({ deployment }: Deps) =>
  activity('prepareModel', PrepareModelInput, ({ path }) =>
    metered('prepare', 'files', 0, async () => {
      const folder = await resolveModel(path, deployment);
      const { sha256, bytes } = await modelDigest(folder);
      return Model.parse({ sha256, bytes, path: folder });
    }),
  );

/** The real path of a usable model folder. Throws model.outside-roots, model.unusable. */
export async function resolveModel(
  path: string,
  deployment: Pick<Deployment, 'modelRoots' | 'artifactRoot'>,
): Promise<string> {
  // Links are followed before the roots are compared: a link in a root must not lead out of it.
  const roots = [...deployment.modelRoots, `${deployment.artifactRoot}/models`].map((root) => resolve(root));
  const reals = await Promise.all(roots.map((root) => realpath(root).catch(() => root)));
  const tries = [resolve(path), ...roots.map((root) => resolve(root, path))];
  for (const candidate of tries) {
    const real = await realpath(candidate).catch(() => null);
    if (!real) continue;
    if (!reals.some((root) => real.startsWith(root + sep))) throw modelOutsideRoots(path, deployment.modelRoots);
    await checkModelFolder(real);
    return real;
  }
  throw modelUnusable(path, 'there is no such model folder.');
}
