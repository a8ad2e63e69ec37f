/**
 * A Hugging Face model folder: its digest, and whether it is usable. python/folder.py implements both again for the
 * programs that load the weights; test/fixtures/model-folders.json holds both implementations to one table.
 * A folder's files are all regular files below it. Files and folders whose names begin with a dot do not count. A link
 * counts as the file that it leads to, if that is below the folder itself, or below the blobs of the Hugging Face cache
 * that the folder is part of (models--X/snapshots/REV -> models--X/blobs). No other link is followed, since it may lead
 * to a private file of whoever runs this; the folder is then unusable. The digest is the SHA-256 of the lines `<sha256>  <path>\n`, one a file,
 * sorted by the bytes of the path.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { modelUnusable } from '../contracts/errors.js';
import { nullIfMissing, sha256, sha256File } from './files.js';

/** Equal states have equal digests, so that 100 GB are not read twice. */
interface FolderState {
  files: string[];
  /** The links that are not followed. */
  strays: string[];
  bytes: number;
  /** Path, size, time and inode of every file. */
  state: string;
}

/** null: there is no such folder. */
export async function folderState(folder: string): Promise<FolderState | null> {
  const insides = await realpath(folder).then(placesOfFiles).catch(nullIfMissing);
  const all = insides && (await entriesBelow(folder, '', insides));
  if (!all) return null;
  all.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  const found = all.filter((entry) => 'size' in entry);
  return {
    files: found.map(({ path }) => path),
    strays: all.filter((entry) => !('size' in entry)).map(({ path }) => path),
    bytes: found.reduce((sum, { size }) => sum + size, 0),
    state: found.map(({ path, size, mtimeMs, ino }) => `${path} ${size} ${mtimeMs} ${ino}`).join('\n'),
  };
}

/** Where the files of a folder may be, given its path without links. */
function placesOfFiles(real: string): string[] {
  const repository = dirname(dirname(real));
  const isSnapshot = basename(dirname(real)) === 'snapshots' && basename(repository).startsWith('models--');
  // `blobs` is not resolved: it may itself be a link to anywhere.
  return [real + sep, ...(isSnapshot ? [join(repository, 'blobs') + sep] : [])];
}

/** `files`: those of its state, if that is known. */
export async function folderDigest(folder: string, files?: readonly string[]): Promise<string> {
  let lines = '';
  for (const file of files ?? (await folderState(folder))?.files ?? [])
    lines += `${await sha256File(join(folder, file))}  ${file}\n`;
  return sha256(lines);
}

interface Found {
  path: string;
  size: number;
  mtimeMs: number;
  ino: number;
}

/** Files, and the paths of links that are not followed. */
async function entriesBelow(
  folder: string,
  prefix: string,
  insides: readonly string[],
): Promise<(Found | { path: string })[] | null> {
  const entries = await readdir(join(folder, prefix), { withFileTypes: true }).catch(nullIfMissing);
  const found: (Found | { path: string })[] = [];
  for (const entry of entries ?? []) {
    if (entry.name.startsWith('.')) continue;
    const path = prefix ? `${prefix}/${entry.name}` : entry.name;
    if (entry.isDirectory()) {
      found.push(...((await entriesBelow(folder, path, insides)) ?? []));
      continue;
    }
    const target = entry.isSymbolicLink() ? await realpath(join(folder, path)).catch(() => '') : null;
    const isInside = target === null || insides.some((inside) => target.startsWith(inside));
    const file = isInside ? await stat(join(folder, path)).catch(() => null) : null;
    if (file?.isFile()) found.push({ path, size: file.size, mtimeMs: file.mtimeMs, ino: file.ino });
    else if (target !== null) found.push({ path });
  }
  return entries && found;
}

/** What torch.load reads. Where there are safetensors beside them, nothing reads them. */
const PICKLE = /\.(bin|pt|pth|pkl|ckpt)$/i;
/** State of a trainer, not weights. */
const NO_WEIGHTS = /^(training_args\.bin|optimizer\.(bin|pt)|scheduler\.pt|scaler\.pt|rng_state(_\d+)?\.pth)$/;
/** The first line of what `git clone` leaves of a file where Git LFS is not installed. */
const LFS_POINTER = 'version https://git-lfs.github.com/spec/';
const MAX_POINTER_BYTES = 1024;

interface FolderProblem {
  problem:
    | 'folder'
    | 'link'
    | 'adapter'
    | 'lfs'
    | 'config'
    | 'pickle'
    | 'weights'
    | 'tokenizer'
    | 'tokenizer-config'
    | 'chat-template';
  reason: string;
  hint?: string;
}

/** `inner`: a folder in this one that looks like a model. */
function hintOf(inner: string | undefined, files: readonly string[]): { hint?: string } {
  if (inner !== undefined) return { hint: `Name the folder in it that does: ${inner}.` };
  const gguf = files.find((file) => /\.gguf$/i.test(file));
  return gguf === undefined ? {} : { hint: `${gguf} is for llama.cpp alone; download the model as safetensors.` };
}

/** null: the folder is usable. Of several problems the first in the order of this function. */
export async function findProblem(folder: string): Promise<FolderProblem | null> {
  const state = await folderState(folder);
  if (!state) return { problem: 'folder', reason: 'there is no such model folder.' };
  const { files, strays } = state;
  if (strays[0] !== undefined)
    return {
      problem: 'link',
      reason: `${strays[0]} is a link to something that is not a file of the model.`,
      hint: 'Put a copy of the file in its place, or remove it.',
    };
  const has = (...names: string[]) => names.every((name) => files.includes(name));

  // transformers would load the model that the adapter names, from anywhere, and the adapter's weights too.
  if (has('adapter_config.json'))
    return {
      problem: 'adapter',
      reason: 'it holds a LoRA adapter (adapter_config.json), not a whole model.',
      hint: "Merge it into its model with peft's merge_and_unload(), and save that.",
    };
  const pointer = await firstLfsPointer(folder, files);
  if (pointer)
    return {
      problem: 'lfs',
      reason: `${pointer} is a Git LFS pointer, not the file itself.`,
      hint: 'Fetch it with `git lfs pull` in that folder, or download the model again.',
    };

  if (!has('config.json'))
    return {
      problem: 'config',
      reason: 'it holds no config.json, so it is not a model folder.',
      ...hintOf(files.find((file) => file.endsWith('/config.json'))?.slice(0, -'/config.json'.length), files),
    };
  if (!(await readObject(join(folder, 'config.json'))))
    return { problem: 'config', reason: 'its config.json is not a JSON object.' };

  if (!files.some((file) => file.endsWith('.safetensors') && !file.includes('/'))) {
    const pickle = files.find((file) => PICKLE.test(file) && !NO_WEIGHTS.test(file.slice(file.lastIndexOf('/') + 1)));
    if (pickle)
      return {
        problem: 'pickle',
        reason: `${pickle} is a pickle, which can run code when loaded; only safetensors are read.`,
        hint: 'Save the model with safe_serialization=True.',
      };
    return {
      problem: 'weights',
      reason: 'it holds no weights (*.safetensors).',
      hint: 'Download or save the weights too.',
      ...hintOf(undefined, files),
    };
  }

  if (!has('tokenizer.json') && !has('tokenizer.model') && !has('vocab.json', 'merges.txt'))
    return { problem: 'tokenizer', reason: 'it holds no tokenizer.' };

  const config = has('tokenizer_config.json') ? await readObject(join(folder, 'tokenizer_config.json')) : {};
  if (!config) return { problem: 'tokenizer-config', reason: 'its tokenizer_config.json is not a JSON object.' };
  const template = config.chat_template;
  if (has('chat_template.jinja') || ((typeof template === 'string' || Array.isArray(template)) && template.length > 0))
    return null;
  return {
    problem: 'chat-template',
    reason: 'its tokenizer has no chat template.',
    hint: 'Use the instruct version of the model, or put a chat_template.jinja beside it.',
  };
}

/** undefined: none of the folder's own files is one. Those of sub-folders are not read. */
async function firstLfsPointer(folder: string, files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    if (file.includes('/')) continue;
    const { size } = await stat(join(folder, file));
    if (size > MAX_POINTER_BYTES) continue;
    if ((await readFile(join(folder, file), 'latin1')).startsWith(LFS_POINTER)) return file;
  }
  return undefined;
}

/** Throws model.unusable. */
export async function checkModelFolder(folder: string): Promise<void> {
  const found = await findProblem(folder);
  if (found) throw modelUnusable(folder, found.reason, found.hint);
}

async function readObject(path: string): Promise<Record<string, unknown> | null> {
  const bytes = await readFile(path);
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
