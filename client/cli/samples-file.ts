/** Prompts joined with their sampled texts in one JSONL file, written completely or not at all. */
import { createWriteStream } from 'node:fs';
import { access, constants, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileNotWritable } from '../../contracts/errors.js';
import { Candidate, PromptRow } from '../../contracts/rows.js';
import type { SampleResult } from '../../contracts/run.js';
import { syncFolder, temporaryName } from '../../storage/files.js';
import type { Store } from '../../storage/store.js';

type Writer = (store: Store, result: SampleResult) => Promise<number>;

/** Checks that `file` can be written. Returns what writes it, and returns its rows. Throws file.not-writable. */
export async function fileWriter(file: string): Promise<Writer> {
  const path = resolve(file);
  const folder = dirname(path);
  await access(folder, constants.W_OK).catch((error: NodeJS.ErrnoException) => {
    throw fileNotWritable(file, `its folder cannot be written (${error.code})`);
  });
  if ((await stat(path).catch(() => null))?.isDirectory()) throw fileNotWritable(file, 'it is a folder');
  return async (store, result) => {
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
async function* lines({ datasets, objects }: Store, { prompts, candidates }: SampleResult): AsyncGenerator<string> {
  const candidateChunks = await datasets.chunks(candidates);
  for (const [i, chunk] of (await datasets.chunks(prompts)).entries()) {
    const texts = new Map<string, string[]>();
    for (const { id, text } of await objects.readRows(candidateChunks[i]!, Candidate)) {
      const known = texts.get(id);
      if (known) known.push(text);
      else texts.set(id, [text]);
    }
    for (const { id, instruction } of await objects.readRows(chunk, PromptRow)) {
      yield `${JSON.stringify({ id, instruction, texts: texts.get(id) ?? [] })}\n`;
    }
  }
}
