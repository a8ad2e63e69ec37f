/** Histories as they were recorded (test/histories/0.1.0), each time a copy of its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Recorded } from '../../audit/events.js';
import type { Histories } from '../../audit/load.js';
import { packageRoot } from '../../engine/python-environment.js';

export function recorded(...names: string[]): Histories {
  return names.map(
    (name): Recorded => JSON.parse(readFileSync(join(packageRoot, 'test/histories/0.1.0', `${name}.json`), 'utf8')),
  ) as Histories;
}
