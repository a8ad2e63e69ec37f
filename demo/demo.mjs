/**
 * npm run demo: from a clean machine to a model that improved itself.
 *   npm run demo                     the narrow task (sums of six digits): the effect is visible within minutes
 *   npm run demo -- --data starter   the general starter data
 *   npm run demo -- --control        the narrow task with its control arms
 * Sets everything up first; demo/run.mjs, in a process of its own, runs `srlm`.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { python, root, setUp } from '../scripts/set-up.mjs';
import './options.mjs';

await setUp({ model: true });
const { status } = spawnSync(process.execPath, [join(root, 'demo/run.mjs'), ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, SRLM_PYTHON: python },
});
process.exit(status ?? 1);
