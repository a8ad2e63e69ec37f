/**
 * The digest of a model folder, as engine/python/folder.py has it: over all regular files below it (names that begin
 * with a dot passed over), by relative path in byte order, lines `<sha256>  <path>\n`, and the SHA-256 of these.
 * Also what makes a folder usable at all, so that a bad one is refused before anything starts.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '../contracts/artifacts.js';
import { modelUnusable } from '../contracts/errors.js';
import { sha256, sha256File } from './files.js';

/** `cache` maps a state of the files (sizes and times) to its digest: 100 GB are not read again for nothing. */
export async function modelDigest(
  folder: string,
  cache?: Map<string, string>,
): Promise<{ sha256: string; bytes: number }> {
  const files = await filesBelow(folder, '');
  files.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const stats = await Promise.all(files.map((file) => stat(join(folder, file))));
  const bytes = stats.reduce((sum, { size }) => sum + size, 0);
  const state = [
    folder,
    ...files.map((file, i) => `${file} ${stats[i]!.size} ${stats[i]!.mtimeMs} ${stats[i]!.ino}`),
  ].join('\n');
  const known = cache?.get(state);
  if (known) return { sha256: known, bytes };
  let lines = '';
  for (const file of files) lines += `${await sha256File(join(folder, file))}  ${file}\n`;
  const digest = sha256(lines);
  cache?.set(state, digest);
  return { sha256: digest, bytes };
}

/** Each file of a model folder as a manifest, its uri below `prefix`. */
export async function modelFiles(folder: string, prefix: string): Promise<Manifest[]> {
  const files = await filesBelow(folder, '');
  return Promise.all(
    files.sort().map(async (file) => ({
      uri: `${prefix}/${file}`,
      sha256: await sha256File(join(folder, file)),
      rows: 0,
      bytes: (await stat(join(folder, file))).size,
    })),
  );
}

async function filesBelow(folder: string, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = prefix ? `${prefix}/${entry.name}` : entry.name;
    if (entry.isDirectory()) found.push(...(await filesBelow(folder, path)));
    // A link that leads nowhere is no file, here as in Python.
    else if ((await stat(join(folder, path)).catch(() => null))?.isFile()) found.push(path);
  }
  return found;
}

/** Throws model.unusable: no folder, no weights, pickles, no tokenizer, no chat template. */
export async function checkModelFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => null);
  if (!names) throw modelUnusable(folder, 'there is no such model folder.');
  if (!names.includes('config.json'))
    throw modelUnusable(folder, 'it holds no config.json, so it is not a model folder.');
  const pickle = names.find((name) => /\.(bin|pt|pth|pkl|ckpt)$/.test(name));
  const weights = names.some((name) => name.endsWith('.safetensors'));
  const convert = 'Save the model with safe_serialization=True; nothing was started.';
  if (pickle)
    throw modelUnusable(
      folder,
      `${pickle} is a pickle, which can run code when loaded; only safetensors are read.`,
      convert,
    );
  if (!weights)
    throw modelUnusable(
      folder,
      'it holds no weights (*.safetensors).',
      'Download or save the weights too; nothing was started.',
    );
  if (!names.includes('tokenizer.json') && !names.includes('tokenizer.model'))
    throw modelUnusable(folder, 'it holds no tokenizer.');
  if (names.includes('chat_template.jinja')) return;
  const config = await readFile(join(folder, 'tokenizer_config.json'), 'utf8')
    .then(JSON.parse)
    .catch(() => ({}));
  if (!config.chat_template) {
    throw modelUnusable(
      folder,
      'its tokenizer has no chat template.',
      'Use the instruct version of the model, or put a chat_template.jinja beside it; nothing was started.',
    );
  }
}
