/**
 * The built command line, again and again in one process: loading it takes longer than most commands do. The arguments of
 * a command come as a message, and the answer is what it wrote and its exit code.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const main = fileURLToPath(new URL('../../dist/client/cli/main.js', import.meta.url));
const streams = { stdout: process.stdout, stderr: process.stderr };
let written = { stdout: '', stderr: '' };
let end = () => {};

for (const [name, stream] of Object.entries(streams)) {
  stream.write = (text, ...rest) => {
    written[name] += text;
    rest.at(-1)?.();
    return true;
  };
}
// The last thing that a command does.
process.exit = () => end();

process.on('message', async (args) => {
  written = { stdout: '', stderr: '' };
  process.argv = [process.execPath, main, ...args];
  process.exitCode = undefined;
  const ended = new Promise((resolve) => {
    end = resolve;
  });
  // It runs when it is loaded; what it has loaded stays.
  delete require.cache[main];
  require(main);
  await ended;
  for (const stream of Object.values(streams)) stream.removeAllListeners('error');
  process.send({ ...written, code: process.exitCode ?? 0 });
});
