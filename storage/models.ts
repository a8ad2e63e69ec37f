/**
 * Model folders: the ones that the store owns, models/<sha256>/, and the ones below the deployment's model roots.
 * A ModelRef names the second kind by a path relative to a root, so that each host may mount its roots elsewhere;
 * the digest, which is checked before every use, decides whether the folder found is the one that was meant.
 *
 * Confinement: `confine` is the only way from a path to a folder. It follows all links and then demands that the
 * result is below a root. The store never moves or changes a folder of a root. Its own folder is quarantined if its
 * content does not have the digest in its name, and for no other reason.
 */
import { realpath, rename } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { artifactDamaged, modelChanged, modelOutsideRoots, modelUnusable } from '../contracts/errors.js';
import { ModelPath, ModelRef, Sha256 } from '../contracts/refs.js';
import { codeOf, makeFolder, nullIfMissing, syncFolder } from './files.js';
import { asidePath } from './folder-bucket.js';
import { checkModelFolder, type FolderState, folderDigest, folderState } from './model-folder.js';
import { checkDigest } from './objects.js';

interface Weights {
  sha256: string;
  bytes: number;
  state: string;
}

export class Models {
  /** Absolute: the model roots in their order, then the store's own folder. */
  readonly roots: readonly string[];
  private readonly own: string;
  /** By folder, the digest of its files in one state. Holds promises: shards that ask together read once. */
  private readonly digests = new Map<string, { state: string; sha256: Promise<string> }>();

  constructor(
    private readonly artifactRoot: string,
    private readonly modelRoots: readonly string[],
  ) {
    this.own = join(artifactRoot, 'models');
    this.roots = [...modelRoots.map((root) => resolve(root)), this.own];
  }

  // --- from a user's path -------------------------------------------------------------------------------------------

  /**
   * The model that a user means by a path, absolute, relative to the working directory, or relative to a root. Checks
   * the folder and reads its weights. Throws model.outside-roots, model.unusable.
   */
  async prepare(path: string): Promise<ModelRef> {
    const { folder, place } = await this.locate(path);
    const found = await this.weights(folder);
    if (!found) throw modelUnusable(path, 'there is no such model folder.');
    const { sha256, bytes } = found;
    if (place.root !== this.own || !Sha256.safeParse(place.path).success)
      return ModelRef.parse({ sha256, bytes, path: place.path });
    if (place.path === sha256) return { sha256, bytes, path: null };
    throw modelUnusable(folder, 'its files are not the ones that were trained.', 'Use another model.');
  }

  /** As `prepare`, without reading the weights. */
  async inspect(path: string): Promise<{ folder: string; bytes: number }> {
    const { folder } = await this.locate(path);
    return { folder, bytes: (await folderState(folder))?.bytes ?? 0 };
  }

  private async locate(path: string): Promise<Confined> {
    let outside = false;
    for (const candidate of [resolve(path), ...this.roots.map((root) => resolve(root, path))]) {
      const found = await this.confine(candidate);
      if (found === 'outside') outside = true;
      if (found === null || found === 'outside') continue;
      await checkModelFolder(found.folder);
      if (ModelPath.safeParse(found.place.path).success) return found;
      throw modelUnusable(
        found.folder,
        'its path below the model root is longer than 200 characters or has a part that begins with a dot.',
        'Move or rename it, or add its parent to modelRoots in temporal.config.ts.',
      );
    }
    throw outside ? modelOutsideRoots(path, this.modelRoots) : modelUnusable(path, 'there is no such model folder.');
  }

  /** Follows the links of a path, and finds the root that the result is below. null: nothing is there. */
  private async confine(path: string): Promise<Confined | 'outside' | null> {
    const folder = await realpath(path).catch(() => null);
    if (folder === null) return null;
    let best: Confined | null = null;
    // The store's own folder comes first, since a model root may contain it.
    for (const root of [this.own, ...this.roots]) {
      const below = relative(await realpath(root).catch(() => root), folder);
      if (below === '' || below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below)) continue;
      const place = { root, path: below.split(sep).join('/') };
      if (ModelPath.safeParse(place.path).success) return { folder, place };
      best ??= { folder, place };
    }
    return best ?? 'outside';
  }

  // --- from a reference ---------------------------------------------------------------------------------------------

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
    const { folders, outside } = await this.below(path);
    for (const folder of folders) {
      const found = await this.weights(folder);
      if (found?.sha256 === ref.sha256 && found.bytes === ref.bytes) return folder;
    }
    if (outside && folders.length === 0) throw modelOutsideRoots(path, this.modelRoots);
    // What the store does not own, it cannot make again: the run parks until the folder is as it was.
    throw modelChanged(folders[0] ?? path, ref.sha256);
  }

  /** Present with the right size: what can be known without reading it. */
  async has(ref: ModelRef): Promise<boolean> {
    const folders = ref.path === null ? [this.folderOf(ref.sha256)] : (await this.below(ref.path)).folders;
    for (const folder of folders) if ((await folderState(folder))?.bytes === ref.bytes) return true;
    return false;
  }

  /** The folders that a reference's path may mean: one below each root at most. */
  private async below(path: string): Promise<{ folders: string[]; outside: boolean }> {
    if (!ModelPath.safeParse(path).success) return { folders: [], outside: true };
    const found = await Promise.all(this.roots.map((root) => this.confine(join(root, path))));
    const folders = found.flatMap((one) => (one === null || one === 'outside' ? [] : [one.folder]));
    return { folders, outside: found.includes('outside') };
  }

  // --- the store's own ----------------------------------------------------------------------------------------------

  /** The model with this digest, if the store owns it and it is intact. */
  async find(sha256: string): Promise<ModelRef | null> {
    const found = await this.weights(this.folderOf(sha256));
    return found?.sha256 === sha256 ? { sha256, bytes: found.bytes, path: null } : null;
  }

  /**
   * Takes a finished folder over by rename, so it must be on this root's file system. The trainer has just computed
   * `sha256` and `bytes` of it, so the weights are not read again unless their size is another one. If the store has
   * the model already, the folder stays where it is. Throws artifact.damaged if the folder is not what it should be.
   */
  async adopt(folder: string, { sha256, bytes }: { sha256: string; bytes: number }): Promise<ModelRef> {
    const target = this.folderOf(sha256);
    await makeFolder(this.own);
    const brought = await folderState(folder);
    if (brought && brought.bytes !== bytes) await this.reject(folder, sha256);
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
    return { sha256, bytes: brought?.bytes ?? bytes, path: null };
  }

  /** Moves a folder that is not what its trainer said out of the way, so that a retry trains again. */
  private async reject(folder: string, sha256: string): Promise<void> {
    const found = await this.weights(folder);
    if (!found || found.sha256 === sha256) return;
    await this.quarantine(folder, found.state);
    throw artifactDamaged(`models/${sha256}`, 'its weights are not those that were trained.');
  }

  private folderOf(sha256: string): string {
    return join(this.own, checkDigest(sha256));
  }

  /** Reads the weights, unless their digest in their present state is known. null: there is no such folder. */
  private async weights(folder: string): Promise<Weights | null> {
    const now: FolderState | null = await folderState(folder);
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

/** A real folder, and where it is: `path` is relative to `root`, with "/" between its parts. */
interface Confined {
  folder: string;
  place: { root: string; path: string };
}
