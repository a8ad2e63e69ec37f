/**
 * srlm serve: the model of a run, or a model folder, behind an API like OpenAI's, until a signal. Its server listens on
 * this host only and asks for a key, so that no web page in a browser of this host can use it. It computes beside whatever
 * a worker is doing, and is stopped and removed at the end. Throws run.no-model, port.taken, engine.unreachable,
 * engine.stalled.
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { engineUnreachable, portTaken } from '../../contracts/errors.js';
import type { PrivateServer } from '../../engines/engine.js';
import { EngineHost } from '../../engines/index.js';
import { codeOf } from '../../storage/files.js';
import { type Asked, modelOf } from './ask.js';
import { action, type Context, EXIT, Interrupted, number, runName, STOP_SIGNALS } from './context.js';

const LOOK_EVERY_MS = 2000;

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description("serve the improved model as an endpoint like OpenAI's, on this host")
    .argument('<run-or-model>', 'id of a run, or a model folder below a model root', runName)
    .option('--round <n>', 'the model of this round (default: by the final of its spec)', number('--round', 0, 10_000))
    .option('--port <port>', 'port to listen on', number('--port', 1, 65535), 8000)
    .action(
      action(async (context, target: string, { round, port }: { round?: number; port: number }) => {
        // Before the model and the server, which take seconds.
        await checkPort(port);
        const asked = await modelOf(context, target, round);
        await withServer(context, asked, port, async (server, stopped) => {
          show(context, asked, server);
          await untilItEnds(asked, server, stopped);
        });
        return EXIT.done;
      }),
    );
}

async function checkPort(port: number): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error) => reject(codeOf(error) === 'EADDRINUSE' ? portTaken(port, '--port') : error));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve()));
  });
}

/** Runs `work` with a server for the model, which is then stopped, also after a signal. `port` 0: any that is free. */
export async function withServer<T>(
  context: Context,
  { folder, sha256, engine: name }: Asked,
  port: number,
  work: (server: PrivateServer, stopped: AbortSignal) => Promise<T>,
): Promise<T> {
  const engine = new EngineHost(await context.deployment(), null).engine(name);
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Interrupted('Stopped; nothing is left running.'));
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  try {
    context.say('Loading the model ...');
    return await engine.withPrivateServer({ folder, sha256 }, stop.signal, (server) => work(server, stop.signal), port);
  } finally {
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
  }
}

function show(context: Context, { folder, sha256 }: Asked, { baseUrl, apiKey, model }: PrivateServer): void {
  const example = { model, messages: [{ role: 'user', content: 'What is 2 + 3?' }], max_tokens: 256 };
  const headers = `-H 'authorization: Bearer ${apiKey}' -H 'content-type: application/json'`;
  context.print({ baseUrl, apiKey, model, folder, sha256 }, [
    `address  ${baseUrl}`,
    `key      ${apiKey}`,
    `model    ${model}`,
    '',
    `curl ${baseUrl}/chat/completions ${headers} -d '${JSON.stringify(example)}'`,
  ]);
  context.say('Ctrl-C stops it.');
}

/** Until a signal. Throws when the server ends by itself. */
async function untilItEnds({ engine }: Asked, server: PrivateServer, stopped: AbortSignal): Promise<void> {
  const either = AbortSignal.any([stopped, server.stalled]);
  while (!either.aborted) {
    await sleep(LOOK_EVERY_MS, undefined, { signal: either }).catch(() => {});
    if (!either.aborted && !(await server.isRunning()))
      throw engineUnreachable(engine, 'the model server has ended; start it again');
  }
  if (!stopped.aborted) throw server.stalled.reason;
}
