/**
 * The product's side: Temporal's dev server and `srlm worker` in processes of their own, a client here, one sample run
 * at a time. `start` gives {sample, peakBytes, close}; `sample` waits for the run's end and gives its rows' file names.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { SrlmClient } from '../../dist/index.js';
import { ArtifactStore } from '../../dist/storage/store.js';
import { startEmbedded, temporalBinary } from '../../dist/worker/embedded.js';
import { root } from '../../scripts/set-up.mjs';

/** `nodeArgs`: of the worker, such as --cpu-prof. */
export async function start({ folder, baseUrl, concurrency, nodeArgs = [] }) {
  mkdirSync(folder, { recursive: true });
  const deployment = {
    artifactRoot: join(folder, 'store'),
    workRoot: join(folder, 'work'),
    engines: { stub: { kind: 'openai', baseUrl, model: 'stub', concurrency } },
  };
  const config = join(folder, 'temporal.config.json');
  writeFileSync(config, JSON.stringify(deployment));
  const [port, uiPort] = [await freePort(), await freePort()];
  const embedded = await startEmbedded({
    folder: join(folder, 'temporal'),
    port,
    uiPort,
    temporal: temporalBinary({}),
  });
  process.env.TEMPORAL_ADDRESS = embedded.address;

  const command = [...nodeArgs, join(root, 'dist/client/cli/main.js'), 'worker', '--config', config];
  const worker = spawn(process.execPath, command, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(worker.stdout, 'data'),
    once(worker, 'exit').then(() => Promise.reject(new Error('the worker ended'))),
  ]);
  const client = await SrlmClient.connect(deployment);
  const store = ArtifactStore.open(deployment.artifactRoot);

  return {
    /** Seconds from the call to the run's result, and the files its rows are in. */
    async sample(spec) {
      const startedAt = performance.now();
      const { runId } = await client.startSample({ ...spec, engine: 'stub' });
      const { candidates } = await client.sampleResult(runId);
      const seconds = (performance.now() - startedAt) / 1000;
      return { seconds, files: (await store.chunksOf(candidates)).map(({ uri }) => store.path(uri)) };
    },
    /** The worker's largest resident memory so far, as the kernel counted it; null where it does not tell. */
    peakBytes() {
      try {
        return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${worker.pid}/status`, 'utf8'))[1]);
      } catch {
        return null;
      }
    },
    async close() {
      await client.close();
      worker.kill('SIGTERM');
      if (worker.exitCode === null) await once(worker, 'exit');
      await embedded.stop();
    },
  };
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
