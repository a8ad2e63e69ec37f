/** Which workers have another deployment config than the client. */
import { spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import { msToTs } from '@temporalio/common/lib/time.js';
import { expect, it } from 'vitest';
import { otherConfigs } from '../../client/other-config.js';
import { resolveDeployment } from '../../config/load.js';
import type { DeploymentInput } from '../../contracts/deployment.js';
import { configDigests, readIdentity, workerIdentity, workerName } from '../../contracts/worker-identity.js';

const deployed = (config: DeploymentInput = {}) => resolveDeployment(config, '/here');
const teacher = { kind: 'endpoint', baseUrl: 'http://teacher.example/v1', model: 'm' } as const;

/** What the client says where these workers poll all queues. */
function said(identities: string[], secondsAgo = 1, config: DeploymentInput = {}) {
  const lastAccessTime = msToTs(Date.now() - 1000 * secondsAgo);
  const workflowService = {
    describeTaskQueue: async () => ({ pollers: identities.map((identity) => ({ identity, lastAccessTime })) }),
  };
  return otherConfigs({ workflowService, options: { namespace: 'default' } } as never, deployed(config));
}
const ofHost = (host: string, config: DeploymentInput, pid = process.pid) =>
  workerIdentity(deployed(config)).replace(/^\d+@.+ /, `${pid}@${host} `);

it('an identity has process, host and config, and is shown without the config', () => {
  const identity = workerIdentity(deployed());
  expect(readIdentity(identity)).toEqual({
    ...{ name: `${process.pid}@${hostname()}`, pid: process.pid, host: hostname() },
    config: configDigests(deployed()),
  });
  expect(workerName(identity)).toBe(`${process.pid}@${hostname()}`);
  expect([readIdentity('mine'), workerName('mine')]).toEqual([null, 'mine']);
});

it('a worker of this host has the same folders and engines', async () => {
  expect(await said([workerIdentity(deployed())])).toEqual([]);
  for (const config of [{ modelRoots: ['more'] }, { engines: { teacher } }, { artifactRoot: 'other' }])
    expect(await said([workerIdentity(deployed(config))])).toEqual([
      `worker ${process.pid}@${hostname()} was started with another temporal.config than the one here; start it again, or a run may park at what it does not know`,
    ]);
});

it('a worker of another host may have other folders and devices, and no other engines', async () => {
  const engines = { local: { kind: 'builtin', device: 'cuda', maxBatch: 8 } } as const;
  expect(await said([ofHost('gpu-1', { artifactRoot: '/mnt/store', engines })])).toEqual([]);
  const others = await said([ofHost('gpu-1', { engines: { teacher } }, 7), ofHost('gpu-2', {})]);
  expect(others).toEqual([expect.stringContaining('worker 7@gpu-1 was started')]);
});

it('says nothing of what is not known: other identities, workers that have gone', async () => {
  const other = ofHost('gpu-1', { engines: { teacher } });
  expect(await said(['mine', '1@host', '', 'config:zzz'])).toEqual([]);
  expect(await said([other], 600)).toEqual([]);
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  expect(await said([ofHost(hostname(), { modelRoots: ['more'] }, pid)])).toEqual([]);
});
