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
/** The same, packed by the zstd program. */
const ZSTD = Buffer.from(
  'KLUv/QRYbAAAKGxpbmUKAQD4/8iLFkwAAAhuAQD8/zkQAkwAAAgKAQD8/zkQAkwAAAhpAQD8/zkQAkwAAAhlAQD8/zkQAkwAAAhsAQD8/zkQAkwAAAhuAQD8/zkQAk0AAAgKAQA8QjkQArWxbO4=',
  'base64',
);

/** A zstd frame of blocks as they are, and of one repeated byte. `window`: its descriptor. */
function zstdFrame(content: Uint8Array, blockSize: number, window = 0x50): Buffer {
  const blocks: number[] = [];
  for (let at = 0; at === 0 || at < content.length; at += blockSize) {
    const block = content.subarray(at, at + blockSize);
    const isRepeated = block.length > 1 && block.every((byte) => byte === block[0]);
    const isLast = at + blockSize >= content.length;
    const header = (block.length << 3) | (isRepeated ? 2 : 0) | (isLast ? 1 : 0);
    blocks.push(header & 255, (header >> 8) & 255, header >> 16, ...(isRepeated ? [block[0]!] : block));
  }
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window, ...blocks]);
}

describe('the bytes of a data file', () => {
  it('are the same plain and packed, whatever the name says', async () => {
    expect(await read('plain.gz', Buffer.from(text))).toBe(text);
    expect(await read('packed.jsonl', gzipSync(text))).toBe(text);
    expect(await read('packed.txt', ZSTD)).toBe(text);
    expect(await read('empty', Buffer.alloc(0))).toBe('');
    expect(await read('one', Buffer.from('x'))).toBe('x');
  });

  it('are refused by name when the packed file is cut short', async () => {
    await expect(read('cut.gz', gzipSync(text).subarray(0, 500))).rejects.toThrow(
      /^cut\.gz: it is not a whole gzip file \(unexpected end of file\)\. \[file\.damaged\]$/,
    );
  });

  it('are refused by name when a zstd file is cut short or altered, or needs more memory than the zstd program takes', async () => {
    await expect(read('cut.zst', ZSTD.subarray(0, 60))).rejects.toThrow(
      /^cut\.zst: it is not a whole zstd file \(unexpected EOF\)\. \[file\.damaged\]$/,
    );
    await expect(read('altered.zst', Buffer.concat([ZSTD.subarray(0, 20), Buffer.alloc(100, 255)]))).rejects.toThrow(
      /^altered\.zst: it is not a whole zstd file/,
    );
    const wide = zstdFrame(Buffer.from('x'), 1, 0x90);
    for (const bytes of [wide, Buffer.concat([ZSTD, Buffer.from('502a4d180300000001020a', 'hex'), wide])]) {
      await expect(read('window.zst', bytes)).rejects.toThrow(
        'window.zst: its zstd window is larger than 128 MB; pack it without --long or --ultra. [file.damaged]',
      );
    }
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
        const frames = Buffer.concat([zstdFrame(content, size), zstdFrame(content, 7)]);
        expect(await joined(unpack(parts(frames, size), 'x'))).toBe(Buffer.concat([content, content]).toString());
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
