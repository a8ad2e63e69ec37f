/** One `srlm up` in a folder, whatever earlier ones, other programs and other hosts have left there. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { identityOf } from '../../processes/detached.js';
import { onlyOne, take } from '../../processes/only-one.js';
import { removeSame } from '../../storage/files.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-up-'));
  file = join(folder, 'up.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const parent = async () => ({ pid: process.ppid, host: hostname(), ...(await identityOf(process.ppid)) });

it('is refused while the other one runs', async () => {
  writeFileSync(file, JSON.stringify(await parent()));
  await expect(onlyOne(folder, hostname())).rejects.toThrow(
    `\`srlm up\` already runs here (process ${process.ppid}). Stop that one first, or give this one a config with a workRoot of its own. [up.running]`,
  );
});

it('is refused where another host has left its name, since nobody can look at that one', async () => {
  writeFileSync(file, JSON.stringify({ ...(await parent()), host: 'gpu-7', boot: 'of gpu-7' }));
  await expect(onlyOne(folder, hostname())).rejects.toThrow(
    `\`srlm up\` of host "gpu-7" uses this folder, or was killed there. Give each host a workRoot of its own; if that one is stopped, delete ${file}. [up.running]`,
  );
});

it.each<[string, () => Promise<unknown>]>([
  ['that ended', async () => writeFileSync(file, JSON.stringify({ ...(await parent()), pid: 2 ** 22 + 1 }))],
  [
    'whose id another program has now',
    async () => writeFileSync(file, JSON.stringify({ ...(await parent()), started: '1' })),
  ],
  [
    'of before the machine started again',
    async () => writeFileSync(file, JSON.stringify({ ...(await parent()), boot: 'x' })),
  ],
  ['that left half a file', async () => writeFileSync(file, '{"pid":')],
  ['that left a link to nothing', async () => symlinkSync('nowhere', file)],
])('takes the place of one %s, and leaves nothing', async (_what, leave) => {
  await leave();
  const release = await onlyOne(folder, hostname());
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ pid: process.pid });
  await release();
  expect(readdirSync(folder)).toEqual([]);
});

it('is refused to the process that has it, until that releases it', async () => {
  const first = await take(file, 'gpu-1');
  expect(await take(file, 'gpu-1')).toMatchObject({ isTaken: false, isElsewhere: false, pid: process.pid });
  if (first.isTaken) await first.release();
  expect(await take(file, 'gpu-1')).toMatchObject({ isTaken: true });
});

it('does not remove what another one wrote after both had found the same stale file', async () => {
  writeFileSync(file, 'of the other');
  await removeSame(file, 'stale');
  expect(readdirSync(folder)).toEqual(['up.json']);
  expect(readFileSync(file, 'utf8')).toBe('of the other');
});
