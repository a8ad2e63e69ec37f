import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');

it('docs/licences.md lists the packages of both lock files: npm run licences writes it', () => {
  const check = () =>
    execFileSync(process.execPath, [join(root, 'scripts/write-licences.mjs'), '--check'], { stdio: 'pipe' });
  expect(check).not.toThrow();
});
