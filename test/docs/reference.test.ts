import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');

it('docs/reference is what the code says: npm run reference writes it', () => {
  const check = () =>
    execFileSync(process.execPath, [join(root, 'scripts/write-reference.mjs'), '--check'], { stdio: 'pipe' });
  expect(check).not.toThrow();
});
