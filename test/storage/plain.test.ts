import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPlain } from '../../storage/plain.js';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-test-plain-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function read(name: string, content?: Uint8Array): Promise<string> {
  const path = join(folder, name);
  if (content) await writeFile(path, content);
  const parts: Uint8Array[] = [];
  for await (const part of readPlain(path, name)) parts.push(part);
  return Buffer.concat(parts).toString();
}

describe('the bytes of a data file', () => {
  const text = 'line\n'.repeat(200_000);

  it('are the same plain and packed, whatever the name says', async () => {
    expect(await read('plain.gz', Buffer.from(text))).toBe(text);
    expect(await read('packed.jsonl', gzipSync(text))).toBe(text);
    expect(await read('empty', Buffer.alloc(0))).toBe('');
    expect(await read('one', Buffer.from('x'))).toBe('x');
  });

  it('are refused by name when the packed file is cut short', async () => {
    await expect(read('cut.gz', gzipSync(text).subarray(0, 500))).rejects.toThrow(
      /^cut\.gz: it is not a whole gzip file \(unexpected end of file\)\. Nothing was started\. \[file\.damaged\]$/,
    );
  });

  it('are refused by name when there is no such file, or it is a folder', async () => {
    await expect(read('none')).rejects.toThrow('none: there is no such file. Nothing was started. [file.missing]');
    await expect(read('.')).rejects.toThrow('.: this is a folder, not a file. Nothing was started. [file.damaged]');
  });
});
