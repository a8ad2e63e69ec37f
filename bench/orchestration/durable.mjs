/**
 * The product's side: Temporal's dev server and `srlm worker` in processes of their own, a client in this one, one sample
 * run at a time. `start` returns {sample, peakBytes, close}; `sample` waits for the end of the run and returns the files
 * that hold its rows.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { SrlmClient } from '../../dist/index.js';
import { objectName } from '../../dist/storage/objects.js';
import { startEmbedded, temporalBinary } from '../../dist/worker/embedded.js';
import { root as packageRoot } from '../../scripts/set-up.mjs';

/** `nodeArgs`: of the worker, such as --cpu-prof. */
export async function start({ folder, baseUrl, concurrency, nodeArgs = [] }) {
  mkdirSync(folder, { recursive: true });
  const deployment = {
    artifactRoot: join(folder, 'store'),
    workRoot: join(folder, 'work'),
    engines: { stub: { kind: 'endpoint', baseUrl, model: 'stub', concurrency } },
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

  const command = [...nodeArgs, join(packageRoot, 'dist/client/cli/main.js'), 'worker', '--config', config];
  const worker = spawn(process.execPath, command, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(worker.stdout, 'data'),
    once(worker, 'exit').then(() => Promise.reject(new Error('the worker ended'))),
  ]);
  const client = await SrlmClient.connect(deployment);

  return {
    /** Seconds from the call to the run's result, and the files that hold its rows. */
    async sample(spec) {
      const startedAt = performance.now();
      const { runId } = await client.startSample({ ...spec, engine: 'stub' });
      const { candidates } = await client.sampleResult(runId);
      const seconds = (performance.now() - startedAt) / 1000;
      const { datasets, root } = client.store;
      const chunks = await datasets.chunks(candidates);
      return { seconds, files: chunks.map(({ sha256 }) => join(root, objectName('rows', sha256))) };
    },
    /** The worker's largest resident memory so far, as Linux counts it; null on another system. */
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
