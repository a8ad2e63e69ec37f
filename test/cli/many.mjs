/**
 * The built command line, again and again in one process: loading it takes longer than most commands do. The arguments of
 * a command come as a message, and the answer is what it wrote and its exit code.
 */
import { fileURLToPath } from 'node:url';

const main = new URL('../../dist/client/cli/main.js', import.meta.url);
const EXIT = new Error('process.exit');
const streams = { stdout: process.stdout, stderr: process.stderr };
let written = { stdout: '', stderr: '' };
let commands = 0;

for (const [name, stream] of Object.entries(streams)) {
  stream.write = (text, ...rest) => {
    written[name] += text;
    rest.at(-1)?.();
    return true;
  };
}
process.exit = () => {
  throw EXIT;
};

process.on('message', async (args) => {
  written = { stdout: '', stderr: '' };
  process.argv = [process.execPath, fileURLToPath(main), ...args];
  process.exitCode = undefined;
  try {
    // Another address is another module, which runs; what it imports is loaded once.
    await import(`${main}?${++commands}`);
  } catch (error) {
    if (error !== EXIT) throw error;
  }
  for (const stream of Object.values(streams)) stream.removeAllListeners('error');
  process.send({ ...written, code: process.exitCode ?? 0 });
});
