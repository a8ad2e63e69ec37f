/** Writes python/training-job.schema.json from contracts/training.ts, as compiled in dist. Part of `npm run build`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jobSchemaText } from '../dist/training/schema.js';

const path = join(dirname(dirname(fileURLToPath(import.meta.url))), 'python', 'training-job.schema.json');
const text = jobSchemaText();

// An installed package may be read-only, and a file that is current should keep its time.
if (readFile(path) !== text) writeFileSync(path, text);

function readFile(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
