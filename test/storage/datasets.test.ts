import { beforeEach, describe, expect, it } from 'vitest';
import { CHUNKS_PER_PAGE, type DatasetRef, type ObjectRef } from '../../contracts/refs.js';
import { Datasets } from '../../storage/datasets.js';
import { Objects, objectName } from '../../storage/objects.js';
import { MemoryBucket, problemOf, rows, Text } from './support.js';

let bucket: MemoryBucket;
let objects: Objects;
let datasets: Datasets;

beforeEach(() => {
  bucket = new MemoryBucket();
  objects = new Objects(bucket);
  datasets = new Datasets(objects);
});

/** References alone: a dataset is put and listed without its chunks. */
const listed = (count: number): ObjectRef[] =>
  Array.from({ length: count }, (_, i) => ({ sha256: i.toString(16).padStart(64, '0'), rows: 32, bytes: i }));

async function readsOf(work: () => Promise<unknown>): Promise<number> {
  const before = bucket.reads.length;
  await work();
  return bucket.reads.length - before;
}

describe('a dataset', () => {
  it('gives its rows chunk after chunk', async () => {
    const chunks = [await objects.putRows(rows('a', 'b')), await objects.putRows([]), await objects.putRows(rows('c'))];
    const dataset = await datasets.put(chunks);
    expect(dataset).toMatchObject({ rows: 3, chunks: 3 });
    const found: unknown[] = [];
    for await (const row of datasets.rows(dataset, Text)) found.push(row);
    expect(found).toEqual(rows('a', 'b', 'c'));
    expect(await datasets.chunks(dataset)).toEqual(chunks);
  });

  it('reads no chunk before the one before it is used up', async () => {
    const dataset = await datasets.put([await objects.putRows(rows('a')), await objects.putRows(rows('b'))]);
    const found = datasets.rows(dataset, Text);
    expect(await readsOf(() => found.next())).toBe(3);
    expect(await readsOf(() => found.next())).toBe(1);
    expect(await readsOf(() => found.next())).toBe(0);
  });

  it.each([0, 1, CHUNKS_PER_PAGE - 1, CHUNKS_PER_PAGE, CHUNKS_PER_PAGE + 1, 3 * CHUNKS_PER_PAGE])(
    'of %i chunks lists them all',
    async (count) => {
      const dataset = await datasets.put(listed(count));
      expect(dataset).toMatchObject({ rows: 32 * count, chunks: count });
      expect(await datasets.chunks(dataset)).toEqual(listed(count));
    },
  );

  it('has one digest for equal chunks, and a size that does not grow with their number', async () => {
    const small = await datasets.put(listed(10));
    expect(await datasets.put(listed(10))).toEqual(small);
    expect(JSON.stringify(await datasets.put(listed(3000))).length).toBeLessThan(250);
  });

  it('reads the pages of the chunks that are asked for only', async () => {
    const chunks = listed(10 * CHUNKS_PER_PAGE);
    const dataset = await datasets.put(chunks);
    const cases = [
      { from: 0, to: 1, reads: 2 },
      { from: 5 * CHUNKS_PER_PAGE, to: 6 * CHUNKS_PER_PAGE, reads: 2 },
      { from: 5 * CHUNKS_PER_PAGE - 1, to: 5 * CHUNKS_PER_PAGE + 1, reads: 3 },
      { from: 10 * CHUNKS_PER_PAGE - 1, to: 10 * CHUNKS_PER_PAGE, reads: 2 },
      { from: 7, to: 7, reads: 0 },
      { from: 0, to: 10 * CHUNKS_PER_PAGE, reads: 11 },
    ];
    for (const { from, to, reads } of cases) {
      let found: ObjectRef[] = [];
      expect(await readsOf(async () => (found = await datasets.chunks(dataset, from, to)))).toBe(reads);
      expect(found).toEqual(chunks.slice(from, to));
    }
  });

  it('has no chunks beyond its last one', async () => {
    const dataset = await datasets.put(listed(3));
    for (const [from, to] of [
      [-1, 2],
      [0, 4],
      [2, 1],
    ] as const)
      await expect(datasets.chunks(dataset, from, to)).rejects.toThrow(RangeError);
  });

  it('is mapped chunk by chunk, empty ones included', async () => {
    const dataset = await datasets.put(
      await Promise.all([rows('a', 'b'), [], rows('c')].map((chunk) => objects.putRows(chunk))),
    );
    const order: number[] = [];
    const upper = await datasets.map(dataset, async (chunk, i) => {
      order.push(i);
      return (await objects.readRows(chunk, Text)).map(({ text }) => ({ text: text.toUpperCase() }));
    });
    expect(order).toEqual([0, 1, 2]);
    expect(upper).toMatchObject({ rows: 3, chunks: 3 });
    expect((await datasets.chunks(upper)).map(({ rows }) => rows)).toEqual([2, 0, 1]);
    expect(await datasets.map(dataset, (chunk) => objects.readRows(chunk, Text))).toEqual(dataset);
  });
});

describe('a dataset is present', () => {
  async function put(): Promise<{ dataset: DatasetRef; chunks: ObjectRef[] }> {
    const chunks = await Promise.all(Array.from({ length: 300 }, (_, i) => objects.putRows(rows(`${i}`))));
    return { dataset: await datasets.put(chunks), chunks };
  }

  it('when its pages and all its chunks are, at most 16 of which are checked at once', async () => {
    const { dataset } = await put();
    bucket.mostSizes = 0;
    expect(await datasets.has(dataset)).toBe(true);
    expect(bucket.mostSizes).toBe(16);
  });

  it('only if no chunk is missing or short, and no page or index is damaged', async () => {
    const { dataset, chunks } = await put();
    const pages = [...bucket.blobs.keys()].filter((name) => name.endsWith('.json'));
    expect(pages).toHaveLength(3);
    const last = objectName('rows', chunks.at(-1)!.sha256);
    for (const [name, content] of [
      [last, null],
      [last, Buffer.from('x')],
      ...pages.flatMap((page) => [[page, null] as const, [page, Buffer.from('{}')] as const]),
    ] as const) {
      const intact = bucket.blobs.get(name)!;
      if (content) bucket.blobs.set(name, content);
      else bucket.blobs.delete(name);
      expect(await datasets.has(dataset)).toBe(false);
      bucket.blobs.set(name, intact);
      expect(await datasets.has(dataset)).toBe(true);
    }
  });

  it('not if reading fails for another reason: that is thrown', async () => {
    const { dataset } = await put();
    bucket.read = () => Promise.reject(new Error('EIO'));
    await expect(datasets.has(dataset)).rejects.toThrow('EIO');
  });
});

describe('a wrong reference to a dataset', () => {
  it('is refused, and moves nothing', async () => {
    const dataset = await datasets.put(listed(600));
    const blobs = new Map(bucket.blobs);
    for (const wrong of [
      { ...dataset, rows: dataset.rows + 1 },
      { ...dataset, chunks: 512 },
      { ...dataset, chunks: 599 },
      { ...dataset, chunks: 601 },
      { ...dataset, bytes: dataset.bytes + 1 },
      // A page is no index.
      { ...(await objects.putJson({ version: 2, chunks: listed(1) })), chunks: 1 },
    ]) {
      expect((await problemOf(datasets.chunks(wrong))).type).toBe('artifact.damaged');
      expect(await datasets.has(wrong)).toBe(false);
    }
    expect([...bucket.blobs.keys()].filter((name) => name.startsWith('damaged'))).toEqual([]);
    for (const [name, content] of blobs) expect(bucket.blobs.get(name)).toEqual(content);
  });
});
