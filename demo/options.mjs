/** The demo's options, read before anything is set up: a wrong one ends the program with one sentence and exit code 2. */
import { parseArgs } from 'node:util';

export const options = read();

function read() {
  try {
    const { values } = parseArgs({
      options: {
        data: { type: 'string', default: 'narrow' },
        control: { type: 'boolean', default: false },
        config: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    if (['narrow', 'starter'].includes(values.data)) return values;
    process.stderr.write(`--data: expected narrow or starter, found ${values.data}.\n`);
  } catch (error) {
    process.stderr.write(`${error.message} Usage: npm run demo -- [--data narrow|starter] [--control]\n`);
  }
  process.exit(2);
}
