/**
 * The Python that tests work with, and a model small enough for them. Both are found or made when first asked for, so
 * a test that needs neither runs without them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../processes/python.js';

export const python: string = process.env.SRLM_PYTHON ?? join(packageRoot, '.srlm/python/bin/python');

/** A folder whose child `tiny` is a model of 118,000 random weights. Made once for each version of the script. */
export function tinyModel(): string {
  const script = join(packageRoot, 'test/support/tiny_model.py');
  const version = createHash('sha256').update(readFileSync(script)).digest('hex').slice(0, 12);
  const folder = join(tmpdir(), `srlm-test-models-${version}`);
  // The script renames a finished folder into place; of two that make it at once, one is late.
  for (let tries = 0; !existsSync(join(folder, 'tiny')); tries++) {
    mkdirSync(folder, { recursive: true });
    try {
      execFileSync(python, [script, join(folder, 'tiny')], { stdio: 'pipe' });
    } catch (error) {
      if (tries > 0) throw error;
    }
  }
  return folder;
}
