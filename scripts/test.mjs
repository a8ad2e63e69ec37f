/** npm test: set-up, formatter and linter, types, then all tests. Arguments go to vitest: npm test -- test/method */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { python, root, run, setUp } from './set-up.mjs';

await setUp();
await run('npm', ['run', '--silent', 'check']);
const { status } = spawnSync(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, SRLM_PYTHON: python },
  },
);
process.exit(status ?? 1);
