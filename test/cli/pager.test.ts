import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { paged, pagerOf } from '../../client/cli/pager.js';

const lines = (count: number) => Array.from({ length: count }, (_, i) => `line ${i}`);
async function* stream(texts: string[], read = { count: 0 }): AsyncGenerator<string> {
  for (const text of texts) {
    read.count++;
    yield text;
  }
}

it('is for terminals, and is what PAGER names, without a shell', () => {
  expect(pagerOf({}, true)).toEqual(['less']);
  expect(pagerOf({ PAGER: 'less -S +F' }, true)).toEqual(['less', '-S', '+F']);
  expect(pagerOf({ PAGER: 'less; touch x' }, true)).toEqual(['less;', 'touch', 'x']);
  for (const PAGER of ['', ' ', 'cat']) expect(pagerOf({ PAGER }, true)).toBe(null);
  expect(pagerOf({}, false)).toBe(null);
});

it('writes to stdout where there is no such program', async () => {
  const written = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await paged(stream(lines(3)), ['srlm-no-such-pager']);
    expect(written.mock.calls.map(([text]) => text)).toEqual(['line 0\n', 'line 1\n', 'line 2\n']);
  } finally {
    written.mockRestore();
  }
});

it('gives the pager all lines, and stops once it has ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'srlm-test-pager-'));
  const file = join(folder, 'seen');
  try {
    await paged(stream(lines(2000)), ['dd', `of=${file}`, 'status=none']);
    expect(readFileSync(file, 'utf8')).toBe(`${lines(2000).join('\n')}\n`);
    const read = { count: 0 };
    await paged(stream(lines(1_000_000), read), ['true']);
    expect(read.count).toBeLessThan(1_000_000);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
