import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { artifactDamaged } from '../../contracts/errors.js';
import { readFileBytes, unpack } from '../../storage/unpack.js';
import { problemOf, temporaryFolder } from './support.js';

const folder = temporaryFolder();

async function joined(parts: AsyncIterable<Uint8Array>): Promise<string> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all).toString();
}

async function read(name: string, content?: Uint8Array): Promise<string> {
  const path = join(folder(), name);
  if (content) await writeFile(path, content);
  return joined(readFileBytes(path, name));
}

/** Parts of `size` bytes. `state` records whether the source was read to its end, and whether it was closed. */
async function* parts(bytes: Uint8Array, size: number, state = { ended: false, closed: false }, error?: Error) {
  try {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    state.ended = true;
    if (error) throw error;
  } finally {
    state.closed = true;
  }
}

const text = 'line\n'.repeat(200_000);

describe('the bytes of a data file', () => {
  it('are the same plain and packed, whatever the name says', async () => {
    expect(await read('plain.gz', Buffer.from(text))).toBe(text);
    expect(await read('packed.jsonl', gzipSync(text))).toBe(text);
    expect(await read('empty', Buffer.alloc(0))).toBe('');
    expect(await read('one', Buffer.from('x'))).toBe('x');
  });

  it('are refused by name when the packed file is cut short', async () => {
    await expect(read('cut.gz', gzipSync(text).subarray(0, 500))).rejects.toThrow(
      /^cut\.gz: it is not a whole gzip file \(unexpected end of file\)\. \[file\.damaged\]$/,
    );
  });

  it('are refused by name when there is no such file, or it is a folder', async () => {
    await expect(read('none')).rejects.toThrow(/^none: there is no such file\. \[file\.missing\]$/);
    await expect(read('.')).rejects.toThrow(/^\.: this is a folder, not a file\. \[file\.damaged\]$/);
  });
});

describe('bytes in parts', () => {
  it('are unpacked however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 50 }), async (content, size) => {
        fc.pre(content[0] !== 0x1f);
        const want = Buffer.from(content).toString();
        expect(await joined(unpack(parts(content, size), 'x'))).toBe(want);
        expect(await joined(unpack(parts(gzipSync(content), size), 'x'))).toBe(want);
      }),
      { numRuns: 50 },
    );
  });

  it('are unpacked where several gzip files follow each other, or padding follows one', async () => {
    const two = Buffer.concat([gzipSync('one'), gzipSync('two')]);
    expect(await joined(unpack(parts(two, 7), 'x'))).toBe('onetwo');
    for (const size of [1, 10, 1_000_000]) {
      const state = { ended: false, closed: false };
      const padded = Buffer.concat([gzipSync(text), Buffer.alloc(100_000)]);
      expect(await joined(unpack(parts(padded, size === 1 ? 100 : size, state), 'x'))).toBe(text);
      expect(state).toEqual({ ended: true, closed: true });
    }
  });

  it.each([
    ['plain', Buffer.from(text)],
    ['packed', gzipSync(text)],
    ['packed and cut short', gzipSync(text).subarray(0, 500)],
    ['packed and altered', Buffer.concat([gzipSync(text).subarray(0, 300), Buffer.alloc(5000, 7)])],
    ['packed, with padding', Buffer.concat([gzipSync(text), Buffer.alloc(1000)])],
  ])('of a source that finds itself damaged at its end throw what the source throws: %s', async (_what, bytes) => {
    const damaged = artifactDamaged('x', 'altered.');
    expect(await problemOf(joined(unpack(parts(bytes, 100, undefined, damaged), 'x')))).toBe(damaged);
  });

  it.each([
    ['plain', Buffer.from(text)],
    ['packed', gzipSync(text, { level: 0 })],
  ])('close their source when the reader stops early: %s', async (_what, bytes) => {
    const state = { ended: false, closed: false };
    for await (const _ of unpack(parts(bytes, 1000, state), 'x')) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(state).toEqual({ ended: false, closed: true });
  });
});
