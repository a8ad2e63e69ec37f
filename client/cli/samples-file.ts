/** Prompts joined with their sampled texts in one JSONL file, there whole or not at all. Throws file.not-writable. */
import { createWriteStream } from 'node:fs';
import { access, constants, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Problem } from '../../contracts/errors.js';
import { Candidate, Prompt } from '../../contracts/records.js';
import type { SampleRunResult } from '../../contracts/steps.js';
import { syncFolder, temporaryName } from '../../storage/files.js';
import { ArtifactStore } from '../../storage/store.js';

/** Looks whether `file` can be written, before anything is started. Returns what writes it, and gives its rows. */
export async function fileWriter(
  file: string,
  artifactRoot: string,
): Promise<(result: SampleRunResult) => Promise<number>> {
  const path = resolve(file);
  const folder = dirname(path);
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    throw notWritable(file, `its folder cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
  if (
    await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    )
  )
    throw notWritable(file, 'it is a folder');
  return async (result) => {
    const store = ArtifactStore.open(artifactRoot);
    const temporary = join(folder, `.${basename(path)}.${temporaryName()}`);
    try {
      await pipeline(Readable.from(lines(store, result)), createWriteStream(temporary, { flush: true }));
      await rename(temporary, path);
      await syncFolder(folder);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    return result.prompts.rows;
  };
}

/** Chunk n of the candidates holds those of chunk n of the prompts. */
async function* lines(store: ArtifactStore, { prompts, candidates }: SampleRunResult): AsyncGenerator<string> {
  const answered = await store.chunksOf(candidates);
  for (const [i, chunk] of (await store.chunksOf(prompts)).entries()) {
    const texts = new Map<string, string[]>();
    for (const { id, text } of await store.readRows(answered[i]!, Candidate)) {
      const known = texts.get(id);
      if (known) known.push(text);
      else texts.set(id, [text]);
    }
    for (const { id, instruction } of await store.readRows(chunk, Prompt)) {
      yield `${JSON.stringify({ id, instruction, texts: texts.get(id) ?? [] })}\n`;
    }
  }
}

const notWritable = (file: string, why: string) =>
  new Problem({
    type: 'file.not-writable',
    retry: false,
    at: { file },
    says: `${why}.`,
    next: 'Name another with --out; nothing was started.',
  });
