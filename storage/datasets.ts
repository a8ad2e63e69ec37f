/**
 * Tables of any length: an index object lists pages, each page lists up to CHUNKS_PER_PAGE chunks, each chunk is an
 * object of rows. Readers hold one chunk of rows, and read the pages they need only. Totals of a reference that
 * disagree with what it leads to throw artifact.damaged; nothing is moved for that.
 */
import pLimit from 'p-limit';
import type { z } from 'zod';
import { artifactDamaged, Problem } from '../contracts/errors.js';
import { CHUNKS_PER_PAGE, ChunkPage, DatasetIndex, type DatasetRef, type ObjectRef } from '../contracts/refs.js';
import { type Objects, objectName } from './objects.js';

/** Objects read or checked at the same time. */
const CONCURRENCY = 16;

export class Datasets {
  constructor(private readonly objects: Objects) {}

  async put(chunks: readonly ObjectRef[]): Promise<DatasetRef> {
    const pages: ObjectRef[] = [];
    for (let at = 0; at < chunks.length; at += CHUNKS_PER_PAGE) {
      const page: ChunkPage = { version: 2, chunks: chunks.slice(at, at + CHUNKS_PER_PAGE) };
      pages.push({ ...(await this.objects.putJson(page)), rows: sumRows(page.chunks) });
    }
    const index: DatasetIndex = { version: 2, pages };
    return { ...(await this.objects.putJson(index)), rows: sumRows(pages), chunks: chunks.length };
  }

  /** Chunks [from, to), read from their pages only. Throws artifact.damaged. */
  async chunks(ref: DatasetRef, from = 0, to = ref.chunks): Promise<ObjectRef[]> {
    if (!(0 <= from && from <= to && to <= ref.chunks))
      throw new RangeError(`chunks [${from}, ${to}) of a dataset with ${ref.chunks}`);
    if (from === to) return [];
    const first = Math.floor(from / CHUNKS_PER_PAGE);
    const pages = (await this.pages(ref)).slice(first, Math.ceil(to / CHUNKS_PER_PAGE));
    const limit = pLimit(CONCURRENCY);
    const lists = await Promise.all(pages.map((page) => limit(() => this.page(page))));
    return lists.flat().slice(from - first * CHUNKS_PER_PAGE, to - first * CHUNKS_PER_PAGE);
  }

  /** All rows, with one chunk of them in memory. Throws artifact.damaged. */
  async *rows<T>(ref: DatasetRef, schema: z.ZodType<T>): AsyncGenerator<T> {
    for (const page of await this.pages(ref))
      for (const chunk of await this.page(page)) yield* await this.objects.readRows(chunk, schema);
  }

  /** The dataset with each chunk replaced by what `work` makes of it, in order, one at a time. */
  async map(ref: DatasetRef, work: (chunk: ObjectRef, i: number) => Promise<readonly unknown[]>): Promise<DatasetRef> {
    const made: ObjectRef[] = [];
    for (const page of await this.pages(ref))
      for (const chunk of await this.page(page)) made.push(await this.objects.putRows(await work(chunk, made.length)));
    return this.put(made);
  }

  /** Index and pages are intact, and all chunks present with the right size. */
  async has(ref: DatasetRef): Promise<boolean> {
    const limit = pLimit(CONCURRENCY);
    try {
      for (const page of await this.pages(ref)) {
        const chunks = await this.page(page);
        const present = await Promise.all(chunks.map((chunk) => limit(() => this.objects.has('rows', chunk))));
        if (!present.every(Boolean)) return false;
      }
      return true;
    } catch (error) {
      if (error instanceof Problem && error.type === 'artifact.damaged') return false;
      throw error;
    }
  }

  /** The pages, each with the number of chunks that it must have. */
  private async pages(ref: DatasetRef): Promise<Page[]> {
    const { pages } = await this.objects.readJson(ref, DatasetIndex);
    checkTotal(ref, 'pages', Math.ceil(ref.chunks / CHUNKS_PER_PAGE), pages.length);
    checkTotal(ref, 'rows', ref.rows, sumRows(pages));
    return pages.map((page, i) => ({
      ref: page,
      chunks: Math.min(CHUNKS_PER_PAGE, ref.chunks - i * CHUNKS_PER_PAGE),
    }));
  }

  private async page(page: Page): Promise<ObjectRef[]> {
    const { chunks } = await this.objects.readJson(page.ref, ChunkPage);
    checkTotal(page.ref, 'chunks', page.chunks, chunks.length);
    checkTotal(page.ref, 'rows', page.ref.rows, sumRows(chunks));
    return chunks;
  }
}

interface Page {
  ref: ObjectRef;
  chunks: number;
}

const sumRows = (refs: readonly ObjectRef[]): number => refs.reduce((sum, { rows }) => sum + rows, 0);

function checkTotal(ref: ObjectRef, what: string, want: number, found: number): void {
  if (found === want) return;
  const name = objectName('json', ref.sha256);
  throw artifactDamaged(name, `the reference says ${want} ${what}, the object has ${found}.`);
}
