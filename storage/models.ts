/**
 * Model folders: the ones that the store owns, models/<sha256>/, and the ones below the deployment's model roots.
 * A ModelRef names the second kind by a path relative to a root, so that each host may mount its roots elsewhere;
 * the digest, which is checked before every use, decides whether the folder found is the one that was meant.
 * `confine` is the only way from a path to a folder: it follows all links and then demands that the result is below a
 * root. The store never moves or changes a folder of a root. A folder of its own is quarantined if its content does not
 * have the digest in its name, and for no other reason.
 */
import { realpath, rename } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import {
  artifactDamaged,
  modelChanged,
  modelMissing,
  modelOutsideRoots,
  modelUnusable,
  type Problem,
} from '../contracts/errors.js';
import { ModelPath, ModelRef, Sha256 } from '../contracts/refs.js';
import { codeOf, makeFolder, nullIfMissing, syncFolder } from './files.js';
import { asidePath } from './folder-bucket.js';
import { checkModelFolder, folderDigest, folderState } from './model-folder.js';
import { hubName, modelsBelow } from './model-names.js';
import { checkDigest } from './objects.js';

interface Weights {
  sha256: string;
  bytes: number;
  state: string;
}

export class Models {
  /** Absolute: the model roots in their order, then the store's own folder. */
  private readonly roots: readonly string[];
  private readonly own: string;
  /** By folder. Holds promises: shards that ask together read once. */
  private readonly digests = new Map<string, { state: string; sha256: Promise<string> }>();

  constructor(
    private readonly artifactRoot: string,
    private readonly modelRoots: readonly string[],
  ) {
    this.own = join(artifactRoot, 'models');
    this.roots = [...modelRoots.map((root) => resolve(root)), this.own];
  }

  /**
   * The model that a user means by a path, absolute, relative to the working directory, or relative to a root. Checks
   * the folder and reads its weights. Throws model.outside-roots, model.unusable.
   */
  async prepare(path: string): Promise<ModelRef> {
    const { folder, root, place } = await this.locate(path);
    const found = await this.weights(folder);
    if (!found) throw modelUnusable(path, 'there is no such model folder.');
    const { sha256, bytes } = found;
    if (root !== this.own || !Sha256.safeParse(place).success) return ModelRef.parse({ sha256, bytes, path: place });
    if (place === sha256) return { sha256, bytes, path: null };
    throw modelUnusable(folder, 'its files are not the ones that were trained.', 'Use another model.');
  }

  /** As `prepare`, without reading the weights. */
  async inspect(path: string): Promise<{ folder: string; bytes: number }> {
    const { folder } = await this.locate(path);
    return { folder, bytes: (await folderState(folder))?.bytes ?? 0 };
  }

  private async locate(path: string): Promise<Confined> {
    const { found, outside } = await this.confine([resolve(path), ...this.roots.map((root) => resolve(root, path))]);
    const [first] = found;
    if (!first) throw outside ? modelOutsideRoots(path, this.modelRoots) : await this.missing(path);
    await checkModelFolder(first.folder);
    if (ModelPath.safeParse(first.place).success) return first;
    throw modelUnusable(
      first.folder,
      'its path below the model root is longer than 200 characters or has a part that begins with a dot.',
      'Move or rename it, or add its parent to modelRoots in temporal.config.ts.',
    );
  }

  private async missing(path: string): Promise<Problem> {
    const hub = hubName(path);
    const models = await modelsBelow(this.modelRoots);
    const [root = '.'] = this.modelRoots;
    return modelMissing(path, this.modelRoots, models, hub?.repository, hub ? join(root, hub.name) : '');
  }

  /** The real folders that these paths lead to. `outside`: a path leads to something that is below no root. */
  private async confine(paths: readonly string[]): Promise<{ found: Confined[]; outside: boolean }> {
    // The store's own folder comes first, since a model root may contain it.
    const roots = [this.own, ...this.modelRoots];
    const realRoots = await Promise.all(roots.map((root) => realpath(root).catch(() => resolve(root))));
    const found: Confined[] = [];
    let outside = false;
    for (const path of paths) {
      const folder = await realpath(path).catch(() => null);
      if (folder === null) continue;
      const places = realRoots.flatMap((realRoot, i) => {
        const below = relative(realRoot, folder);
        if (below === '' || below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below)) return [];
        return [{ folder, root: roots[i]!, place: below.split(sep).join('/') }];
      });
      const best = places.find(({ place }) => ModelPath.safeParse(place).success) ?? places[0];
      if (best) found.push(best);
      else outside = true;
    }
    return { found, outside };
  }

  /**
   * This host's folder of a model, its digest checked (once for each state of its files). Throws artifact.damaged for
   * a model of the store, and model.changed or model.outside-roots for one below a model root.
   */
  async local(ref: ModelRef): Promise<string> {
    if (ref.path !== null) return this.localBelowRoots(ref, ref.path);
    const folder = this.folderOf(ref.sha256);
    const name = `models/${ref.sha256}`;
    const found = await this.weights(folder);
    if (!found) throw artifactDamaged(name, 'the model folder is gone.');
    if (found.sha256 !== ref.sha256) {
      // A reader that may not write still reports the damage.
      await this.quarantine(folder, found.state).catch(() => {});
      throw artifactDamaged(name, 'its weights are not those that were trained.');
    }
    if (found.bytes !== ref.bytes)
      throw artifactDamaged(name, `the reference says ${ref.bytes} bytes, the folder has ${found.bytes}.`);
    return folder;
  }

  private async localBelowRoots(ref: ModelRef, path: string): Promise<string> {
    const { found, outside } = await this.below(path);
    for (const { folder } of found) {
      const weights = await this.weights(folder);
      if (weights?.sha256 === ref.sha256 && weights.bytes === ref.bytes) return folder;
    }
    if (outside && found.length === 0) throw modelOutsideRoots(path, this.modelRoots);
    // What the store does not own, it cannot make again: the run parks until the folder is as it was.
    throw modelChanged(found[0]?.folder ?? path, ref.sha256);
  }

  /** Present with the right size: what can be known without reading it. */
  async has(ref: ModelRef): Promise<boolean> {
    const folders =
      ref.path === null ? [this.folderOf(ref.sha256)] : (await this.below(ref.path)).found.map(({ folder }) => folder);
    for (const folder of folders) if ((await folderState(folder))?.bytes === ref.bytes) return true;
    return false;
  }

  /** What a reference's path may mean: one folder below each root at most. */
  private async below(path: string): Promise<{ found: Confined[]; outside: boolean }> {
    if (!ModelPath.safeParse(path).success) return { found: [], outside: true };
    return this.confine(this.roots.map((root) => join(root, path)));
  }

  /** null: the store does not own it, or it is damaged. */
  async find(sha256: string): Promise<ModelRef | null> {
    const found = await this.weights(this.folderOf(sha256));
    return found?.sha256 === sha256 ? { sha256, bytes: found.bytes, path: null } : null;
  }

  /**
   * Takes a finished folder over by rename, so it must be on this root's file system. `sha256` and `bytes` are what its
   * trainer has written, which may be a while ago. If the store has the model already, the folder stays where it is.
   * Throws artifact.damaged if the folder holds something else; a retry then trains again.
   */
  async adopt(folder: string, { sha256, bytes }: { sha256: string; bytes: number }): Promise<ModelRef> {
    const target = this.folderOf(sha256);
    await makeFolder(this.own);
    const brought = await this.weights(folder);
    // Another attempt may have moved the folder away while it was looked at: then its state is another one by now.
    const isOther = brought && (brought.sha256 !== sha256 || brought.bytes !== bytes);
    if (isOther && (await folderState(folder))?.state === brought.state) {
      await this.quarantine(folder, brought.state);
      throw artifactDamaged(`models/${sha256}`, 'it is not what its trainer has written.');
    }
    for (;;) {
      // Rename first: it never replaces a folder with files in it. Of two attempts of one step (a worker that was
      // frozen, and the one that took over) neither can then move away what the other has just brought.
      try {
        await rename(folder, target);
        break;
      } catch (error) {
        const found = await this.weights(target);
        if (found?.sha256 === sha256) return { sha256, bytes: found.bytes, path: null };
        if (!['ENOTEMPTY', 'EEXIST'].includes(codeOf(error) ?? '')) throw error;
        // If the folder is gone by now, another attempt has moved it, and this one tries again.
        if (found) await this.quarantine(target, found.state);
      }
    }
    await syncFolder(this.own);
    // A rename changes none of what a state is made of.
    if (brought) this.digests.set(target, { state: brought.state, sha256: Promise.resolve(sha256) });
    return { sha256, bytes, path: null };
  }

  private folderOf(sha256: string): string {
    return join(this.own, checkDigest(sha256));
  }

  /** Reads the weights, unless their digest in their present state is known. null: there is no such folder. */
  private async weights(folder: string): Promise<Weights | null> {
    const now = await folderState(folder);
    if (!now) return null;
    const { state, bytes } = now;
    let known = this.digests.get(folder);
    if (known?.state !== state) {
      known = { state, sha256: folderDigest(folder, now.files) };
      this.digests.set(folder, known);
    }
    try {
      return { sha256: await known.sha256, bytes, state };
    } catch (error) {
      if (this.digests.get(folder) === known) this.digests.delete(folder);
      // Another process has moved the folder away while it was read.
      return nullIfMissing(error);
    }
  }

  /** Moves a folder to damaged/, if its files are still in the state in which they were found to be damaged. */
  private async quarantine(folder: string, state: string): Promise<void> {
    if ((await folderState(folder))?.state !== state) return;
    const aside = await asidePath(this.artifactRoot, basename(folder));
    if ((await rename(folder, aside).catch(nullIfMissing)) === null) return;
    // Another attempt may have replaced the folder between the check and the rename: what it brought goes back.
    if ((await folderState(aside))?.state !== state) await rename(aside, folder).catch(() => {});
    await syncFolder(dirname(folder));
  }
}

interface Confined {
  /** Without links. */
  folder: string;
  root: string;
  /** Relative to `root`, with "/" between its parts. */
  place: string;
}
